"""Checks of a machine and of a hub: what is there, what is missing, what to do about it.

Looks and never changes anything. Each check is one function that returns findings.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

import aiohttp
from rich.text import Text

from jupyterhub_binder._version import __version__
from jupyterhub_binder.backends.builder import Builder
from jupyterhub_binder.backends.engine import Engine
from jupyterhub_binder.client import ApiError, BinderClient, find_service_url
from jupyterhub_binder.errors import BinderError
from jupyterhub_binder.terminal import plain
from jupyterhub_binder.units import format_bytes

Level = Literal["ok", "note", "problem"]

GIT_VERSION = (2, 37)
LEAST_FREE_BYTES = 5 * 10**9
HUB_VERSIONS = range(5, 7)
_DOCKER = "docker"
_SIGNS = {"ok": ("ok", "green"), "note": ("note", "yellow"), "problem": ("PROBLEM", "bold red")}


@dataclass(frozen=True)
class Diagnosis:
    """What one check found, and what to do about it."""

    level: Level
    what: str
    message: str
    advice: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return asdict(self)

    def text(self) -> Text:
        """Return it for a person."""
        sign, style = _SIGNS[self.level]
        text = Text.assemble((f"{sign:8}", style), f"{self.what:12} ", plain(self.message))
        return text.append(f"\n{'':21} {plain(self.advice)}") if self.advice else text


async def examine(
    *, state: Path, port: int | None = None, hub: str | None = None, token: str = ""
) -> list[Diagnosis]:
    """Do every check that applies; never raises for what it finds."""
    local: list[Callable[[], Iterable[Diagnosis]]] = [
        _check_python,
        _check_uv,
        _check_git,
        _check_sandbox,
        _check_interpreters,
        lambda: _check_state(state),
        lambda: _check_port(port),
    ]
    found = [item for check in local for item in await asyncio.to_thread(lambda c=check: [*c()])]
    checks: list[Awaitable[list[Diagnosis]]] = [_check_docker()]
    if hub:
        checks += [_check_hub(hub), _check_service(hub, token)]
    for check in checks:
        found += await check
    return found


# --- This machine -------------------------------------------------------------------------------


def _check_python() -> Iterable[Diagnosis]:
    versions = ", ".join(
        f"{name} {metadata.version(name)}" for name in ("jupyterhub", "tornado", "sqlalchemy")
    )
    python = ".".join(map(str, sys.version_info[:3]))
    yield Diagnosis(
        "ok", "versions", f"jupyterhub-binder {__version__}, Python {python}, {versions}"
    )
    yield _check_major(metadata.version("jupyterhub"), "jupyterhub")


def _check_major(version: str, what: str) -> Diagnosis:
    major = int(re.match(r"\d+", version)[0]) if re.match(r"\d+", version) else 0  # pyright: ignore[reportOptionalSubscript]
    if major in HUB_VERSIONS:
        return Diagnosis("ok", what, f"{version} is a version that binder works with")
    advice = "Install jupyterhub 5.3 or later, or 6."
    return Diagnosis("problem", what, f"{version} is not a version that binder works with", advice)


def _check_uv() -> Iterable[Diagnosis]:
    try:
        from uv import find_uv_bin

        path = find_uv_bin()
    except (ImportError, FileNotFoundError):
        path = shutil.which("uv")
    if path is None:
        yield Diagnosis("problem", "uv", "is not installed", "pip install uv")
    else:
        yield Diagnosis("ok", "uv", f"{_first_line(str(path), '--version')} at {path}")


def _check_git() -> Iterable[Diagnosis]:
    path = shutil.which("git")
    if path is None:
        yield Diagnosis(
            "problem", "git", "is not installed", "apt install git, or brew install git"
        )
        return
    said = _first_line(path, "--version")
    numbers = tuple(map(int, re.findall(r"\d+", said)[:2]))
    if numbers < GIT_VERSION:
        need = ".".join(map(str, GIT_VERSION))
        yield Diagnosis("problem", "git", f"{said} is too old", f"Install git {need} or later.")
    else:
        yield Diagnosis("ok", "git", f"{said} at {path}")


def _check_sandbox() -> Iterable[Diagnosis]:
    path = shutil.which("bwrap")
    without = "Builds with a postBuild or a source distribution are refused without it."
    if path is None:
        advice = f"{without} apt install bubblewrap"
        yield Diagnosis("note", "bubblewrap", "is not installed", advice)
    elif not _works(path, "--unshare-all", "--ro-bind", "/", "/", "--", "/bin/sh", "-c", ":"):
        advice = f"{without} In a container, allow user namespaces."
        yield Diagnosis("note", "bubblewrap", f"{path} cannot make a sandbox here", advice)
    else:
        yield Diagnosis("ok", "bubblewrap", f"{path} works")


def _check_interpreters() -> Iterable[Diagnosis]:
    names = [f"python3.{minor}" for minor in range(14, 9, -1)]
    # A version manager's stand-in is there for interpreters that are not.
    found = [name for name in names if shutil.which(name) and _works(name, "--version")]
    own = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    listed = ", ".join(found) or str(own)
    yield Diagnosis("ok", "Pythons", f"{listed}: what environments can be made of")
    if os.getuid() == 0 and own.is_relative_to("/root"):
        advice = (
            "Configure an interpreter that all may read, if people's servers run as themselves."
        )
        yield Diagnosis("note", "Pythons", f"{own} is closed to other users", advice)


async def _check_docker() -> list[Diagnosis]:
    """Look at Docker where it is meant to be used; most hubs need none, so it is no problem."""
    if shutil.which(_DOCKER) is None and importlib.util.find_spec("dockerspawner") is None:
        return []
    try:
        engine = await Engine.find(_DOCKER)
    except (BinderError, OSError) as error:
        advice = "Only environments that are container images need it."
        return [Diagnosis("note", "docker", str(error), advice)]
    if engine.podman:
        return [Diagnosis("ok", "docker", f"Podman {engine.version} answers at {engine.program}")]
    answers = f"Docker {engine.version} answers at {engine.program}"
    if engine.builder is not Builder.BUILDX:
        advice = "Builds are faster with it. apt install docker-buildx, or docker-buildx-plugin"
        return [Diagnosis("note", "docker", f"{answers}, without buildx", advice)]
    return [Diagnosis("ok", "docker", f"{answers}, with buildx")]


def _check_state(state: Path) -> Iterable[Diagnosis]:
    folder = state.resolve()
    while not folder.exists():
        folder = folder.parent
    if not os.access(folder, os.W_OK | os.X_OK):
        advice = "Change its owner, or set JupyterHubBinder.state_dir."
        yield Diagnosis("problem", "state", f"{folder} cannot be written to", advice)
        return
    free = shutil.disk_usage(folder).free
    message = f"{folder} has {format_bytes(free)} free"
    if free < LEAST_FREE_BYTES:
        advice = "An environment takes 0.5 GB and more: make room."
        yield Diagnosis("note", "state", message, advice)
    else:
        yield Diagnosis("ok", "state", message)


def _check_port(port: int | None) -> Iterable[Diagnosis]:
    if port is None:
        return
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            advice = "Choose another with JupyterHubBinder.port."
            yield Diagnosis("problem", "port", f"{port}: {error.strerror}", advice)
        else:
            yield Diagnosis("ok", "port", f"{port} is free")


def _first_line(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"does not run ({error})"
    return (done.stdout or done.stderr).strip().partition("\n")[0]


def _works(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=20, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


# --- A hub ----------------------------------------------------------------------------------------


def _hub_api(url: str) -> str:
    parts = urlsplit(find_service_url(url))
    root = parts.path.partition("/services/")[0]
    return urlunsplit((parts.scheme, parts.netloc, f"{root}/hub/api/", "", ""))


async def _check_hub(url: str) -> list[Diagnosis]:
    try:
        api = _hub_api(url)
        timeout = aiohttp.ClientTimeout(total=20)
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=True) as session,
            session.get(api) as response,
        ):
            version = str((await response.json(content_type=None))["version"])
    except (
        aiohttp.ClientError,
        TimeoutError,
        ValueError,
        KeyError,
        TypeError,
        BinderError,
    ) as error:
        advice = "Give the address that a browser shows. Behind a proxy, set https_proxy."
        return [Diagnosis("problem", "hub", f"{url} does not answer as a hub: {error}", advice)]
    return [Diagnosis("ok", "hub", f"{api} answers"), _check_major(version, "hub")]


async def _check_service(url: str, token: str) -> list[Diagnosis]:
    try:
        async with BinderClient(url, token, timeout_seconds=20) as client:
            info = await client.info()
    except ApiError as error:
        if error.http_status in (401, 403):
            advice = "Make a token on the hub's page Token; a server's own may not use services."
            return [Diagnosis("problem", "token", str(error), advice)]
        advice = "Call jupyterhub_binder.hubconfig.configure(c) in jupyterhub_config.py."
        return [Diagnosis("problem", "service", str(error), advice)]
    except BinderError as error:
        return [Diagnosis("problem", "service", str(error))]
    return list(_read_info(info))


def _read_info(info: dict[str, Any]) -> Iterable[Diagnosis]:
    yield Diagnosis("ok", "service", f"jupyterhub-binder {info['version']}")
    user, may = info["user"], info["permissions"]
    if may["build"]:
        yield Diagnosis("ok", "token", f"is {user['name']}'s, who may build")
    else:
        advice = "An admin of the hub gives the scope custom:binder:build."
        yield Diagnosis("problem", "token", f"is {user['name']}'s, who may not build", advice)
    backend = info["backend"]
    if backend["health"]:
        yield Diagnosis("problem", "backend", f"{backend['name']}: {backend['health']}")
    else:
        yield Diagnosis("ok", "backend", f"{backend['name']} can build now")
