"""The walk through the code in the architecture page names functions that exist."""

from __future__ import annotations

import importlib
import re
from functools import reduce
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "architecture.md"
WALK = PAGE.read_text().partition("## From a pasted link to an image\n")[2].partition("\n## ")[0]
STEPS = re.split(r"^\d+\. ", WALK, flags=re.MULTILINE)[1:]
NAME = re.compile(r"`([\w.]+):\s+([\w.]+)`")
NAMED = NAME.findall(WALK)
MAX_STEPS = 15


@pytest.mark.parametrize(("module", "name"), NAMED, ids=[": ".join(each) for each in NAMED])
def test_function_of_the_walk_exists(module: str, name: str) -> None:
    home = importlib.import_module(f"jupyterhub_binder.{module}")
    assert callable(reduce(getattr, name.split("."), home))


def test_walk_is_short_and_names_a_function_in_each_step() -> None:
    assert 0 < len(STEPS) <= MAX_STEPS
    assert all(NAME.search(step) for step in STEPS)


def test_every_folder_of_the_package_has_a_paragraph() -> None:
    package = PAGE.parents[2] / "jupyterhub_binder"
    folders = PAGE.read_text().partition("## The folders\n")[2].partition("\n## ")[0]
    for path in package.iterdir():
        if path.is_dir() and path.name not in ("locale", "__pycache__"):
            assert re.search(rf"^.*`{path.name}/`.*\n: ", folders, re.MULTILINE), path.name
