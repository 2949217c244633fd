"""The option `lock`: packages in exact versions from a receipt, instead of a new choice.

A receipt may come from a stranger. Each line passes the checks of a repository's own lines, must
name one exact version, and obeys the administrator's constraints. What is refused fails the build.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from jupyterhub_binder.backends.venv.requirements import (
    Policy,
    RefusedLine,
    Requirements,
    choose_lines,
)
from jupyterhub_binder.errors import InvalidInput
from jupyterhub_binder.model import RequirementLine
from jupyterhub_binder.model.text import Message

OPTION = "lock"
MAX_CHARACTERS = 200_000
MAX_LINES = 5_000
"""As of a repository's own files."""

_OPTIONS = ("-e", "--extra-index-url")
_PYTHON = re.compile(r"3\.\d{1,2}")
_COMMIT = re.compile(r"[A-Za-z0-9._-]{1,200}")


@dataclass(frozen=True, slots=True)
class Lock:
    """The packages of one commit's environment."""

    commit: str
    python: str
    """The minor version, such as ``3.12``."""
    requirements: str
    """In pip's format, a line each."""


def clean_lock(value: Any) -> dict[str, str]:
    """Return the option, normalised. Raises InvalidInput."""
    if not isinstance(value, Mapping) or value.keys() != {"commit", "python", "requirements"}:
        raise InvalidInput("The option 'lock' needs commit, python and requirements.")
    commit, python, requirements = (value[name] for name in ("commit", "python", "requirements"))
    if not (isinstance(commit, str) and _COMMIT.fullmatch(commit)):
        raise InvalidInput("The commit of the option 'lock' is not valid.")
    if not (isinstance(python, str) and _PYTHON.fullmatch(python)):
        raise InvalidInput("The Python of the option 'lock' must be a version such as 3.12.")
    lines = _lines_of(requirements) if isinstance(requirements, str) else None
    if lines is None or len(lines) > MAX_LINES:
        raise InvalidInput("The requirements of the option 'lock' are too long, or not text.")
    text = "".join(f"{line}\n" for line in lines)
    return {"commit": commit, "python": python, "requirements": text}


def _lines_of(text: str) -> list[str] | None:
    if len(text) > MAX_CHARACTERS:
        return None
    return [line for line in map(str.strip, text.splitlines()) if line]


def lock_of(options: Mapping[str, Any]) -> Lock | None:
    """Return the lock of a build's options; None for a build that chooses versions."""
    return Lock(**options[OPTION]) if OPTION in options else None


def choose_locked(lock: Lock, policy: Policy, constraints: Sequence[str]) -> Requirements:
    """Return what uv gets of a lock. Pure."""
    lines = [_read(text) for text in lock.requirements.splitlines() if text]
    found = choose_lines((line for line in lines if not _why_not(line)), policy)
    found.refused += [RefusedLine(line, why) for line in lines if (why := _why_not(line))]
    limits = limits_of(constraints)
    for text in found.packages:
        why = _unpinned(text) or forbidden(text, limits)
        if why is not None:
            found.refused.append(RefusedLine(_read(text), why))
    return found


def choose_locked_lines(path: str, lines: Sequence[str], policy: Policy) -> Requirements:
    """Return what uv gets of the lines of a repository's lock, with their checksums. Pure."""
    folder = path.rpartition("/")[0]
    hashes = dict(line.split(" --hash=", 1) for line in lines if " --hash=" in line)
    bare = [line.partition(" --hash=")[0] for line in lines]
    found = choose_lines([replace(_read(text, path), folder=folder) for text in bare], policy)
    found.hashes = {name: (value,) for name, value in hashes.items()}
    return found


def _read(text: str, path: str = "receipt") -> RequirementLine:
    option, _, value = text.partition(" ") if text.startswith("-") else ("", "", "")
    return RequirementLine(path, text, option=option, value=value.strip())


def _why_not(line: RequirementLine) -> Message | None:
    """Return why a line has no place in a lock, where a repository's might."""
    if line.option and line.option not in _OPTIONS:
        return Message("the option %(option)s is not supported here", option=line.option)
    if "--hash" in line.text:
        return Message("hashes are not supported here")
    return None


def _unpinned(text: str) -> Message | None:
    versions = list(Requirement(text).specifier)
    exact = len(versions) == 1 and versions[0].operator in ("==", "===")
    if exact and not versions[0].version.endswith("*"):
        return None
    return Message("it does not name one exact version")


Limits = Mapping[str, Sequence[tuple[str, Requirement]]]
"""By a package's name: constraints as written, and as read."""


def limits_of(constraints: Sequence[str]) -> Limits:
    """Read an administrator's constraints, as far as they apply."""
    found: dict[str, list[tuple[str, Requirement]]] = {}
    for text in constraints:
        try:
            known = Requirement(text)
        except InvalidRequirement:
            continue  # uv reads it where versions are chosen, and says what is wrong
        if known.marker is None or known.marker.evaluate():
            found.setdefault(canonicalize_name(known.name), []).append((text, known))
    return found


def forbidden(text: str, limits: Limits) -> Message | None:
    """Return why an administrator's constraint forbids a package, or None."""
    asked = Requirement(text)
    version = next(iter(asked.specifier)).version
    for limit, known in limits.get(canonicalize_name(asked.name), ()):
        if not known.specifier.contains(version, prereleases=True):
            return Message("this hub allows only %(limit)s", limit=limit)
    return None
