"""What a peek fetches of a repository: the configuration files, or the README with its pictures."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from jupyterhub_binder.repositories.readme import find_pictures
from jupyterhub_binder.repositories.recipe import find_missing
from jupyterhub_binder.repositories.recipe.files import FOLDERS, KINDS


@dataclass(frozen=True, slots=True)
class PeekKind:
    """A kind of peek."""

    patterns: Callable[[Collection[str]], str]
    """Patterns for Git's sparse checkout, with these paths."""
    find_missing: Callable[[Path], set[str]]
    """The paths that the files in a folder name and that are fetched next. Blocks."""


def _peek_patterns(paths: Collection[str]) -> str:
    """Return the patterns of the configuration files, in any case to notice misspelt names."""
    lines = ["/.gitmodules", "/.gitattributes", *map(_in_any_case, KINDS), *_INCLUDED]
    folders = [*map(_in_any_case, FOLDERS), *map(_only, sorted(paths))]
    for folder in folders:
        lines += [folder, f"{folder}/*", f"!{folder}/*/"]
    return "".join(f"{line}\n" for line in lines)


_INCLUDED = ("/*requirements*.txt", "/*constraints*.txt", "/requirements/*.txt")
"""Usual names of included files, to spare a second request."""


def _readme_patterns(paths: Collection[str]) -> str:
    readme = _in_any_case("readme")
    lines = [f"{readme}*", f"!{readme}*/", *map(_only, sorted(paths))]
    return "".join(f"{line}\n" for line in lines)


def _in_any_case(name: str) -> str:
    letters = (f"[{one.lower()}{one.upper()}]" if one.isalpha() else one for one in name)
    return f"/{''.join(letters)}"


def _only(path: str) -> str:
    return "/" + re.sub(r"[*?[ ]", r"[\g<0>]", path)


CONFIGURATION = PeekKind(_peek_patterns, find_missing)
README = PeekKind(_readme_patterns, find_pictures)
