"""The pages' languages: complete catalogues, texts that are all in them, and who gets which."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import jinja2
import pytest
from babel.messages.catalog import Message

from jupyterhub_binder.errors import ConfigurationError
from jupyterhub_binder.git import _COMPLAINTS
from jupyterhub_binder.model import Phase
from jupyterhub_binder.rules import _NOT_ON_LIST
from jupyterhub_binder.web import i18n
from jupyterhub_binder.web.base import BaseHandler
from jupyterhub_binder.web.errors import Problem
from jupyterhub_binder.web.pages import make_page_settings
from jupyterhub_binder.web.sentence_table import PARTS, SENTENCES
from jupyterhub_binder.web.sentences import say
from jupyterhub_binder.web.templates import about, ago, make_templates, share_folder, size
from tests.error_sentences import read_sentences

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
            text = TAG.sub("", form).replace('exec "$@"', "")
            assert '"' not in text, form
            assert text.count("„") == text.count("“"), form


PUT_TOGETHER = {
    "Name the person.",
    "Name the group.",
    "1 second",
    *(f"Build: {phase}." for phase in Phase),
}


def test_sentences_of_other_parts_are_theirs():
    code = "\n".join(
        node.value
        for path in (ROOT / "jupyterhub_binder").rglob("*.py")
        if path.name != "sentence_table.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
    for sentence in SENTENCES + PARTS:
        longest = max(re.split(r"%\(\w+\)s|[.:] ", sentence), key=len).strip("'”. ")
        assert longest[:14] in code or sentence in PUT_TOGETHER, sentence


FOR_OTHERS = {
    "ConfigurationError": "administrators read it in the log, before the service starts",
    "ApiError": "the commands say it",
    "ProcessFailed": "no error for people: who runs a program explains it",
    "Unreachable": "the hub's log says it",
}
NOT_ON_PAGES = {
    "backends/fake.py": "for tests and demonstrations",
    "client.py": "commands",
    "dbcli.py": "commands",
    "doctor.py": "a command",
    "store/upkeep.py": "commands",
    "web/api/admin.py": "the API speaks English",
    "web/api/common.py": "the API speaks English",
    "web/api/environments.py": "the API speaks English",
    "web/api/oversight.py": "the API speaks English",
    "web/metrics.py": "for programs",
}
SAID_OTHERWISE = {
    "{}": "words of somebody else",
    "{} {}": "a person's or the service's reason for cancelling, with a backend's note",
    "{}: {}": "a path, and a sentence that is found without it",
    "{}. {}": "a finding of check_code, each of which is a sentence",
    "{} {} that this hub fetches.": "see WITHIN",
    "'{}' {}.": "see WITHIN",
    "The image was built, but no server could start from it: {}.": "see WITHIN",
    "{}: another build may bring another one.": "a count of packages, each a sentence",
    " sent nothing of {} for {} seconds: try again later.": "an address always has a host",
    "Name the {}.": "a person or a group, each a sentence",
    "The service could not go on with the build (error).": "with a value, and the part “error”",
    "git did not answer within {} seconds: try again later.": "with a value: git for a host",
    "The repository could not be read by git: try again later.": "with a value for its address",
    "{}{} could not be read by git: try again later.": "two values that are one",
    "{} is not valid YAML in line {}{}.": "a sum, not two values",
    "Your server “” already runs another build of “{}”. Open it, restart it with the current "
    "build, or start this one under another name.": "a server without a name is said otherwise",
    "Your server “” already runs {}. Open it, restart it with this environment, "
    "or start this one under another name.": "a server without a name is said otherwise",
}
PATH_BEFORE = re.compile(r"\{\}: (?=[A-Z])")


def test_every_sentence_that_errors_and_findings_say_is_in_the_catalogues():
    """One without values is found by `.ci/error_texts.py`; one with values belongs in SENTENCES."""
    known = {PLACEHOLDER.sub("{}", form) for m in messages("de") for form in forms(m.id)}
    with_values = {PLACEHOLDER.sub("{}", each) for each in SENTENCES}
    missing = []
    for file, text in read_sentences(ROOT / "jupyterhub_binder", without=tuple(FOR_OTHERS)):
        bare = PATH_BEFORE.sub("", text)
        fits = with_values if "{}" in bare else known
        if file not in NOT_ON_PAGES and {text, bare, bare.strip(".")}.isdisjoint(
            fits | SAID_OTHERWISE.keys()
        ):
            missing.append(f"{file}: {text}")
    assert missing == []


def test_every_complaint_of_git_and_every_refusal_is_said_in_german():
    i18n.speak("de")
    english = [complaint for _, _, complaint in _COMPLAINTS] + [_NOT_ON_LIST]
    said = [re.sub(r"\{\w*\}", "example.org/a/b", each) for each in english]
    assert [each for each in said if say(each) == each] == []


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
            "github.com/a/b has no branch, tag or commit c. Did you mean d or e?",
            "github.com/a/b hat keinen Branch, kein Tag und keinen Commit c. Meinten Sie d or e?",
        ),
        (
            "github.com/a/b has no pull request #12: check its number.",
            "github.com/a/b hat keinen Pull Request #12. Prüfen Sie die Nummer.",
        ),
        (
            "demo.ckan.org has no dataset rain: check it.",
            "demo.ckan.org hat das nicht: Datensatz rain. Prüfen Sie die Angabe.",
        ),
        (
            "zenodo.org has had too many questions from this hub: try again in 3 minutes.",
            "zenodo.org hat von diesem Hub zu viele Anfragen bekommen. "
            "Versuchen Sie es in 3 Minuten noch einmal.",
        ),
        (
            "Your server “a” already runs something else. Open it, restart it with this "
            "environment, or start this one under another name.",
            "Ihr Server „a“ läuft schon mit etwas anderem. Öffnen Sie ihn, starten Sie ihn mit "
            "dieser Umgebung neu, oder starten Sie diese unter einem anderen Namen.",
        ),
        (
            "Waiting for the build: number 3 in the queue.",
            "Wartet auf den Build: Nummer 3 in der Warteschlange.",
        ),
        (
            "No BinderHub takes this build: near cannot be reached. The repository is not to "
            "blame; tell the hub's administrators, or build again later.",
            "Kein BinderHub nimmt diesen Build an: near ist nicht zu erreichen. Am Repository "
            "liegt es nicht. Melden Sie es der Administration, oder bauen Sie später erneut.",
        ),
        (
            "environment.yml: it is nested too deeply.",
            "environment.yml: sie ist zu tief verschachtelt.",
        ),
        (
            """The archive holds a file that no disk takes: "it's".""",
            "Das Archiv enthält eine Datei, die kein Datenträger annimmt: „it's“.",
        ),
        (
            "postBuild failed (exit status 3). Its last line: a.txt is no text.",
            "postBuild ist fehlgeschlagen (Exit-Status 3). Die letzte Zeile: a.txt is no text.",
        ),
        ("Somebody says: this is no text.", "Somebody says: this is no text."),
        ("It broke. It is no text.", "It broke. It is no text."),
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


def test_more_telling_sentences_are_not_taken_for_shorter_ones():
    """Each sentence, said with values, comes back by its own translation."""
    i18n.speak("de")
    for sentence in SENTENCES + PARTS:
        values = {name: f"§{name}" for name in PLACEHOLDER.findall(sentence)}
        if values and sentence in SENTENCES:
            assert say(sentence % values) == i18n.gettext(sentence, **values), sentence


def test_a_long_text_that_looks_like_many_sentences_takes_no_time():
    i18n.speak("de")
    for text in ("“" * 1000 + "”" * 1000, " checksum is " * 150, " has no :" * 200):
        began = time.process_time()
        say(text)
        say(f"a is not what its archive says: its {text}")
        assert time.process_time() - began < 0.1


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({}, "There is no such build."),
        ({"Accept-Language": "de"}, "There is no such build."),
        ({"Binder-Language": "../x"}, "There is no such build."),
        ({"Binder-Language": "de"}, "Diesen Build gibt es nicht."),
    ],
)
def test_the_api_says_errors_in_the_language_of_a_page_to_its_scripts_alone(
    headers: dict[str, str], said: str
):
    handler = Mock(request=Mock(headers=headers))
    problem = Problem(404, "not_found", "There is no such build.")
    BaseHandler.write_error(handler, 404, problem=problem)
    (answer,) = handler.finish_json.call_args.args
    assert answer["error"]["message"] == said


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
