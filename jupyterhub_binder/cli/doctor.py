"""`jupyterhub-binder doctor`: checks a machine and a hub without changing them."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

import aiohttp
from rich.text import Text

from jupyterhub_binder._version import __version__
from jupyterhub_binder.backends.repo2docker.builder import Builder
from jupyterhub_binder.backends.repo2docker.engine import Engine
from jupyterhub_binder.client.client import ApiError, BinderClient, find_service_url
from jupyterhub_binder.errors import BinderError
from jupyterhub_binder.utils.http import open_session, why_unanswered
from jupyterhub_binder.utils.terminal import plain
from jupyterhub_binder.utils.units import format_bytes

Level = Literal["ok", "note", "problem"]

GIT_VERSION = (2, 37)
MIN_FREE_BYTES = 5 * 10**9
ALMOST_NONE_BYTES = 10**9
"""As in `JupyterHubBinder.min_free_bytes`."""
HUB_VERSIONS = range(5, 7)
SAFE_HUB_VERSION = (5, 5, 1)
"""Earlier ones have a known hole that any person can use (GHSA-c4gm-pwx9-9w8j)."""
KERNEL_FIXES = date(2026, 6, 1)
"""Kernels built since have the fixes of 2026 against escapes from containers."""
_DOCKER = "docker"
_SIGNS = {"ok": ("ok", "green"), "note": ("note", "yellow"), "problem": ("PROBLEM", "bold red")}


@dataclass(frozen=True)
class Diagnosis:
    """A check's result and advice."""

    level: Level
    what: str
    message: str
    advice: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return JSON data."""
        return asdict(self)

    def text(self) -> Text:
        """Format for a terminal."""
        sign, style = _SIGNS[self.level]
        text = Text.assemble((f"{sign:8}", style), f"{plain(self.what):12} ", plain(self.message))
        return text.append(f"\n{'':21} {plain(self.advice)}") if self.advice else text


async def examine(
    *,
    state: Path,
    port: int | None = None,
    backend: str = "",
    hub: str | None = None,
    token: str = "",
) -> list[Diagnosis]:
    """Run all checks that apply. Problems are findings, not errors."""
    local: list[Callable[[], Iterable[Diagnosis]]] = [
        _check_python,
        _check_uv,
        _check_git,
        _check_kernel,
        _check_sandbox,
        _check_interpreters,
        lambda: _check_state(state),
        lambda: _check_port(port),
    ]
    found = [item for check in local for item in await asyncio.to_thread(lambda c=check: [*c()])]
    found += await _check_docker(needed=backend == "repo2docker")
    if hub:
        async with open_session(trust_env=True) as session:
            found += await _check_hub(session, hub)
            found += await _check_service(session, hub, token)
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
    need = ".".join(map(str, SAFE_HUB_VERSION))
    major = int(re.match(r"\d+", version)[0]) if re.match(r"\d+", version) else 0  # pyright: ignore[reportOptionalSubscript]
    if major in HUB_VERSIONS:
        if tuple(map(int, re.findall(r"\d+", version)[:3])) < SAFE_HUB_VERSION:
            advice = f"Upgrade JupyterHub to {need} or later."
            return Diagnosis("note", what, f"{version} has known security holes", advice)
        return Diagnosis("ok", what, f"{version} is supported")
    advice = f"Install JupyterHub {need} or later."
    return Diagnosis("problem", what, f"{version} is not supported", advice)


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
            "problem", "git", "is not installed", "apt install git (or: brew install git)"
        )
        return
    said = _first_line(path, "--version")
    numbers = tuple(map(int, re.findall(r"\d+", said)[:2]))
    if numbers < GIT_VERSION:
        need = ".".join(map(str, GIT_VERSION))
        yield Diagnosis("problem", "git", f"{said} is too old", f"Install git {need} or later.")
    else:
        yield Diagnosis("ok", "git", f"{said} at {path}")


def _check_kernel() -> Iterable[Diagnosis]:
    """Tell from its build date whether a kernel can have the fixes; versions are backported."""
    kernel = os.uname()
    built = _read_build_date(kernel.version)
    if built is None or built >= KERNEL_FIXES:
        yield Diagnosis("ok", "kernel", f"{kernel.sysname} {kernel.release}")
        return
    yield Diagnosis(
        "note",
        "kernel",
        f"{kernel.release} was built on {built}, before fixes against escapes from containers "
        "(CVE-2026-31431, CVE-2026-43284, CVE-2026-43500)",
        "Install your distribution's updates and restart the machine.",
    )


def _read_build_date(version: str) -> date | None:
    """Read ``(2026-05-10)`` or ``Thu May 7 14:04:02 UTC 2026``."""
    forms = ((r"\d{4}-\d\d-\d\d", "%Y-%m-%d"), (r"[A-Z][a-z]{2} +\d+ [\d:]+ \S+ \d{4}", "%b %d %Y"))
    for pattern, form in forms:
        if found := re.search(pattern, version):
            words = found[0].split()
            text = " ".join((*words[:2], words[-1])) if len(words) > 1 else found[0]
            with contextlib.suppress(ValueError):
                return datetime.strptime(text, form).replace(tzinfo=UTC).date()
    return None


def _check_sandbox() -> Iterable[Diagnosis]:
    path = shutil.which("bwrap")
    without = "Without it, builds that have a postBuild or a source distribution are refused."
    if path is None:
        advice = f"{without} To install: apt install bubblewrap"
        yield Diagnosis("note", "bubblewrap", "is not installed", advice)
    elif not _works(path, "--unshare-all", "--ro-bind", "/", "/", "--", "/bin/sh", "-c", ":"):
        advice = f"{without} In a container, allow user namespaces."
        yield Diagnosis(
            "note", "bubblewrap", f"{path} can't create a sandbox on this machine", advice
        )
    else:
        yield Diagnosis("ok", "bubblewrap", f"{path} works")


def _check_interpreters() -> Iterable[Diagnosis]:
    names = [f"python3.{minor}" for minor in range(14, 9, -1)]
    # A version manager puts placeholders on PATH for interpreters that are not installed.
    found = [name for name in names if shutil.which(name) and _works(name, "--version")]
    own = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    listed = ", ".join(found) or str(own)
    yield Diagnosis("ok", "Pythons", f"{listed} can be used for environments")
    if os.getuid() == 0 and own.is_relative_to("/root"):
        advice = (
            "If servers run as system users, configure an interpreter that every user can read."
        )
        yield Diagnosis("note", "Pythons", f"Other users can't read {own}", advice)


async def _check_docker(*, needed: bool) -> list[Diagnosis]:
    """Check Docker; if it is not needed, its absence is a note."""
    meant = needed or shutil.which(_DOCKER) or importlib.util.find_spec("dockerspawner")
    if not meant:
        return []
    try:
        engine = await Engine.find(_DOCKER)
    except (BinderError, OSError) as error:
        if needed:
            advice = "Start the engine, and let this user reach its socket."
            return [Diagnosis("problem", "docker", str(error), advice)]
        advice = (
            "It is needed only for environments that are container images. Use --backend "
            "repo2docker if this machine builds them."
        )
        return [Diagnosis("note", "docker", str(error), advice)]
    if engine.podman:
        return [Diagnosis("ok", "docker", f"Podman {engine.version} is running ({engine.program})")]
    answers = f"Docker {engine.version} is running ({engine.program})"
    if engine.builder is not Builder.BUILDX:
        advice = "Builds are faster with it. To install: apt install docker-buildx (or: docker-buildx-plugin)"
        return [Diagnosis("note", "docker", f"{answers}, without buildx", advice)]
    return [Diagnosis("ok", "docker", f"{answers}, with buildx")]


def _check_state(state: Path) -> Iterable[Diagnosis]:
    folder = state.resolve()
    while not folder.exists():
        folder = folder.parent
    if not os.access(folder, os.W_OK | os.X_OK):
        advice = "Change its owner, or set JupyterHubBinder.state_dir to another folder."
        yield Diagnosis("problem", "state", f"{folder} is not writable", advice)
        return
    free = shutil.disk_usage(folder).free
    message = f"{folder} has {format_bytes(free)} free"
    if free < ALMOST_NONE_BYTES:
        advice = "Nothing can be built with so little. Free some disk space."
        yield Diagnosis("problem", "state", message, advice)
    elif free < MIN_FREE_BYTES:
        advice = "An environment takes 0.5 GB or more. Free some disk space."
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
            advice = "Choose another port with JupyterHubBinder.port."
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


async def _check_hub(session: aiohttp.ClientSession, url: str) -> list[Diagnosis]:
    try:
        api = _hub_api(url)
        timeout = aiohttp.ClientTimeout(total=20)
        async with session.get(api, timeout=timeout) as response:
            version = str((await response.json(content_type=None))["version"])
    except (
        aiohttp.ClientError,
        TimeoutError,
        ValueError,
        KeyError,
        TypeError,
        BinderError,
    ) as error:
        advice = "Use the URL that your browser shows. Behind a proxy, set https_proxy."
        why = why_unanswered(error)
        return [Diagnosis("problem", "hub", f"No JupyterHub found at {url}: {why}", advice)]
    return [Diagnosis("ok", "hub", f"{api} answers"), _check_major(version, "hub")]


async def _check_service(session: aiohttp.ClientSession, url: str, token: str) -> list[Diagnosis]:
    found: list[Diagnosis] = []
    try:
        async with BinderClient(url, token, timeout_seconds=20, session=session) as client:
            found = list(_read_health(await client.health()))
            info = await client.info()
    except ApiError as error:
        if error.http_status in (401, 403):
            advice = (
                "Create a token on the hub's Token page. A server's own token can't use services."
            )
            return [*found, Diagnosis("problem", "token", str(error), advice)]
        advice = "Call jupyterhub_binder.hubconfig.configure(c) in jupyterhub_config.py."
        return [*found, Diagnosis("problem", "service", str(error), advice)]
    except BinderError as error:
        return [*found, Diagnosis("problem", "service", str(error))]
    return [*found, *_read_info(info)]


def _read_health(checks: Iterable[dict[str, Any]]) -> Iterable[Diagnosis]:
    """Yield the parts that the service itself checks: its hub, token, disk, database, backend.

    The backend's check includes its engine, registry and BinderHubs.
    """
    for check in checks:
        name, message = str(check.get("service")), str(check.get("message") or "")
        if check.get("ok"):
            yield Diagnosis("ok", f"/health {name}", "the service says that it works")
        else:
            advice = "With an administrator's token, doctor shows the cause."
            yield Diagnosis("problem", f"/health {name}", message, advice)


def _read_info(info: dict[str, Any]) -> Iterable[Diagnosis]:
    yield Diagnosis("ok", "service", f"jupyterhub-binder {info['version']}")
    user, may = info["user"], info["permissions"]
    if may["build"]:
        yield Diagnosis("ok", "token", f"belongs to {user['name']}, who may build")
    else:
        advice = "Ask a hub admin for the scope custom:binder:build."
        yield Diagnosis("problem", "token", f"belongs to {user['name']}, who may not build", advice)
    yield Diagnosis("ok", "backend", info["backend"]["name"])
