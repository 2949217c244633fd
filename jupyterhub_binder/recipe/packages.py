"""What the files ask for: packages, and a version of Python.

Owns the formats (requirements, environment.yml, Pipfile, pyproject). Whatever a file holds, its
reader returns something and notes findings; which files count is `packs`' business.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml
from packaging.requirements import InvalidRequirement, Requirement

from jupyterhub_binder.recipe.files import Checkout, beside
from jupyterhub_binder.safeload import load_json, load_yaml

MOST_PACKAGES = 5000
MOST_INCLUDES = 50
_LONGEST_LINE = 4000
_MOST_YAML = 2**17
_MOST_TOML = 2**17
_MOST_DOTS = 1000

_VERSION = re.compile(r"\d+\.\d+")
_CONDA_PYTHON = re.compile(r"(?:[\w-]+::)?python\s*=+\s*([\d.]*)")
_COMMENT = re.compile(r"(^|\s)#.*$")
_INCLUDE = re.compile(r"(-r|-c|--requirement|--constraint)(?:\s*=\s*|\s+|(?<=-[rc]))(\S.*)")
_ELSEWHERE = re.compile(
    r"([a-z]+\+)?[a-z]+://|[./~]|.*\.(whl|zip|tar\.gz|tar\.bz2)$", re.IGNORECASE
)
_COMMIT = re.compile(r"@[0-9a-f]{40}\b|#sha256=|--hash=")


@dataclass
class Wanted:
    """What was asked for so far."""

    python: str = ""
    packages: list[str] = field(default_factory=list)
    unpinned: list[str] = field(default_factory=list)

    def add(self, text: str, *, pinned: bool) -> None:
        """Add one package as it was written."""
        text = text.strip()[:300]
        if text and len(self.packages) < MOST_PACKAGES:
            self.packages.append(text)
            if not pinned:
                self.unpinned.append(text)


def short_version(text: str) -> str:
    """Return ``3.11`` out of ``3.11.4``; empty for what names no minor version."""
    found = _VERSION.match(text.strip())
    return found[0] if found else ""


# --- requirements.txt ---------------------------------------------------------------------------


def read_requirements(checkout: Checkout, path: str, wanted: Wanted) -> None:
    """Read a file in pip's format, and those of the checkout that it includes."""
    seen = {path}
    queue = [path]
    while queue:
        current = queue.pop(0)
        for line in _logical_lines(checkout.read(current) or ""):
            included = _read_line(checkout, current, line, wanted)
            if included and included not in seen and len(seen) < MOST_INCLUDES:
                seen.add(included)
                queue.append(included)


def _logical_lines(text: str) -> Iterable[str]:
    joined = text.replace("\r\n", "\n").replace("\\\n", " ")
    for line in joined.split("\n")[: 4 * MOST_PACKAGES]:
        if bare := _COMMENT.sub("", line[: _LONGEST_LINE + 1]).strip():
            yield bare


def _read_line(checkout: Checkout, path: str, line: str, wanted: Wanted) -> str:
    """Take one line; return the path of a file that it includes, if one is to be read too."""
    if len(line) > _LONGEST_LINE:
        checkout.problem(
            "line_too_long", f"{path} has a line of more than {_LONGEST_LINE} letters.", path
        )
    elif found := _INCLUDE.fullmatch(line):
        return _include(checkout, path, found)
    elif line.startswith(("-e", "--editable")):
        checkout.note(
            "elsewhere", f"{path} installs from a folder or an address: {_cut(line)}", path
        )
    elif line.startswith("-"):
        checkout.note("pip_option", f"{path} sets an option of pip: {_cut(line)}", path)
    else:
        _read_requirement(checkout, path, line, wanted)
    return ""


def _include(checkout: Checkout, path: str, found: re.Match[str]) -> str:
    other = beside(path, found[2].strip().strip("\"'"))
    if "://" in found[2]:
        checkout.warn(
            "elsewhere", f"{path} includes a file of another host: {_cut(found[2])}", path
        )
    elif other.startswith(("../", "/")):
        checkout.problem(
            "leads_out", f"{path} includes a file from outside of the repository.", path
        )
    elif not checkout.is_file(other):
        checkout.note("included", f"{path} includes {_cut(other)}, which was not looked at.", path)
    elif found[1] in ("-r", "--requirement"):
        return other
    return ""


def _read_requirement(checkout: Checkout, path: str, line: str, wanted: Wanted) -> None:
    bare = re.split(r"\s--?[a-z]", line, maxsplit=1)[0].strip()
    try:
        requirement = Requirement(bare)
    except (InvalidRequirement, RecursionError):
        if _ELSEWHERE.match(bare):
            checkout.note("elsewhere", f"{path} installs from an address: {_cut(bare)}", path)
        else:
            checkout.warn(
                "not_a_requirement", f"{path} has a line that pip will refuse: {_cut(bare)}", path
            )
        return
    wanted.add(bare, pinned=_is_pinned(requirement, line))


def _is_pinned(requirement: Requirement, line: str) -> bool:
    if requirement.url:
        return bool(_COMMIT.search(line))
    return any(
        s.operator in ("==", "===") and not s.version.endswith("*") for s in requirement.specifier
    )


def _cut(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:79]}…"


# --- environment.yml ----------------------------------------------------------------------------


def read_environment(checkout: Checkout, path: str, wanted: Wanted) -> None:
    """Read conda's environment.yml: its packages, those of its pip list, its Python."""
    content = _load_yaml(checkout, path)
    if content in (None, ""):
        return
    if not isinstance(content, Mapping):
        checkout.problem("not_an_environment", f"{path} must be a mapping with dependencies.", path)
        return
    dependencies = content.get("dependencies")
    for item in dependencies if isinstance(dependencies, list) else ():
        if isinstance(item, str):
            _read_conda(item, wanted)
        elif isinstance(item, Mapping) and isinstance(lines := item.get("pip"), list):
            for line in (line for line in lines if isinstance(line, str)):
                for bare in _logical_lines(line):
                    if included := _read_line(checkout, path, bare, wanted):
                        read_requirements(checkout, included, wanted)


def _load_yaml(checkout: Checkout, path: str) -> Any:
    text = checkout.read(path) or ""
    if len(text) > _MOST_YAML:
        checkout.problem("too_large", f"{path} is too large to be an environment.", path)
        return None
    try:
        return load_yaml(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" in line {mark.line + 1}" if mark else ""
        checkout.problem("not_yaml", f"{path} is not valid YAML{where}.", path)
    except (yaml.YAMLError, RecursionError, ValueError):
        checkout.problem("not_yaml", f"{path} is YAML of a kind that is not read here.", path)
    return None


def _read_conda(item: str, wanted: Wanted) -> None:
    item = item.strip()
    if found := _CONDA_PYTHON.match(item):
        wanted.python = wanted.python or short_version(found[1])
    elif not re.fullmatch(r"(?:[\w-]+::)?(python|pip)\b.*", item) or item[:7].startswith("python-"):
        wanted.add(item, pinned=bool(re.search(r"[^<>!~]=", item)) and "*" not in item)


# --- Pipfile ------------------------------------------------------------------------------------


def read_pipfile(checkout: Checkout, wanted: Wanted) -> None:
    """Read Pipfile.lock, else Pipfile; a Python version is taken from either."""
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
    if (text := checkout.text(kind)) is None:
        return {}
    try:
        content = load_json(text)
    except (ValueError, RecursionError):
        content = None
    if isinstance(content, Mapping):
        return content
    path = checkout.path_of(kind)
    checkout.problem("not_json", f"{path} is not a JSON object.", path)
    return {}


# --- pyproject.toml -----------------------------------------------------------------------------


def load_toml(checkout: Checkout, kind: str) -> Mapping[str, Any]:
    """Return what a TOML file of a kind holds; empty, with a finding, if it cannot be read."""
    if (text := checkout.text(kind)) is None:
        return {}
    path = checkout.path_of(kind)
    if len(text) > _MOST_TOML or _most_dots(text) > _MOST_DOTS:
        checkout.problem("too_large", f"{path} is too large to be looked at.", path)
        return {}
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError):
        checkout.problem("not_toml", f"{path} is not valid TOML.", path)
        return {}


def _most_dots(text: str) -> int:
    """Return the dots of the line with most: tomllib takes minutes for a key of very many parts."""
    return max(line.count(".") for line in text.split("\n"))


def read_project(checkout: Checkout, wanted: Wanted) -> None:
    """Read what a Python project in the checkout depends on."""
    project = _table(load_toml(checkout, "pyproject.toml"), "project")
    dependencies = project.get("dependencies")
    for line in dependencies if isinstance(dependencies, list) else ():
        if isinstance(line, str) and len(line) <= _LONGEST_LINE:
            _read_requirement(checkout, "pyproject.toml", line, wanted)
