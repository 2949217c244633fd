"""Reads pip's requirements format with included files.

It decides what a line is; a backend decides whether it takes the line.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from packaging.requirements import InvalidRequirement, Requirement

from jupyterhub_binder.model import RequirementLine
from jupyterhub_binder.model.condafile import CondaFile
from jupyterhub_binder.model.lockfile import LockFile
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.repositories.recipe.files import Checkout

MAX_LINES = 5000
"""Of all files together."""

MAX_FILES = 50
MAX_LINE_CHARACTERS = 4000

_COMMENT = re.compile(r"(^|\s)#.*$")
_INCLUDES = ("-r", "--requirement", "-c", "--constraint")
_CONSTRAINTS = ("-c", "--constraint")
_ELSEWHERE = re.compile(
    r"([a-z]+\+)?[a-z]+://|[./~]|.*\.(whl|zip|tar\.gz|tar\.bz2)$", re.IGNORECASE
)
_COMMIT = re.compile(r"@[0-9a-f]{40}\b|#sha256=|--hash=")


@dataclass
class Wanted:
    """What the files ask for, as far as they are read."""

    python: str = ""
    packages: list[str] = field(default_factory=list)
    unpinned: list[str] = field(default_factory=list)
    requirements: list[RequirementLine] = field(default_factory=list)
    conda: list[str] = field(default_factory=list)
    preferred_python: str = ""
    lock: LockFile | None = None
    conda_file: CondaFile | None = None
    conda_lock: CondaFile | None = None

    def add(self, text: str, *, pinned: bool) -> None:
        """Add a package as written."""
        text = text.strip()[:300]
        if text and len(self.packages) < MAX_LINES:
            self.packages.append(text)
            if not pinned:
                self.unpinned.append(text)


def read_requirements(checkout: Checkout, path: str, wanted: Wanted) -> None:
    """Read a file and those that it includes."""
    _Reader(checkout, wanted, "").read_file(path)


def read_pip_list(checkout: Checkout, path: str, lines: list[str], wanted: Wanted) -> None:
    """Read the lines under ``pip:`` of an environment.yml; conda runs pip in its folder."""
    reader = _Reader(checkout, wanted, posixpath.dirname(path))
    reader.read("\n".join(lines), path)


def read_requirement(checkout: Checkout, path: str, line: str, wanted: Wanted) -> None:
    """Count a package, or say that it is none."""
    bare = re.split(r"\s--?[a-z]", line, maxsplit=1)[0].strip()
    try:
        requirement = Requirement(bare)
    except (InvalidRequirement, RecursionError):
        if _ELSEWHERE.match(bare):
            checkout.note(
                "elsewhere",
                Message("%(path)s installs from an address: %(line)s", path=path, line=_cut(bare)),
                path,
            )
        else:
            checkout.warn(
                "not_a_requirement",
                Message(
                    "%(path)s has a line that pip will reject: %(line)s", path=path, line=_cut(bare)
                ),
                path,
            )
        return
    wanted.add(bare, pinned=_is_pinned(requirement, line))


@dataclass
class _Reader:
    checkout: Checkout
    wanted: Wanted
    folder: str
    """Where pip runs."""
    _seen: set[tuple[str, bool]] = field(default_factory=set)
    _lines: int = 0

    def read_file(self, path: str, *, constraint: bool = False) -> None:
        if (path, constraint) in self._seen:
            return
        self._seen.add((path, constraint))
        self.checkout.included.add(path)
        if len(self._seen) > MAX_FILES:
            self._problem(
                "too_many_files",
                Message("%(path)s is one of more than %(most)s files that include each other.",
                        path=path, most=MAX_FILES),
                path,
            )  # fmt: skip
            return
        self.read(self.checkout.read(path) or "", path, constraint=constraint)

    def read(self, text: str, path: str, *, constraint: bool = False) -> None:
        for line in _logical_lines(text):
            self._lines += 1
            if self._lines > MAX_LINES:
                self._problem(
                    "too_many_lines",
                    Message("%(path)s has more than %(most)s lines.", path=path, most=MAX_LINES),
                    path,
                )
                return
            if len(line) > MAX_LINE_CHARACTERS:
                self._problem(
                    "line_too_long",
                    Message(
                        "%(path)s has a line of more than %(most)s characters.",
                        path=path,
                        most=MAX_LINE_CHARACTERS,
                    ),
                    path,
                )
                continue
            option, value = _split_option(line)
            if option in _INCLUDES and self._include(path, option, value, constraint=constraint):
                continue
            self.wanted.requirements.append(
                RequirementLine(path, line, option, value, constraint, self.folder)
            )
            if not constraint:
                self._describe(path, line, option)

    def _problem(self, code: str, message: Message, path: str) -> None:
        self.checkout.problem(code, message, path)

    def _include(self, path: str, option: str, value: str, *, constraint: bool) -> bool:
        """Read an included file; return False if only the backend can judge the line."""
        other = posixpath.normpath(posixpath.join(posixpath.dirname(path), value))
        if "://" in value or value.startswith("file:"):
            self.checkout.warn(
                "elsewhere",
                Message(
                    "%(path)s includes a file from another host: %(line)s",
                    path=path,
                    line=_cut(value),
                ),
                path,
            )
            return False
        if self.checkout.in_submodule(other):
            return False
        if other.startswith(("../", "/", "~")) or other == "..":
            self._problem(
                "leads_out",
                Message("%(path)s includes a file from outside the repository.", path=path),
                path,
            )
        elif not self.checkout.is_file(other):
            self.checkout.miss(other)
            self._problem(
                "include_missing",
                Message(
                    "%(path)s includes %(other)s, which is not a file of the repository.",
                    path=path,
                    other=_cut(other),
                ),
                path,
            )
        else:
            self.read_file(other, constraint=constraint or option in _CONSTRAINTS)
        return True

    def _describe(self, path: str, line: str, option: str) -> None:
        if option in ("-e", "--editable"):
            self.checkout.note(
                "elsewhere",
                Message(
                    "%(path)s installs from a folder or an address: %(line)s",
                    path=path,
                    line=_cut(line),
                ),
                path,
            )
        elif option and option not in _INCLUDES:
            self.checkout.note(
                "pip_option",
                Message("%(path)s sets a pip option: %(line)s", path=path, line=_cut(line)),
                path,
            )
        elif not option:
            read_requirement(self.checkout, path, line, self.wanted)


def _logical_lines(text: str) -> Iterator[str]:
    """Yield lines as pip does: without comments, with continuations joined.

    Takes linear time for any text.
    """
    whole: list[str] = []
    for line in text.splitlines():
        # A comment ends with its line, even with a backslash.
        if line.endswith("\\") and not _COMMENT.search(line):
            whole.append(line.strip("\\"))
            continue
        joined, whole = "".join([*whole, line]), []
        if bare := _COMMENT.sub("", joined).strip():
            yield bare.replace("\t", " ")
    if bare := _COMMENT.sub("", "".join(whole)).strip():
        yield bare.replace("\t", " ")


def _split_option(line: str) -> tuple[str, str]:
    """Split ``-r x``, ``-rx``, ``--long x`` and ``--long=x``; else return two empty strings."""
    if line.startswith("--"):
        name, _, value = line.replace("=", " ", 1).partition(" ")
        return name, value.strip().strip("\"'")
    if line.startswith("-"):
        return line[:2], line[2:].strip().removeprefix("=").strip().strip("\"'")
    return "", ""


def _is_pinned(requirement: Requirement, line: str) -> bool:
    if requirement.url:
        return bool(_COMMIT.search(line))
    return any(
        s.operator in ("==", "===") and not s.version.endswith("*") for s in requirement.specifier
    )


def _cut(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:79]}…"
