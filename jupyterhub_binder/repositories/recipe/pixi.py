"""Reads pixi.toml: what its default environment asks for on one platform.

What it does not read, such as features and packages of its own, is named in a finding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from jupyterhub_binder.model.condafile import CondaFile
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.repositories.recipe.environments import keep_variables, read_conda_spec
from jupyterhub_binder.repositories.recipe.files import Checkout
from jupyterhub_binder.repositories.recipe.packages import load_toml
from jupyterhub_binder.repositories.recipe.requirements import (
    MAX_LINE_CHARACTERS,
    Wanted,
    read_pip_list,
)

KIND = "pixi.toml"
_WORKSPACE = ("workspace", "project")
_READ = frozenset({*_WORKSPACE, "dependencies", "pypi-dependencies", "activation", "target"})
_NO_PACKAGES = frozenset({"tasks", "tool", "$schema"})
"""What no environment depends on."""
_MAX_NAMED = 20


def read_pixi(checkout: Checkout, wanted: Wanted, *, locked: bool) -> None:
    """Read pixi.toml; its conda packages become `Wanted.conda_file`.

    Beside a lock, only its variables count.
    """
    content = load_toml(checkout, KIND)
    path = checkout.path_of(KIND)
    if locked:
        env = _table(content, "activation").get("env")
        wanted.conda_file = CondaFile(path, variables=keep_variables(checkout, path, env))
    elif content:
        _Manifest(checkout, path, wanted).read(content)


class _Manifest:
    def __init__(self, checkout: Checkout, path: str, wanted: Wanted) -> None:
        self._checkout = checkout
        self._path = path
        self._wanted = wanted
        self._specs: list[str] = []
        self._lines: list[str] = []

    def read(self, content: Mapping[str, Any]) -> None:
        workspace = next((_table(content, name) for name in _WORKSPACE if name in content), {})
        self._read_tables(content)
        activation = _table(content, "activation")
        for name in sorted(content.keys() - _READ - _NO_PACKAGES)[:_MAX_NAMED]:
            self._warn(f"[{name}]")
        if "tasks" in content:
            self._checkout.note(
                "pixi_not_read",
                Message("%(path)s: this hub does not run its tasks.", path=self._path),
                self._path,
            )
        for name in sorted(activation.keys() - {"env"})[:_MAX_NAMED]:
            self._warn(f"[activation] {name}")
        for name, part in list(_table(content, "target").items())[:_MAX_NAMED]:
            if name.startswith(("linux", "unix")):
                for kind in part if isinstance(part, Mapping) else ():
                    self._warn(f"[target.{name}.{kind}]")
        read_pip_list(self._checkout, self._path, self._lines, self._wanted)
        self._wanted.conda_file = CondaFile(
            self._path,
            tuple(self._channels(workspace)),
            tuple(self._specs),
            keep_variables(self._checkout, self._path, activation.get("env")),
            only_for=tuple(_texts(workspace, "platforms")),
        )

    def _read_tables(self, content: Mapping[str, Any]) -> None:
        for name, asked in _table(content, "dependencies").items():
            if spec := self._spec(name, asked):
                read_conda_spec(spec, self._wanted)
                self._specs.append(spec)
        for name, asked in _table(content, "pypi-dependencies").items():
            if line := self._line(name, asked):
                self._lines.append(line)

    def _channels(self, workspace: Mapping[str, Any]) -> Iterator[str]:
        for each in workspace.get("channels") or ():
            name = each.get("channel") if isinstance(each, Mapping) else each
            if isinstance(name, str) and len(name) <= 300:
                yield name

    def _spec(self, name: str, asked: Any) -> str:
        """Return conda's form of a dependency; what has none is a problem."""
        about = {"version": asked} if isinstance(asked, str) else asked
        if not isinstance(about, Mapping) or about.keys() - {"version", "build", "channel"}:
            self._refuse(name)
            return ""
        parts = {key: about.get(key, "") for key in ("version", "build", "channel")}
        if not all(isinstance(part, str) for part in parts.values()):
            self._refuse(name)
            return ""
        version = "" if parts["version"] == "*" else parts["version"]
        build = parts["build"]
        where = f"{parts['channel']}::" if parts["channel"] else ""
        if build:
            inner = f"version='{version or '*'}',build='{build}'"
            return f"{where}{name}[{inner}]"[:MAX_LINE_CHARACTERS]
        return f"{where}{name} {version}".strip()[:MAX_LINE_CHARACTERS]

    def _line(self, name: str, asked: Any) -> str:
        """Return pip's form of a dependency; what has none is a problem."""
        about = {"version": asked} if isinstance(asked, str) else asked
        if not isinstance(about, Mapping):
            self._refuse(name)
            return ""
        extras = _texts(about, "extras")
        whole = f"{name}[{','.join(extras)}]" if extras else name
        keys = about.keys() - {"extras"}
        texts = {key: about[key] for key in keys if isinstance(about[key], str)}
        if keys == {"version"} == texts.keys():
            version = texts["version"]
            return f"{whole}{'' if version == '*' else version}"
        if "path" in texts and keys <= {"path", "editable"}:
            folder = f"{texts['path']}[{','.join(extras)}]" if extras else texts["path"]
            place = folder if folder.startswith(".") else f"./{folder}"
            return f"-e {place}" if about.get("editable") else place
        if "git" in texts and keys <= {"git", "rev", "tag", "branch", "subdirectory"}:
            ref = next((f"@{texts[key]}" for key in ("rev", "tag", "branch") if key in texts), "")
            folder = f"#subdirectory={texts['subdirectory']}" if "subdirectory" in texts else ""
            return f"{whole} @ git+{texts['git']}{ref}{folder}"
        if keys == {"url"} == texts.keys():
            return f"{whole} @ {texts['url']}"
        self._refuse(name)
        return ""

    def _refuse(self, name: str) -> None:
        self._checkout.problem(
            "pixi_not_understood",
            Message(
                "%(path)s: this hub does not understand its entry for %(name)s.",
                path=self._path,
                name=name[:200],
            ),
            self._path,
        )

    def _warn(self, what: str) -> None:
        self._checkout.warn(
            "pixi_not_read",
            Message(
                "%(path)s: this hub does not use %(what)s. It builds the default environment without it.",
                path=self._path,
                what=what[:200],
            ),
            self._path,
        )


def _table(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = content.get(name)
    return found if isinstance(found, Mapping) else {}


def _texts(content: Mapping[str, Any], name: str) -> list[str]:
    found = content.get(name) or []
    return [each for each in found if isinstance(each, str)] if isinstance(found, list) else []
