"""The docs say what the program does: every option, route, command and word is in them."""

from __future__ import annotations

import re
from types import ModuleType

import pytest

from jupyterhub_binder._version import __version__
from jupyterhub_binder.app import JupyterHubBinder
from jupyterhub_binder.cli import main
from jupyterhub_binder.model import BuildState, LaunchState, Phase
from tests.kit.docs import DOCS, pages


def test_every_option_is_in_the_configuration_reference(docs_reference: ModuleType) -> None:
    text = docs_reference.configuration()
    for cls in docs_reference.configurables():
        for name, trait in docs_reference.own_traits(cls).items():
            assert f"### `{cls.__name__}.{name}`" in text
            assert trait.help, f"{cls.__name__}.{name} has no help"


def test_main_classes_have_options_in_the_reference(docs_reference: ModuleType) -> None:
    names = {cls.__name__ for cls in docs_reference.configurables()}
    expected = {"JupyterHubBinder", "Git", "Builds", "Environments", "VenvBackend"}
    assert expected | {"BinderSpawnerMixin"} <= names


def test_every_command_and_option_is_in_the_command_reference(docs_reference: ModuleType) -> None:
    text = docs_reference.commands()
    for name, command in main.commands.items():
        assert f"## {name}\n" in text
        for parameter in command.params:
            longest = max(parameter.opts, key=len)
            assert longest.upper() in text.upper(), f"{name} {longest}"


def test_every_route_is_in_the_rest_reference(docs_reference: ModuleType) -> None:
    text = docs_reference.rest()
    for path in ("environments", "resolve", "builds", "launches", "events", "cancel"):
        assert re.search(rf"^## `(GET|POST) \S*{path}", text, re.MULTILINE), path


def test_glossary_has_every_state_and_phase() -> None:
    text = (DOCS / "reference" / "glossary.md").read_text()
    for word in (*BuildState, *LaunchState, *Phase):
        assert f"`{word}`" in text


@pytest.mark.skipif("dev" not in __version__, reason="there is a release")
def test_nothing_is_installed_by_name_that_no_index_has_yet() -> None:
    by_name = re.compile(r"pip install[^\n]* ['\"]?jupyterhub-binder\b")
    assert [page.name for page in pages() if by_name.search(page.read_text())] == []


def test_every_command_of_make_that_the_docs_name_exists() -> None:
    makefile = (DOCS.parent / "Makefile").read_text()
    for page in pages():
        for target in re.findall(r"^\$ .*?make ([a-z]+)", page.read_text(), re.MULTILINE):
            assert f"\n{target}:" in makefile, f"{page.name}: make {target}"


def test_log_line_of_the_docs_has_a_logger_that_there_is() -> None:
    text = (DOCS / "how-to" / "watch.md").read_text()
    [name] = re.findall(r'"logger": "([^"]+)"', text)
    assert name == JupyterHubBinder().log.name
