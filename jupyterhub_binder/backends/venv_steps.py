"""How the steps of a venv build run: where, with which limits, what they may see and reach.

Their lines go to the build's log, with credentials hidden; the last of them are kept for
whoever must explain a failure. What the steps are is `venv_build`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from signal import SIGKILL
from typing import Any, TypeVar

from jupyterhub_binder.backends.egress import Egress
from jupyterhub_binder.backends.sandbox import Mount, Sandbox
from jupyterhub_binder.backends.venv_image import (
    MARKER,
    Usage,
    Workspace,
    end_processes,
    measure,
)
from jupyterhub_binder.backends.venv_plan import Offer
from jupyterhub_binder.backends.venv_uv import redact
from jupyterhub_binder.errors import BuildFailed
from jupyterhub_binder.model import BackendOutput, Line, Phase
from jupyterhub_binder.process import Limits, ProcessFailed, signal_group, stream

T = TypeVar("T")
Say = Callable[[BackendOutput], Awaitable[None]]

_KEPT_LINES = 300
_WATCH_SECONDS = 2.0
_MEASURE_PAUSE = 10
"""How many times as long as a look at all files the time until the next one is, at least."""
_FREE_BYTES = 2**30
_FREE_FILES = 10_000


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python of this machine."""

    program: Path
    version: str
    """In full: ``3.11.7``."""
    prefix: Path
    """The folder that holds all of it."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What an admin chose, as one build needs it."""

    uv: Path
    uv_environment: Mapping[str, str]
    interpreters: Mapping[str, Interpreter]
    offer: Offer
    sandbox: Sandbox | None
    base_packages: Sequence[str]
    constraints: Sequence[str]
    smoke_test: Sequence[str]
    link_mode: str
    egress: Egress
    build_network: bool
    max_image_bytes: int
    max_memory_bytes: int


class Steps:
    """Runs the steps of one build."""

    def __init__(self, workspace: Workspace, settings: Settings) -> None:
        self._workspace = workspace
        self._settings = settings
        self._stopped: BuildFailed | None = None
        self.say: Say = _say_nothing
        """Takes what the build tells."""
        self.output: list[str] = []
        """The last lines of the last step."""

    @property
    def seen(self) -> Path:
        """Return the environment's path as untrusted steps see it."""
        return self._workspace.final if self._settings.sandbox else self._workspace.environment

    @property
    def temporary(self) -> Path:
        """Return the folder that untrusted steps take for /tmp."""
        return Path("/tmp") if self._settings.sandbox else self._workspace.home / "tmp"  # noqa: S108

    async def tell(self, text: str) -> None:
        """Put a line of our own into the log."""
        await self.say(Line(Phase.BUILDING, text))

    async def trusted(self, args: Sequence[str]) -> None:
        """Run what runs nothing of a stranger's, on the host. Raises ProcessFailed."""
        await self._stream(args, self._settings.uv_environment, self._workspace.path)

    async def untrusted(
        self,
        args: Sequence[str | Path],
        interpreter: Interpreter,
        *,
        env: Mapping[str, str],
        cwd: Path | None = None,
        network: bool = False,
        resolving: bool = False,
        shown: Sequence[Path] = (),
        writable: bool = True,
    ) -> None:
        """Run a stranger's code, in the sandbox if there is one. Raises ProcessFailed.

        It sees the environment under its final name; only a sandbox keeps it from writing there.
        `network` gives it the way out to allowed hosts, `resolving` the requirements and the lock,
        `shown` are files and folders of ours that it reads. Where an admin allows it without a
        sandbox, it runs as the service's user with the service's network.
        """
        sandbox = self._settings.sandbox
        if sandbox is None:
            await self._unsandboxed(args, env, cwd)
            return
        mounts = [
            Mount.same(interpreter.prefix),
            Mount.same(self._settings.uv),
            Mount(self._workspace.environment, self._workspace.final, writable=writable),
            *map(Mount.same, shown),
        ]
        if resolving:
            mounts.append(Mount.same(self._workspace.work, writable=True))
        async with contextlib.AsyncExitStack() as stack:
            if network:
                way = await stack.enter_async_context(
                    self._settings.egress.open(self._workspace.path / "egress")
                )
                mounts += way.mounts
                env = {**env, **way.env}
                args = way.wrap(interpreter.program, args)
            command = sandbox.command(
                args,
                home=self._workspace.home,
                mounts=mounts,
                env=env,
                cwd=cwd or self.seen,
            )
            await self._stream(command, {"PATH": os.defpath}, self._workspace.path)

    async def _unsandboxed(
        self, args: Sequence[str | Path], env: Mapping[str, str], cwd: Path | None
    ) -> None:
        home = self._workspace.home
        (home / "tmp").mkdir(exist_ok=True)
        own = {"PATH": os.defpath, "HOME": str(home), "TMPDIR": str(home / "tmp"), **env}
        await self._stream(args, own, cwd or self._workspace.work)
        # One that left the process group is found by its environment.
        await in_thread(end_processes, self._workspace.path)

    async def _stream(self, args: Sequence[str | Path], env: Mapping[str, str], cwd: Path) -> None:
        """Run a command of the build; its lines go to the log, the last are kept."""
        self.output.clear()
        watch: list[asyncio.Task[None]] = []
        limits = Limits(
            memory_bytes=self._settings.max_memory_bytes or None,
            file_bytes=self._settings.max_image_bytes or None,
        )
        lines = stream(
            args,
            env={**env, MARKER: str(self._workspace.path)},
            cwd=cwd,
            limits=limits,
            started=lambda pgid: watch.append(asyncio.create_task(self._watch_size(pgid))),
        )
        try:
            async with contextlib.aclosing(lines):
                async for line in lines:
                    plain = redact(line)
                    self.output.append(plain)
                    del self.output[:-_KEPT_LINES]
                    await self.say(Line(Phase.BUILDING, plain))
        except ProcessFailed as error:
            if self._stopped:
                raise self._stopped from error
            raise
        finally:
            for task in watch:
                task.cancel()

    async def _watch_size(self, pgid: int) -> None:
        """End a step that fills the disk, with bytes or with the names of files."""
        due = 0.0
        while self._stopped is None:
            await asyncio.sleep(_WATCH_SECONDS)
            begun = time.monotonic()
            self._stopped = await asyncio.to_thread(self._why_to_stop, tree=begun >= due)
            if begun >= due:
                ended = time.monotonic()
                due = ended + _MEASURE_PAUSE * (ended - begun)
        signal_group(pgid, SIGKILL)

    def _why_to_stop(self, *, tree: bool) -> BuildFailed | None:
        """Say why a step must end; with `tree` look at all files, which takes a while."""
        disk = os.statvfs(self._workspace.path)
        free_bytes, files = disk.f_bavail * disk.f_frsize, disk.f_files
        if free_bytes < _FREE_BYTES or (files and disk.f_favail < _FREE_FILES):
            return BuildFailed(
                "The hub's disk is nearly full: ask its administrator to make room.",
                code="disk_full",
            )
        most = self._settings.max_image_bytes
        if tree and most and measure(self._workspace.path).size_bytes > 2 * most:
            return self._oversize()
        return None

    async def check_size(self) -> Usage:
        """Return what the environment takes, when no step runs any more.

        Raises BuildFailed if that is too much.
        """
        usage = await in_thread(partial(measure, self._workspace.environment, unlock=True))
        if self._settings.max_image_bytes and usage.size_bytes > self._settings.max_image_bytes:
            raise self._oversize()
        return usage

    def _oversize(self) -> BuildFailed:
        most = self._settings.max_image_bytes / 10**6
        return BuildFailed(
            f"The environment takes more than the {most:.0f} MB that this hub allows. "
            "Name fewer or smaller packages.",
            code="too_big",
        )


async def _say_nothing(_: BackendOutput) -> None:
    return


async def in_thread(work: Callable[..., T], *args: Any) -> T:
    """Run in a thread; a cancel waits for its end, so that nobody works behind our back."""
    future = asyncio.ensure_future(asyncio.to_thread(work, *args))
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait({future})
        raise
