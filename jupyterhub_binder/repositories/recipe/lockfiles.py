"""Reads uv.lock and pylock.toml into data, and what pyproject.toml chooses of them.

It evaluates no markers: a backend knows the Python. What uv or pip would not write is a problem.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

from packaging.markers import InvalidMarker, Marker
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from jupyterhub_binder.model.lockfile import LockedDependency, LockedPackage, LockFile
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.repositories.recipe.files import Checkout
from jupyterhub_binder.repositories.recipe.packages import load_toml
from jupyterhub_binder.repositories.recipe.requirements import MAX_LINES, Wanted

MAX_LOCK_BYTES = 2 * 2**20
"""Locks list the files of each package, so they are larger than other configuration files."""

SECTION = "jupyterhub-binder"
"""The table below ``[tool]`` with which a repository chooses extras and groups."""

Table = Mapping[str, Any]
Groups = tuple[tuple[str, tuple[LockedDependency, ...]], ...]

_MAX_DEPENDENCIES = 50_000
_MAX_CHARACTERS = 4000
_MAX_DOTS = 8
"""In keys of one line. tomllib's time grows with the square of it."""

_STRING = re.compile(r'"(?:[^"\\]|\\.)*+("?)')
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_HASH = re.compile(r"[a-z0-9]{1,20}:[0-9a-fA-F]{1,200}")
_KINDS = ("registry", "git", "url", "path", "directory", "editable", "virtual")


class _BadLock(Exception):
    """The lock is not what its tool writes."""


def is_locked_project(checkout: Checkout) -> bool:
    """Say whether pyproject.toml is a project or workspace that a uv.lock is about."""
    content = load_toml(checkout, "pyproject.toml")
    return "project" in content or "workspace" in _table(_table(content, "tool"), "uv")


def read_lock(checkout: Checkout, kind: str, wanted: Wanted) -> None:
    """Read a lock file with the choices in pyproject.toml."""
    path = checkout.path_of(kind)
    if checkout.has("pyproject.toml"):
        checkout.included.add("pyproject.toml")
    content = _load(checkout, path)
    if content is None:
        return
    project = load_toml(checkout, "pyproject.toml")
    try:
        read = _read_uv_lock if kind == "uv.lock" else _read_pylock
        lock = read(path, content, project)
    except _BadLock as error:
        checkout.problem(
            "bad_lock",
            Message("%(path)s can't be read: %(why)s.", path=path, why=error.args[0]),
            path,
        )
        return
    wanted.lock = lock
    wanted.python = wanted.python or lock.python
    for text in sorted({f"{p.name}=={p.version}" if p.version else p.name for p in lock.packages}):
        wanted.add(text, pinned=True)


def _load(checkout: Checkout, path: str) -> Table | None:
    text = checkout.read(path, max_bytes=MAX_LOCK_BYTES)
    if text is None:
        return None
    if path in checkout.not_utf8:
        checkout.problem("encoding", Message("%(path)s must be UTF-8.", path=path), path)
        return None
    if not _is_plain(text):
        checkout.problem(
            "bad_lock",
            Message(
                "%(path)s is not a valid lock file. Create it again with the program that made it.",
                path=path,
            ),
            path,
        )
        return None
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError):
        checkout.problem("not_toml", Message("%(path)s is not valid TOML.", path=path), path)
        return None


def _is_plain(text: str) -> bool:
    """Accept only TOML that tomllib reads in linear time, as uv and pip write it."""
    if '"""' in text:
        return False
    lines = (line for line in text.split("\n") if not line.lstrip().startswith("#"))
    # What ends without a quote becomes one that is not allowed.
    bare = (_STRING.sub(lambda found: "" if found[1] else "'", line) for line in lines)
    return all("'" not in line and line.count(".") <= _MAX_DOTS for line in bare)


# --- uv.lock ------------------------------------------------------------------------------------


def _read_uv_lock(path: str, content: Table, project: Table) -> LockFile:
    if content.get("version") != 1:
        raise _BadLock(Message("this hub does not support its format"))
    manifest = _table(content, "manifest")
    packages = tuple(_uv_package(each) for each in _tables(content, "package", MAX_LINES))
    if _count(packages) > _MAX_DEPENDENCIES:
        raise _BadLock(Message("it has too many dependencies"))
    settings, choices = _table(_table(project, "tool"), "uv"), _choices(project)
    root_groups = _groups(_table(manifest, "dependency-groups"))
    return LockFile(
        path,
        python=_text(content, "requires-python"),
        environments=_markers(content, "supported-markers"),
        packages=packages,
        roots=_roots(project, manifest, packages),
        root_groups=root_groups,
        chosen_extras=_names(choices.get("extras", [])),
        chosen_groups=_chosen_groups(settings, choices, packages, root_groups),
        conflicts=tuple(_conflicts(content)),
    )


def _roots(project: Table, manifest: Table, packages: tuple[LockedPackage, ...]) -> tuple[str, ...]:
    if "project" not in project:
        return _names(manifest.get("members", []))
    name = _name(_table(project, "project").get("name"))
    if not any(one.name == name and one.place == "." for one in packages):
        raise _BadLock(Message("it does not belong to this pyproject.toml. Run `uv lock`"))
    return (name,)


def _chosen_groups(
    settings: Table, choices: Table, packages: tuple[LockedPackage, ...], more: Groups
) -> tuple[str, ...]:
    """Return the groups that the repository chooses, else those that `uv sync` installs."""
    if "groups" in choices:
        return _names(choices["groups"])
    known = [name for one in packages if one.place == "." for name, _ in one.groups]
    known += [name for name, _ in more]
    asked = settings.get("default-groups")
    if asked == "all":
        return tuple(sorted(set(known)))
    return ("dev",) if asked is None else _names(asked)


def _uv_package(table: Table) -> LockedPackage:
    kind, place, subdirectory = _source(_table(table, "source"))
    metadata = _table(table, "metadata")
    extras = dict(_groups(_table(table, "optional-dependencies")))
    groups = dict(_groups(_table(table, "dev-dependencies")))
    # An extra or group without packages is named in the metadata only.
    empty = dict.fromkeys(_names(metadata.get("provides-extras", [])), ())
    none = dict.fromkeys(map(_name, _table(metadata, "requires-dev")), ())
    return LockedPackage(
        name=_name(table.get("name")),
        version=_version(table),
        kind=kind,
        place=place,
        subdirectory=subdirectory,
        markers=_markers(table, "resolution-markers"),
        dependencies=_dependencies(table.get("dependencies", [])),
        extras=tuple((empty | extras).items()),
        groups=tuple((none | groups).items()),
        hashes=tuple(_uv_hashes(table)),
    )


def _source(table: Table) -> tuple[str, str, str]:
    kind = next((one for one in _KINDS if one in table), "")
    if not kind:
        raise _BadLock(Message("a package comes from a source that this hub does not support"))
    return kind, _text(table, kind), _text(table, "subdirectory")


def _uv_hashes(table: Table) -> Iterator[str]:
    files = [_table(table, "sdist"), *_tables(table, "wheels", _MAX_DEPENDENCIES)]
    for file in files:
        if text := _text(file, "hash"):
            yield _hash(text)


def _groups(tables: Table) -> Groups:
    return tuple((_name(name), _dependencies(each)) for name, each in tables.items())


def _dependencies(value: Any) -> tuple[LockedDependency, ...]:
    return tuple(
        LockedDependency(
            name=_name(each.get("name")),
            version=_version(each),
            place=_source(_table(each, "source"))[1] if "source" in each else "",
            extras=_names(each.get("extra", each.get("extras", []))),
            marker=_marker(each),
        )
        for each in _list(value, _MAX_DEPENDENCIES, Mapping)
    )


def _count(packages: tuple[LockedPackage, ...]) -> int:
    return sum(
        len(one.dependencies) + sum(len(each) for _, each in (*one.extras, *one.groups))
        for one in packages
    )


def _conflicts(content: Table) -> Iterator[tuple[tuple[str, str, str], ...]]:
    for several in _list(content.get("conflicts", []), MAX_LINES, list):
        yield tuple(
            (_name(one.get("package")), kind, _name(one[kind]))
            for one in _list(several, MAX_LINES, Mapping)
            for kind in ("extra", "group")
            if kind in one
        )


# --- pylock.toml --------------------------------------------------------------------------------


def _read_pylock(path: str, content: Table, project: Table) -> LockFile:
    if not str(content.get("lock-version", "")).startswith("1."):
        raise _BadLock(Message("this hub does not support its format"))
    choices = _choices(project)
    known = _names(content.get("extras", [])), _names(content.get("dependency-groups", []))
    extras = _names(choices.get("extras", []))
    groups = _names(choices.get("groups", content.get("default-groups", [])))
    defaults = _names(content.get("default-groups", []))
    for name in {*extras} - {*known[0]} | {*groups} - {*known[1], *defaults}:
        raise _BadLock(Message("it has no extra or group “%(name)s”", name=name))
    return LockFile(
        path,
        flat=True,
        python=_text(content, "requires-python"),
        environments=_markers(content, "environments"),
        packages=tuple(_pylock_package(each) for each in _tables(content, "packages", MAX_LINES)),
        chosen_extras=extras,
        chosen_groups=groups,
    )


def _pylock_package(table: Table) -> LockedPackage:
    kind, place, about = _pylock_place(table)
    marker = _marker(table)
    files = [_table(table, "sdist"), _table(table, "archive")]
    files += _tables(table, "wheels", _MAX_DEPENDENCIES)
    return LockedPackage(
        name=_name(table.get("name")),
        version=_version(table),
        kind=kind,
        place=place,
        subdirectory=_text(about, "subdirectory"),
        markers=(marker,) if marker else (),
        python=_text(table, "requires-python"),
        hashes=tuple(
            _hash(f"{name}:{_text(hashes, name)}")
            for hashes in (_table(file, "hashes") for file in files)
            for name in hashes
        ),
    )


def _pylock_place(table: Table) -> tuple[str, str, Table]:
    """Return the kind and the place of a package, and the table that says more."""
    if vcs := _table(table, "vcs"):
        if vcs.get("type") != "git" or "url" not in vcs:
            raise _BadLock(Message("a package comes from a source that this hub does not support"))
        return "git", f"{_text(vcs, 'url')}#{_text(vcs, 'commit-id')}", vcs
    if folder := _table(table, "directory"):
        return (
            ("editable" if folder.get("editable") else "directory"),
            _text(folder, "path"),
            folder,
        )
    if archive := _table(table, "archive"):
        kind = "url" if "url" in archive else "path"
        return kind, _text(archive, kind), archive
    return "registry", _text(table, "index"), {}


# --- What both need -----------------------------------------------------------------------------


def _choices(project: Table) -> Table:
    return _table(_table(project, "tool"), SECTION)


def _table(content: Table, name: str) -> Table:
    found = content.get(name)
    return found if isinstance(found, Mapping) else {}


def _tables(content: Table, name: str, most: int) -> list[Any]:
    return _list(content.get(name, []), most, Mapping)


def _list(value: Any, most: int, kind: type) -> list[Any]:
    if not isinstance(value, list) or not all(isinstance(one, kind) for one in value):
        raise _BadLock(Message("it is not a valid lock file"))
    if len(value) > most:
        raise _BadLock(Message("it is longer than this hub allows"))
    return value


def _text(table: Table, name: str) -> str:
    value = table.get(name, "")
    if not isinstance(value, str) or len(value) > _MAX_CHARACTERS or not value.isprintable():
        raise _BadLock(Message("it is not a valid lock file"))
    return value


def _name(value: Any) -> str:
    if not isinstance(value, str) or len(value) > 200 or not _NAME.fullmatch(value):
        raise _BadLock(Message("a package, extra or group has an invalid name"))
    return str(canonicalize_name(value))


def _names(value: Any) -> tuple[str, ...]:
    return tuple(_name(one) for one in _list(value, MAX_LINES, str))


def _version(table: Table) -> str:
    text = _text(table, "version")
    try:
        return str(Version(text)) if text else ""
    except InvalidVersion:
        raise _BadLock(Message("a package has an invalid version")) from None


def _marker(table: Table) -> str:
    return _checked_marker(_text(table, "marker"))


def _markers(table: Table, name: str) -> tuple[str, ...]:
    texts = _list(table.get(name, []), MAX_LINES, str)
    return tuple(_checked_marker(_text({"marker": each}, "marker")) for each in texts)


def _checked_marker(text: str) -> str:
    try:
        if text:
            Marker(text)
    except (InvalidMarker, RecursionError):
        raise _BadLock(Message("a marker is invalid")) from None
    return text


def _hash(text: str) -> str:
    if not _HASH.fullmatch(text):
        raise _BadLock(Message("the hash of a file is invalid"))
    return text.lower()
