"""The pages' languages: complete catalogues, texts that are all in them, and who gets which."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jinja2
import pytest
from babel.messages.catalog import Message

from jupyterhub_binder.errors import ConfigurationError
from jupyterhub_binder.web import i18n
from jupyterhub_binder.web.pages import make_page_settings
from jupyterhub_binder.web.sentences import SENTENCES, say
from jupyterhub_binder.web.templates import about, ago, make_templates, share_folder, size

ROOT = Path(__file__).resolve().parents[2]
OTHERS = [each for each in i18n.available_languages() if each != i18n.SOURCE]
TEMPLATES = sorted((share_folder() / "templates").glob("*.html"))
SCRIPTS = sorted((share_folder() / "static").glob("*.js"))

PLACEHOLDER = re.compile(r"%\((\w+)\)s")
TAG = re.compile(r"<[^>]*>")


@pytest.fixture(autouse=True)
def _speak_english_afterwards() -> Iterator[None]:
    yield
    i18n.speak(i18n.SOURCE)


def messages(language: str) -> list[Message]:
    return [each for each in i18n.read_catalogue(language) if each.id]


def forms(text: object) -> tuple[str, ...]:
    return tuple(map(str, text)) if isinstance(text, tuple | list) else (str(text),)


# --- Catalogues -------------------------------------------------------------------------------


@pytest.mark.skipif(not (ROOT / ".ci/messages").exists(), reason="needs a checkout")
def test_catalogues_have_every_text_of_templates_scripts_and_code():
    found = subprocess.run(
        [ROOT / ".ci/messages", "--check"],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "BIN": str(Path(sys.executable).parent)},
    )
    assert found.returncode == 0, f"run `make messages`:\n{found.stdout}{found.stderr}"


@pytest.mark.parametrize("language", OTHERS)
def test_every_text_is_translated_and_none_by_guess(language: str):
    wrong = [m.id for m in messages(language) if m.fuzzy or not all(forms(m.string))]
    assert wrong == []


@pytest.mark.parametrize("language", OTHERS)
def test_translations_have_the_values_and_the_markup_of_the_english_text(language: str):
    wrong = []
    for message in messages(language):
        english = forms(message.id)
        for form in forms(message.string):
            same = [
                sorted(pattern.findall(form)) in [sorted(pattern.findall(e)) for e in english]
                for pattern in (PLACEHOLDER, TAG)
            ]
            if not all(same):
                wrong.append((message.id, form))
    assert wrong == []


def test_german_quotes_are_german():
    for message in messages("de"):
        for form in forms(message.string):
            text = TAG.sub("", form)
            assert '"' not in text, form
            assert text.count("„") == text.count("“"), form


def test_sentences_of_other_parts_are_theirs():
    code = "".join(
        path.read_text()
        for path in (ROOT / "jupyterhub_binder").rglob("*.py")
        if "web" not in path.parts
    )
    for sentence in SENTENCES:
        longest = max(re.split(r"%\(\w+\)s|(?<=\.) ", sentence), key=len).strip()
        assert longest.split(": ")[-1][:16] in code or "request" in sentence, sentence


# --- Templates --------------------------------------------------------------------------------


def _without_code(source: str) -> str:
    """Return a template's own text: without what is translated, and what is no text."""
    source = re.sub(r"\{#.*?#\}", "", source, flags=re.DOTALL)
    source = re.sub(r"\{%-?\s*trans\b.*?endtrans\s*-?%\}", "", source, flags=re.DOTALL)
    source = re.sub(r"\{% block module %\}[\w.]+\{% endblock %\}", "", source)
    source = re.sub(r"\{[{%].*?[%}]\}", "\n", source, flags=re.DOTALL)
    return re.sub(r"<(code|kbd)\b[^>]*>.*?</\1>", "", source, flags=re.DOTALL)


NAMES = {"BinderHub", "Markdown", "JupyterHub"}
EXAMPLES = re.compile(r"https://|HEAD|github\.com/|width=|launch binder|JupyterHub")
ATTRIBUTES = re.compile(r'\b(?:aria-label|placeholder|title|alt|content|data-label)="([^"]+)"')


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_template_has_no_text_that_is_not_translated(path: Path):
    source = _without_code(path.read_text())
    texts = [each.strip() for each in re.split(r"<[^>]*>|\n", source)]
    texts += [each for each in ATTRIBUTES.findall(source) if not EXAMPLES.match(each)]
    assert [each for each in texts if re.search(r"[^\W\d_]{2}", each) and each not in NAMES] == []


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_template_translates_its_own_texts_alone(path: Path):
    """What Jinja's gettext returns counts as safe markup: a stranger's text never goes through."""
    tree = make_templates().parse(path.read_text())
    for call in tree.find_all(jinja2.nodes.Call):
        if isinstance(call.node, jinja2.nodes.Name) and call.node.name in (
            "_",
            "gettext",
            "ngettext",
        ):
            texts = call.args[: 2 if call.node.name == "ngettext" else 1]
            assert all(isinstance(each, jinja2.nodes.Const) for each in texts), call.lineno


LITERAL = re.compile(r"""(?:textContent = |toast\(|new Notification\(|title = )(["'`][A-Za-z])""")


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_script_shows_no_text_that_is_not_translated(path: Path):
    assert LITERAL.findall(path.read_text()) == []


# --- What is said -----------------------------------------------------------------------------


def test_a_translated_page_keeps_strangers_texts_text():
    i18n.speak("de")
    template = make_templates().from_string('{{ _("Launch %(name)s", name=name) }}{{ why | said }}')
    shown = template.render(name="<b>100 %", why="<i>%(x)s %")
    assert shown == "&lt;b&gt;100 % starten&lt;i&gt;%(x)s %"


def test_numbers_times_and_plurals_are_said_in_german():
    from datetime import timedelta

    from jupyterhub_binder.clock import utc_now

    i18n.speak("de")
    assert size(1_204_000_000) == "1,2 GB"
    assert about(124) == "etwa 2 Minuten"
    assert [ago(utc_now() - timedelta(days=n)) for n in (1, 3)] == ["vor 1 Tag", "vor 3 Tagen"]
    assert i18n.ngettext("%(num)s rule", "%(num)s rules", 1041) == "1.041 Regeln"


@pytest.mark.parametrize(
    ("english", "german"),
    [
        ("There is no such build.", "Diesen Build gibt es nicht."),
        (
            "github.com/a/b has no branch, tag or commit c.",
            "github.com/a/b hat keinen Branch, kein Tag und keinen Commit c.",
        ),
        (
            "binder/install.R: This hub cannot install R; it builds Python environments only.",
            "binder/install.R: Dieser Hub kann R nicht installieren; er baut nur Python-Umgebungen.",
        ),
        ("Whatever a backend has to say: 100 %", "Whatever a backend has to say: 100 %"),
        ("", ""),
    ],
)
def test_errors_are_said_in_german_where_they_are_known(english: str, german: str):
    assert say(english) == english
    i18n.speak("de")
    assert say(english) == german


# --- Who gets which -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "spoken"),
    [
        ({}, "en"),
        ({"accepted": "de-AT,de;q=0.9,en;q=0.8"}, "de"),
        ({"accepted": "fr, en;q=0.5, de;q=0.9"}, "de"),
        ({"accepted": "de;q=0, fr"}, "en"),
        ({"accepted": "de;q=x,,;=" + "," * 5000}, "de"),
        ({"accepted": "de", "remembered": "en"}, "en"),
        ({"remembered": "en", "asked": "de"}, "de"),
        ({"remembered": "../etc", "asked": "<b>"}, "en"),
    ],
)
def test_a_language_is_asked_for_remembered_or_the_browsers(given: dict[str, str], spoken: str):
    assert i18n.choose_language(("en", "de"), **given) == spoken


def test_a_hub_may_have_one_language():
    assert i18n.choose_language(("de",), accepted="en") == "de"


def test_a_language_without_a_catalogue_is_refused_at_the_start():
    with pytest.raises(ConfigurationError, match="there is no 'tlh', but en, de"):
        make_page_settings(languages=["tlh"])
