"""Reads packages and Python versions from Pipfile and pyproject.toml.

Invalid files become findings.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from typing import Any

from jupyterhub_binder.model.text import Message
from jupyterhub_binder.repositories.recipe.files import Checkout
from jupyterhub_binder.repositories.recipe.requirements import (
    MAX_LINE_CHARACTERS,
    Wanted,
    read_requirement,
)
from jupyterhub_binder.utils.safe_load import load_json

_MAX_TOML = 2**17
_MAX_DOTS = 1000

_VERSION = re.compile(r"\d+\.\d+")


def short_version(text: str) -> str:
    """Return ``3.11`` for ``3.11.4``, or ""."""
    found = _VERSION.match(text.strip())
    return found[0] if found else ""


# --- Pipfile ------------------------------------------------------------------------------------


def read_pipfile(checkout: Checkout, wanted: Wanted) -> None:
    """Read Pipfile.lock, else Pipfile."""
    lock = _load_json(checkout, "Pipfile.lock")
    pipfile = load_toml(checkout, "Pipfile")
    for requires in (_table(_table(lock, "_meta"), "requires"), _table(pipfile, "requires")):
        for key in ("python_full_version", "python_version"):
            wanted.python = wanted.python or short_version(str(requires.get(key, "")))
    if lock:
        for name, entry in _table(lock, "default").items():
            version = str(entry.get("version", "")) if isinstance(entry, Mapping) else ""
            wanted.add(f"{name}{version}", pinned=version.startswith("=="))
        return
    for name, version in _table(pipfile, "packages").items():
        text = version.get("version", "") if isinstance(version, Mapping) else version
        text = "" if text == "*" or not isinstance(text, str) else text
        wanted.add(f"{name}{text}", pinned=text.startswith("=="))


def _table(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = content.get(name)
    return found if isinstance(found, Mapping) else {}


def _load_json(checkout: Checkout, kind: str) -> Mapping[str, Any]:
    if (text := _utf8_text(checkout, kind)) is None:
        return {}
    try:
        content = load_json(text)
    except (ValueError, RecursionError):
        content = None
    if isinstance(content, Mapping):
        return content
    path = checkout.path_of(kind)
    checkout.problem("not_json", Message("%(path)s is not a JSON object.", path=path), path)
    return {}


def _utf8_text(checkout: Checkout, kind: str) -> str | None:
    """Return the text of a file that must be UTF-8; otherwise it is a problem."""
    text, path = checkout.text(kind), checkout.path_of(kind)
    if text is None or path not in checkout.not_utf8:
        return text
    checkout.problem("encoding", Message("%(path)s must be UTF-8.", path=path), path)
    return None


# --- pyproject.toml -----------------------------------------------------------------------------


def load_toml(checkout: Checkout, kind: str) -> Mapping[str, Any]:
    """Read a TOML file; if invalid, add a finding and return {}."""
    if (text := _utf8_text(checkout, kind)) is None:
        return {}
    path = checkout.path_of(kind)
    if len(text) > _MAX_TOML or _max_dots(text) > _MAX_DOTS:
        checkout.problem("too_large", Message("%(path)s is too large to check.", path=path), path)
        return {}
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError):
        checkout.problem("not_toml", Message("%(path)s is not valid TOML.", path=path), path)
        return {}


def _max_dots(text: str) -> int:
    """Count dots per line: tomllib takes minutes for keys with many parts."""
    return max(line.count(".") for line in text.split("\n"))


def read_project(checkout: Checkout, wanted: Wanted) -> None:
    """Read a Python project's dependencies and Python version."""
    project = _table(load_toml(checkout, "pyproject.toml"), "project")
    dependencies = project.get("dependencies")
    for line in dependencies if isinstance(dependencies, list) else ():
        if isinstance(line, str) and len(line) <= MAX_LINE_CHARACTERS:
            read_requirement(checkout, "pyproject.toml", line, wanted)
    if isinstance(asked := project.get("requires-python"), str):
        wanted.python = wanted.python or asked.strip()


def lists_packages(checkout: Checkout) -> bool:
    """Say whether pyproject.toml has dependencies."""
    return bool(_table(load_toml(checkout, "pyproject.toml"), "project").get("dependencies"))


_PYTHON_VERSION = re.compile(r"(?:cpython-|python-?)?(3(?:\.\d{1,2}){0,2})")


def read_python_version(checkout: Checkout, path: str, wanted: Wanted) -> None:
    """Read the version that .python-version prefers: the first line that names one."""
    for line in (checkout.read(path) or "").splitlines()[:20]:
        text = line.partition("#")[0].strip()
        if text:
            if found := _PYTHON_VERSION.fullmatch(text):
                wanted.preferred_python = found[1]
            else:
                checkout.warn(
                    "bad_python_version",
                    Message(
                        "%(path)s is ignored, because it does not name a version such as 3.12.",
                        path=path,
                    ),
                    path,
                )
            return
