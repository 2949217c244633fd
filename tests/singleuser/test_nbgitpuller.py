"""Our way of keeping in step against nbgitpuller's own: the same before, the same after.

nbgitpuller runs unchanged on a clone of the same repository; what people do and what upstream
does is drawn at random. Where we mean to differ is said in `assert_alike`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from jupyterhub_binder.singleuser import gitsync
from tests.kit.git_server import GitServer

pytest.importorskip("nbgitpuller")

pytestmark = pytest.mark.slow

PATHS = ("a.txt", "b.txt", "dir/c.txt", "dir/d.txt", "new.txt", "dir/new.txt")
START = {path: "".join(f"{path} {number}\n" for number in range(9)) for path in PATHS}

change = st.tuples(
    st.sampled_from(PATHS), st.sampled_from(["edit top", "edit end", "edit both", "delete"])
)
changes = st.lists(change, max_size=4, unique_by=lambda one: one[0])
rounds = st.lists(st.tuples(changes, changes), min_size=1, max_size=2)


def changed(text: str, what: str, who: str) -> str | None:
    """Return a file after one change of it."""
    if what == "delete":
        return None
    lines = text.splitlines(keepends=True)
    if what in ("edit top", "edit both"):
        lines[0] = f"{who} changed the top\n"
    if what in ("edit end", "edit both"):
        lines[-1] = f"{who} changed the end\n"
    return "".join(lines)


def apply(folder: Path, changes: list[tuple[str, str]], who: str) -> None:
    for path, what in changes:
        file = folder / path
        text = changed(file.read_text() if file.exists() else START[path], what, who)
        if text is None:
            file.unlink(missing_ok=True)
        else:
            file.parent.mkdir(exist_ok=True)
            file.write_text(text)


def nbgitpuller(folder: Path, url: str) -> None:
    pull = "import sys; from nbgitpuller.pull import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", pull, url, "main", str(folder)],
        env={**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def read(folder: Path) -> dict[str, str]:
    """Return all files, without the time that is in the names of those put aside."""
    return {
        re.sub(r"_+\d{14}", "_ASIDE", path.relative_to(folder).as_posix()): path.read_text()
        for path in folder.rglob("*")
        if path.is_file() and ".git" not in path.parts
    }


def without_ours(files: dict[str, str]) -> dict[str, str]:
    """Leave out what we write more than nbgitpuller does: notes, and upstream's versions."""
    return {n: t for n, t in files.items() if "_upstream_" not in n and n != gitsync.NOTES}


@pytest.mark.thorough
@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.generate),
)
@given(rounds)
def test_the_same_files_are_left(rounds: list[tuple[list, list]]) -> None:
    root = Path(tempfile.mkdtemp(prefix="oracle-"))
    try:
        compare(root, rounds)
    finally:
        shutil.rmtree(root)


def compare(root: Path, rounds: list[tuple[list, list]]) -> None:
    repo = GitServer(root / "git").make_repo(
        "org/course", {path: START[path] for path in PATHS[:4]}
    )
    url = repo.file_url
    theirs, ours = root / "theirs", root / "ours"
    nbgitpuller(theirs, url)
    ours.mkdir()
    limits = {"url": url, "ref": "main", "seconds": 60, "max_bytes": 2**30}
    gitsync.clone(str(ours), **limits)
    for person, upstream in rounds:
        for folder in (theirs, ours):
            apply(folder, person, "person")
        apply(repo.work, upstream, "upstream")
        repo.commit()
        nbgitpuller(theirs, url)
        gitsync.sync(str(ours), **limits)
        assert_alike(read(theirs), read(ours), {path for path, what in person if what == "delete"})


def assert_alike(theirs: dict[str, str], ours: dict[str, str], deleted: set[str]) -> None:
    """Hold our files to nbgitpuller's, save where we mean to differ.

    A file in the way that is the very same is not put aside. One that the person edited, and
    deleted later, stays away where upstream has it no more: nbgitpuller brings the edit back.
    """
    for name, text in without_ours(ours).items():
        assert theirs.get(name) == text, name
    for name in theirs.keys() - ours.keys() - deleted:
        assert theirs[name] == ours[name.replace("_ASIDE", "")], name
