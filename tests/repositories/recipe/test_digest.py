"""What counts as the recipe of a repository."""

from pathlib import Path

import pytest

from jupyterhub_binder.model import Recipe
from jupyterhub_binder.repositories.recipe import read_recipe
from jupyterhub_binder.repositories.recipe.digest import changed_inputs, recipe_digest
from tests.kit.checkouts import write_files

BASE = {
    "requirements.txt": "-r more/extra.txt\n-c limits.txt\nnumpy==2.0.0\n",
    "more/extra.txt": "pandas\n",
    "limits.txt": "pandas<3\n",
    "runtime.txt": "python-3.11",
    "README.md": "Text",
    "pyproject.toml": "[tool.ruff]\nline-length = 100\n",
    "Pipfile.txt": "",
}


def recipe_of(folder: Path, changes: dict[str, str] | None = None) -> Recipe:
    write_files(folder, {**BASE, **(changes or {})})
    return read_recipe(folder)


def digest_of(recipe: Recipe, fingerprint: str = "a", **options: str) -> str:
    return recipe_digest(recipe, options=options, fingerprint=fingerprint)


@pytest.mark.parametrize(
    "path", ["requirements.txt", "more/extra.txt", "limits.txt", "runtime.txt"]
)
def test_each_file_that_decides_changes_the_digest(tmp_path, path):
    before = recipe_of(tmp_path / "before")
    after = recipe_of(tmp_path / "after", {path: BASE[path] + "\n"})
    assert digest_of(before) != digest_of(after)
    assert changed_inputs(before, after) == (path,)


@pytest.mark.parametrize("path", ["README.md", "pyproject.toml", "more/other.txt", "index.ipynb"])
def test_no_other_file_changes_it(tmp_path, path):
    before = recipe_of(tmp_path / "before")
    after = recipe_of(tmp_path / "after", {path: "# changed"})
    assert digest_of(before) == digest_of(after)


def test_options_and_the_backend_change_it(tmp_path):
    recipe = recipe_of(tmp_path / "one")
    assert len({digest_of(recipe), digest_of(recipe, "b"), digest_of(recipe, python="3.12")}) == 3


def test_a_file_that_becomes_unused_changes_it(tmp_path):
    before = recipe_of(tmp_path / "before")
    after = recipe_of(tmp_path / "after", {"environment.yml": "dependencies: []"})
    assert digest_of(before) != digest_of(after)


def test_a_long_script_counts_to_its_end(tmp_path):
    long = "#!/bin/sh\n" + "# a comment\n" * 100_000
    before = recipe_of(tmp_path / "before", {"postBuild": long + "a"})
    after = recipe_of(tmp_path / "after", {"postBuild": long + "b"})
    assert digest_of(before) != digest_of(after)
