"""The pages' languages: complete catalogues, texts that are all in them, and who gets which."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import jinja2
import pytest
from babel.messages.catalog import Message as Entry

from jupyterhub_binder.errors import BinderError, ConfigurationError, NotFound
from jupyterhub_binder.model.text import Message, all_of, any_of
from jupyterhub_binder.repositories.git import _COMPLAINTS
from jupyterhub_binder.utils.share import share_folder
from jupyterhub_binder.web.errors import Problem, problem_of
from jupyterhub_binder.web.handlers import BaseHandler
from jupyterhub_binder.web.i18n import language as i18n
from jupyterhub_binder.web.i18n.language import say
from jupyterhub_binder.web.pages import make_page_settings
from jupyterhub_binder.web.pages.templates import about, ago, make_templates, size

ROOT = Path(__file__).resolve().parents[3]
OTHERS = [each for each in i18n.available_languages() if each != i18n.SOURCE]
TEMPLATES = sorted((share_folder() / "templates").glob("*.html"))
SCRIPTS = sorted((share_folder() / "static").glob("*.js"))

PLACEHOLDER = re.compile(r"%\((\w+)\)s")
TAG = re.compile(r"<[^>]*>")


@pytest.fixture(autouse=True)
def _speak_english_afterwards() -> Iterator[None]:
    yield
    i18n.speak(i18n.SOURCE)


def messages(language: str) -> list[Entry]:
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


NOT_COLLECTED = ("cli", "client", "demo", "spawner", "singleuser", "fake.py")
FOR_ADMINISTRATORS = {
    "ConfigurationError",
    "ProcessFailed",
    "StorageFailed",
    "ApiError",
    "KubernetesError",
    "Unreachable",
}


def _errors(kind: type[BinderError] = BinderError) -> set[str]:
    return {kind.__name__}.union(*map(_errors, kind.__subclasses__()))


def _texts() -> Iterator[tuple[Path, ast.Call]]:
    """Yield each call that takes a text for people, of the modules whose texts are collected."""
    names = _errors() - FOR_ADMINISTRATORS | {"Message", "counted"}
    for path in sorted((ROOT / "jupyterhub_binder").rglob("*.py")):
        if not {*path.parts} & {*NOT_COLLECTED}:
            for node in ast.walk(ast.parse(path.read_text())):
                name = getattr(node, "func", None)
                if getattr(name, "attr", getattr(name, "id", "")) in names and node.args:  # type: ignore[attr-defined]
                    yield path, node  # type: ignore[misc]


def test_a_text_for_people_is_a_literal_with_all_its_values():
    wrong = []
    for path, call in _texts():
        text = call.args[0]
        if isinstance(text, ast.Constant):
            given = {keyword.arg for keyword in call.keywords} | {"num"}
            fine = {*PLACEHOLDER.findall(text.value)} <= given
        else:  # a message that was made elsewhere, of a literal there
            fine = not isinstance(text, ast.JoinedStr | ast.BinOp)
        if not fine:
            wrong.append(f"{path.relative_to(ROOT)}:{call.lineno}")
    assert wrong == []


@pytest.mark.skipif(not (ROOT / ".ci/messages").exists(), reason="needs a checkout")
def test_every_error_that_people_read_is_collected():
    import jupyterhub_binder.backends.repo2docker.engine
    import jupyterhub_binder.client.client
    import jupyterhub_binder.repositories.records.download  # noqa: F401

    words = {*(ROOT / ".ci/messages").read_text().split()}
    with_own_words = {"BinderError", "LeadsElsewhere", "Odd"} | FOR_ADMINISTRATORS
    assert {name for name in _errors() - with_own_words if f"{name};" not in words} - words == set()


def test_every_complaint_of_git_is_said_in_german():
    i18n.speak("de")
    said = [error("example.org/a", "example.org").message for _, error in _COMPLAINTS]
    assert [each for each in said if say(each) == each] == []


# --- Templates --------------------------------------------------------------------------------


def _without_code(source: str) -> str:
    """Return a template's own text: without what is translated, and what is no text."""
    source = re.sub(r"\{#.*?#\}", "", source, flags=re.DOTALL)
    source = re.sub(r"\{%-?\s*trans\b.*?endtrans\s*-?%\}", "", source, flags=re.DOTALL)
    source = re.sub(r"\{% block module %\}[\w.]+\{% endblock %\}", "", source)
    source = re.sub(r"\{[{%].*?[%}]\}", "\n", source, flags=re.DOTALL)
    return re.sub(r"<(code|kbd)\b[^>]*>.*?</\1>", "", source, flags=re.DOTALL)


NAMES = {"CSV", "JSON", "BinderHub", "Markdown", "JupyterHub"}
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

    from jupyterhub_binder.utils.time import utc_now

    i18n.speak("de")
    assert size(1_204_000_000) == "1,2\N{NO-BREAK SPACE}GB"
    assert about(124) == "etwa 2:04"
    assert [ago(utc_now() - timedelta(days=n)) for n in (1, 3)] == ["vor 1 Tag", "vor 3 Tagen"]
    assert i18n.ngettext("%(num)s rule", "%(num)s rules", 1041) == "1.041 Regeln"


@pytest.mark.parametrize(
    ("message", "german"),
    [
        (Message("There is no such build."), "Diesen Build gibt es nicht."),
        (
            Message(
                "%(label)s has no branch, tag or commit %(ref)s. Did you mean %(names)s?",
                label="github.com/a/b",
                ref="%(ref)s",
                names=any_of(["d", "e"]),
            ),
            "github.com/a/b hat keinen Branch, kein Tag und keinen Commit %(ref)s. "
            "Meinten Sie d oder e?",
        ),
        (all_of(["a", "b", "c"]), "a, b und c"),
        (
            Message.counted("Installs one package", "Installs %(num)s packages", 1041),
            "Installiert 1.041 Pakete",
        ),
        (Message.counted("%(num)s second", "%(num)s seconds", 0.5), "0,5 Sekunden"),
        (
            Message.joined("a.txt:", Message("There is no such build."), "It is no text."),
            "a.txt: Diesen Build gibt es nicht. It is no text.",
        ),
        (Message.verbatim("There is no such build."), "There is no such build."),
        ("There is no such build.", "There is no such build."),
        (Message("A text of an older version: %(x)s", x=1), "A text of an older version: 1"),
        (Message(""), ""),
    ],
)
def test_a_message_is_said_in_german_and_no_other_text(message: str, german: str):
    assert say(message) == message
    i18n.speak("de")
    assert say(message) == german


@pytest.mark.parametrize(
    ("error", "status"),
    [(None, status) for status in (400, 401, 403, 404, 405, 413, 418, 500)]
    + [(ValueError("a secret"), 500)],
)
def test_every_answer_of_an_error_is_said_in_german(error: BaseException | None, status: int):
    problem = problem_of(error, status, request_id="r1")
    i18n.speak("de")
    assert say(problem.message) != str(problem.message)


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
    error = NotFound("There is no such build.")
    problem = Problem(404, error.error_code, error.message)
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
    with pytest.raises(ConfigurationError, match="'tlh' is not available"):
        make_page_settings(languages=["tlh"])
