"""Options that the docs' configurations set are ones that the program has."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from traitlets.config import Config

from jupyterhub_binder.app import JupyterHubBinder
from jupyterhub_binder.spawner import BinderSpawnerMixin
from jupyterhub_binder.utils.known_options import refuse_unknown_options
from tests.kit.docs import DOCS, pages

_BLOCK = re.compile(r"^( *)```(python|yaml)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
BLOCKS = [
    pytest.param(language, textwrap.dedent(text), id=f"{page.relative_to(DOCS.parent)}-{number}")
    for page in pages()
    for number, (_, language, text) in enumerate(_BLOCK.findall(page.read_text()))
]


@pytest.fixture(scope="module")
def classes() -> list[Any]:
    app = JupyterHubBinder()
    app.initialize(["--generate-config"])
    return [*app.classes, BinderSpawnerMixin]


def python_options(text: str, known: set[str]) -> Iterator[tuple[str, str]]:
    """Yield what a block sets of known classes: `c.Class.option`, or `{"Class": {"option": …}}`."""
    try:
        tree = ast.parse(text)
    except SyntaxError:  # some lines of a dictionary
        tree = ast.parse(f"{{{text}}}")
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Attribute(value=ast.Name("c"), attr=name), attr=option):
                if name in known:
                    yield name, option
            case ast.Dict():
                for key, value in zip(node.keys, node.values, strict=True):
                    if isinstance(key, ast.Constant) and isinstance(value, ast.Dict):
                        for inner in value.keys:
                            if key.value in known and isinstance(inner, ast.Constant):
                                yield str(key.value), str(inner.value)


@pytest.mark.parametrize(("language", "text"), BLOCKS)
def test_options_of_the_docs_exist(language: str, text: str, classes: list[Any]) -> None:
    if language == "yaml":
        values = yaml.safe_load(text)
        config = values.get("config") if isinstance(values, dict) else None
        refuse_unknown_options(Config(config or {}), classes)
        return
    known = {base.__name__ for cls in classes for base in cls.__mro__}
    config = Config()
    for name, option in python_options(text, known):
        config[name][option] = None
    refuse_unknown_options(config, classes)


def test_a_misspelt_option_would_be_found(classes: list[Any]) -> None:
    known = {cls.__name__ for cls in classes}
    text = 'configure(c, service_config={"Builds": {"max_runing": 1}})\nc.Git.allowd_hosts = []'
    found = dict(python_options(text, known))
    assert found == {"Builds": "max_runing", "Git": "allowd_hosts"}
