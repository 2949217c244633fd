"""The docs say what the program does: every option, route, command and word is in them."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from jupyterhub_binder._version import __version__
from jupyterhub_binder.cli import main
from jupyterhub_binder.model import BuildState, LaunchState, Phase

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", DOCS / "_ext" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_option_is_in_the_configuration_reference(reference: ModuleType) -> None:
    text = reference.configuration()
    for cls in reference.configurables():
        for name, trait in reference.own_traits(cls).items():
            assert f"### `{cls.__name__}.{name}`" in text
            assert trait.help, f"{cls.__name__}.{name} has no help"


def test_main_classes_have_options_in_the_reference(reference: ModuleType) -> None:
    names = {cls.__name__ for cls in reference.configurables()}
    expected = {"JupyterHubBinder", "Git", "Builds", "Environments", "VenvBackend"}
    assert expected | {"BinderSpawnerMixin"} <= names


def test_every_command_and_option_is_in_the_command_reference(reference: ModuleType) -> None:
    text = reference.commands()
    for name, command in main.commands.items():
        assert f"## {name}\n" in text
        for parameter in command.params:
            longest = max(parameter.opts, key=len)
            assert longest.upper() in text.upper(), f"{name} {longest}"


def test_every_route_is_in_the_rest_reference(reference: ModuleType) -> None:
    text = reference.rest()
    for path in ("environments", "resolve", "builds", "launches", "events", "cancel"):
        assert re.search(rf"^## `(GET|POST) \S*{path}", text, re.MULTILINE), path


def test_glossary_has_every_state_and_phase() -> None:
    text = (DOCS / "reference" / "glossary.md").read_text()
    for word in (*BuildState, *LaunchState, *Phase):
        assert f"`{word}`" in text


def _pages() -> list[Path]:
    """Return the pages that somebody wrote, without those that are made of the code."""
    root = DOCS.parent
    pages = [root / "README.md", root / "CONTRIBUTING.md", *DOCS.rglob("*.md")]
    return [page for page in pages if "generated" not in page.parts]


@pytest.mark.skipif("dev" not in __version__, reason="there is a release")
def test_nothing_is_installed_by_name_that_no_index_has_yet() -> None:
    by_name = re.compile(r"pip install[^\n]* ['\"]?jupyterhub-binder\b")
    assert [page.name for page in _pages() if by_name.search(page.read_text())] == []


def test_every_command_of_make_that_the_docs_name_exists() -> None:
    makefile = (DOCS.parent / "Makefile").read_text()
    for page in _pages():
        for target in re.findall(r"^\$ .*?make ([a-z]+)", page.read_text(), re.MULTILINE):
            assert f"\n{target}:" in makefile, f"{page.name}: make {target}"
