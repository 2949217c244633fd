"""Which files of a repository people open first: its README, then its notebooks. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from jupyterhub_binder.errors import InvalidInput
from jupyterhub_binder.utils.text import INVISIBLE
from jupyterhub_binder.utils.validation import clean_path

MAX_NOTEBOOKS = 1000
"""More are counted, and can be opened by their path."""

_READMES = ("readme.ipynb", "readme.md", "readme.rst", "readme.txt", "readme")
_FILE_MODES = ("100644", "100755")


@dataclass(frozen=True, slots=True)
class FileListing:
    """What a commit has to open. The paths are fit to be opened."""

    readmes: tuple[str, ...] = ()
    notebooks: tuple[str, ...] = ()
    """The first `MAX_NOTEBOOKS`, by path."""
    total: int = 0
    """Of all, also of those that are not listed."""

    def find(self, search: str = "") -> tuple[str, ...]:
        """Return the paths that contain all words of a text, READMEs first."""
        words = search.casefold().split()
        every = (*self.readmes, *self.notebooks)
        return tuple(path for path in every if all(word in path.casefold() for word in words))


def choose(paths: Iterable[str]) -> FileListing:
    """Choose from all paths of a commit.

    Hidden folders and names that nobody could open or read are left out.
    """
    readmes, notebooks = [], []
    for path in filter(_is_fit, paths):
        if path.lower() in _READMES:
            readmes.append(path)
        elif path.endswith(".ipynb"):
            notebooks.append(path)
    readmes.sort(key=lambda path: (_READMES.index(path.lower()), path))
    notebooks.sort(key=_natural)
    shown = tuple(notebooks[:MAX_NOTEBOOKS])
    return FileListing(tuple(readmes), shown, len(readmes) + len(notebooks))


def read_tree(out: str) -> Iterable[str]:
    """Yield the paths of the files in the output of ``git ls-tree -r -z``, without links."""
    for entry in out.split("\0"):
        about, _, path = entry.partition("\t")
        if about.startswith(_FILE_MODES):
            yield path


def _is_fit(path: str) -> bool:
    if path.startswith(".") or "/." in path or INVISIBLE.search(path) or "\ufffd" in path:
        return False
    try:
        return clean_path(path) == path
    except InvalidInput:
        return False


def _natural(path: str) -> tuple[object, ...]:
    """Sort the files of a folder before its folders, and ``week 2`` before ``week 10``."""
    *folders, name = path.casefold().split("/")
    return (*((1, _numbers(folder)) for folder in folders), (0, _numbers(name)), path)


def _numbers(name: str) -> tuple[tuple[str, int], ...]:
    parts = re.findall(r"([^0-9]*)([0-9]*)", name)
    return tuple((text, int(digits[:18] or -1)) for text, digits in parts)
