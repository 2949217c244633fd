"""Trees that mean harm: deeper than Python recurses, longer than a path may be, closed, or moving."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from jupyterhub_binder.utils import trees
from tests.kit.deep_trees import nest


def count_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


DEEP = ["d"] * 3000
LONG = ["n" * 200] * 60


@pytest.mark.parametrize("names", [DEEP, LONG], ids=["deep", "long"])
def test_a_tree_of_any_depth_is_removed_in_a_process_of_few_descriptors(tmp_path, names):
    tree = tmp_path / "tree"
    tree.mkdir()
    nest(tree, names)
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))\n"
        "from jupyterhub_binder.utils.trees import remove_tree; remove_tree(sys.argv[1])"
    )
    subprocess.run([sys.executable, "-c", code, tree], check=True)
    assert not tree.exists()


@pytest.mark.parametrize("names", [DEEP, LONG], ids=["deep", "long"])
def test_a_walk_and_a_copy_refuse_what_is_too_deep(tmp_path, names):
    tree = tmp_path / "tree"
    tree.mkdir()
    nest(tree, names)
    before = count_descriptors()
    with pytest.raises(trees.TreeTooDeep):
        list(trees.walk(tree))
    with pytest.raises(trees.TreeTooDeep):
        trees.copy_tree(tree, tmp_path / "copy")
    assert count_descriptors() == before
    trees.remove_tree(tree)
    trees.remove_tree(tmp_path / "copy")


def make_tree(folder: Path) -> None:
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "run.sh").write_text("echo")
    (folder / "a" / "run.sh").chmod(0o755)
    (folder / "a" / "b" / "text").write_text("x")
    (folder / "link").symlink_to("/etc")
    os.mkfifo(folder / "a" / "pipe")


def test_a_walk_yields_everything_and_follows_no_link(tmp_path):
    tree = tmp_path / "tree"
    make_tree(tree)
    assert [entry.path for entry in trees.walk(tree)] == [
        "a/b/text",
        "a/b",
        "a/pipe",
        "a/run.sh",
        "a",
        "link",
        "",
    ]
    first = [entry.path for entry in trees.walk(tree, folders_first=True)]
    assert first == ["", "a", "a/b", "a/b/text", "a/pipe", "a/run.sh", "link"]


def test_a_copy_has_files_and_links_and_no_pipe(tmp_path):
    tree, copy = tmp_path / "tree", tmp_path / "copy"
    make_tree(tree)
    trees.copy_tree(tree, copy)
    assert sorted(path.relative_to(copy).as_posix() for path in copy.rglob("*")) == [
        "a",
        "a/b",
        "a/b/text",
        "a/run.sh",
        "link",
    ]
    assert stat.S_IMODE((copy / "a" / "run.sh").stat().st_mode) == 0o755
    assert (copy / "link").readlink() == Path("/etc")
    old, new = (folder / "a" / "run.sh" for folder in (tree, copy))
    assert old.stat().st_mtime_ns == new.stat().st_mtime_ns


def test_closed_folders_are_removed_and_links_out_of_them_are_not_followed(tmp_path):
    outside, tree = tmp_path / "outside", tmp_path / "tree"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    (tree / "closed" / "inner").mkdir(parents=True)
    (tree / "closed" / "link").symlink_to(outside)
    (tree / "closed" / "inner" / "file").write_text("")
    (tree / "closed" / "inner").chmod(0)
    (tree / "closed").chmod(0o500)
    trees.remove_tree(tree)
    assert not tree.exists()
    assert (outside / "kept").read_text() == "kept"


def test_names_that_look_like_those_of_the_removal_are_removed_too(tmp_path):
    tree = tmp_path / "tree"
    for name in ("0", "1", "-0", "0-0"):
        (tree / name / name / name).mkdir(parents=True)
    trees.remove_tree(tree)
    assert not tree.exists()


def test_what_is_gone_or_no_folder_is_removed(tmp_path):
    trees.remove_tree(tmp_path / "gone")
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_text("")
    link.symlink_to(tmp_path)
    trees.remove_tree(file)
    trees.remove_tree(link)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_removed_is_an_error_and_the_rest_goes(tmp_path, monkeypatch):
    tree = tmp_path / "tree"
    make_tree(tree)
    unlink = os.unlink

    def refuse(name, **where):
        if name == "pipe":
            raise PermissionError(1, "not permitted", name)
        unlink(name, **where)

    monkeypatch.setattr(os, "unlink", refuse)
    error = trees.try_to_remove(tree)
    assert isinstance(error, PermissionError)
    left = [path.name for path in tree.rglob("*") if not path.is_dir()]
    assert left == ["pipe"]


@pytest.mark.parametrize(
    ("path", "fits"),
    [("a/b", True), ("a/" * 100 + "b", True), ("a/" * 101 + "b", False), ("a" * 1001, False)],
)
def test_a_path_fits_up_to_the_limits(path, fits):
    assert trees.fits(path) == fits
