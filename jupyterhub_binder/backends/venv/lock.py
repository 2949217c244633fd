"""The option `lock`: packages in exact versions from a receipt, instead of a new choice.

A receipt may come from a stranger. Each line passes the checks of a repository's own lines, must
name one exact version, and obeys the administrator's constraints. What is refused fails the build.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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
    if not isinstance(requirements, str) or len(requirements) > MAX_CHARACTERS:
        raise InvalidInput("The requirements of the option 'lock' are too long, or not text.")
    lines = [line.strip() for line in requirements.splitlines()]
    text = "".join(f"{line}\n" for line in lines if line)
    return {"commit": commit, "python": python, "requirements": text}


def lock_of(options: Mapping[str, Any]) -> Lock | None:
    """Return the lock of a build's options; None for a build that chooses versions."""
    return Lock(**options[OPTION]) if OPTION in options else None


def choose_locked(lock: Lock, policy: Policy, constraints: Sequence[str]) -> Requirements:
    """Return what uv gets of a lock. Pure."""
    lines = [_read(text) for text in lock.requirements.splitlines() if text]
    found = choose_lines((line for line in lines if not _why_not(line)), policy)
    found.refused += [RefusedLine(line, why) for line in lines if (why := _why_not(line))]
    for text in found.packages:
        why = _unpinned(text) or _forbidden(text, constraints)
        if why is not None:
            found.refused.append(RefusedLine(_read(text), why))
    return found


def _read(text: str) -> RequirementLine:
    option, _, value = text.partition(" ") if text.startswith("-") else ("", "", "")
    return RequirementLine("receipt", text, option=option, value=value.strip())


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


def _forbidden(text: str, constraints: Iterable[str]) -> Message | None:
    """Return why an administrator's constraint forbids a package, or None."""
    asked = Requirement(text)
    version = next(iter(asked.specifier)).version
    for limit in constraints:
        try:
            known = Requirement(limit)
        except InvalidRequirement:
            continue  # uv reads it where versions are chosen, and says what is wrong
        same = canonicalize_name(known.name) == canonicalize_name(asked.name)
        applies = known.marker is None or known.marker.evaluate()
        if same and applies and not known.specifier.contains(version, prereleases=True):
            return Message("this hub allows only %(limit)s", limit=limit)
    return None
