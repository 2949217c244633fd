"""Removal in the background."""

from __future__ import annotations

from pathlib import Path

from jupyterhub_binder.utils.trash import Trash
from tests.kit.waiting import wait_until

MANY = 5000


def make_trash(tmp_path: Path) -> Trash:
    trash = Trash(tmp_path / "trash")
    trash.folder.mkdir()
    return trash


def make_tree(tree: Path) -> Path:
    tree.mkdir()
    for number in range(MANY):
        (tree / str(number)).touch()
    return tree


def test_place_is_free_before_the_files_are_gone(tmp_path: Path) -> None:
    trash, tree = make_trash(tmp_path), make_tree(tmp_path / "tree")
    trash.take(tree)
    trash.empty_later()
    [left] = trash.folder.iterdir()
    tree.mkdir()
    wait_until(lambda: not left.exists())
    assert tree.exists()


def test_trees_are_taken_when_somebody_removed_the_trash(tmp_path: Path) -> None:
    trash, tree = Trash(tmp_path / "trash"), tmp_path / "tree"
    tree.mkdir()
    trash.empty_later()
    assert trash.take(tree)
    assert list(tmp_path.iterdir()) == [trash.folder]
    assert trash.take(tree) == ()


def test_folder_without_write_permission_and_no_folder_at_all_are_removed(tmp_path: Path) -> None:
    trash, tree = make_trash(tmp_path), tmp_path / "tree"
    tree.mkdir(mode=0o500)
    trash.remove(tree)
    trash.remove(tree)
    assert list(tmp_path.iterdir()) == [trash.folder]
    assert list(trash.folder.iterdir()) == []
