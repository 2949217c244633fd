"""How many pushes of a made history need no build.

The history is made as people work on a course: mostly notebooks, text and data, sometimes code,
and now and then the list of packages.
"""

import random
from collections.abc import Iterator
from pathlib import Path

from jupyterhub_binder.backends.venv.plan import Offer, reuse
from jupyterhub_binder.repositories.recipe import read_recipe
from jupyterhub_binder.repositories.recipe.digest import recipe_digest
from tests.kit.checkouts import Files, write_files

_OFFER = Offer(pythons={"3.11": "", "3.12": ""}, default_python="3.11", runs_code=True)
_CHANGES = {
    "notebooks/lesson-{n}.ipynb": 46,
    "README.md": 11,
    "data/measurements-{n}.csv": 9,
    "course/tools.py": 10,
    "figures/figure-{n}.svg": 5,
    ".github/workflows/test.yml": 4,
    "requirements.txt": 9,
    "runtime.txt": 2,
    "requirements-dev.txt": 2,
    ".gitignore": 2,
}
"""Paths, and how many of 100 commits change them."""


def made_history(commits: int) -> Iterator[Files]:
    """Yield what each commit changes."""
    chance = random.Random(20261129)
    yield {"requirements.txt": "numpy==2.0.0\n", "runtime.txt": "python-3.11", "README.md": ""}
    for number in range(commits):
        (path,) = chance.choices(list(_CHANGES), list(_CHANGES.values()))
        text = f"# changed by commit {number}\n"
        if path == "requirements.txt":
            text = f"numpy==2.0.{number}\npandas==2.2.3\n"
        elif path == "runtime.txt":
            text = f"python-3.{chance.choice((11, 12))}"
        yield {path.format(n=chance.randint(1, 20)): text}


def test_at_least_70_of_100_pushes_need_no_build(tmp_path: Path, capsys):
    built: set[str] = set()
    needed = 0
    for changes in made_history(100):
        write_files(tmp_path, changes)
        recipe = read_recipe(tmp_path)
        digest = recipe_digest(recipe, options={}, fingerprint="venv")
        if not reuse(recipe, _OFFER).self_contained or digest not in built:
            needed += 1
        built.add(digest)
    pushes_without = 100 - (needed - 1)
    with capsys.disabled():
        print(f"\n{pushes_without} of 100 pushes needed no build")
    assert pushes_without >= 70
