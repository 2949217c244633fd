"""Runs the steps of a venv build with limits, on the host, in the sandbox or in a pod.

Their output goes to the log, without credentials; the last lines are kept to explain failures.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from signal import SIGKILL
from typing import Any, TypeVar

from jupyterhub_binder.backends.venv.conda.choice import CondaSettings
from jupyterhub_binder.backends.venv.egress import Egress
from jupyterhub_binder.backends.venv.folders import MARKER, Usage, Workspace, end_processes, measure
from jupyterhub_binder.backends.venv.plan import Offer
from jupyterhub_binder.backends.venv.pods.runner import BuildPods
from jupyterhub_binder.backends.venv.sandbox import Mount, Sandbox
from jupyterhub_binder.backends.venv.uv import redact
from jupyterhub_binder.backends.venv.wheels import WheelCaches
from jupyterhub_binder.errors import BuildFailed
from jupyterhub_binder.model import BackendOutput, Line, Phase
from jupyterhub_binder.utils.subprocess import ProcessFailed, ProcessLimits, signal_group, stream
from jupyterhub_binder.utils.trees import TreeTooDeep

T = TypeVar("T")
Say = Callable[[BackendOutput], Awaitable[None]]
Progress = Callable[[str], str]
Stop = Callable[[], object]
"""Ends a step early."""

_KEPT_LINES = 300
_MAX_NAMES = 1000
_PROGRESS_SECONDS = 2.0
_log = logging.getLogger(__name__)

_WATCH_SECONDS = 2.0
_MEASURE_PAUSE = 10
"""Minimum wait between checks of all files, as a multiple of a check's duration."""
_FREE_BYTES = 2**30
_FREE_FILES = 10_000


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python of this machine."""

    program: Path
    version: str
    """In full: ``3.11.7``."""
    prefix: Path
    """The folder of its installation."""
    bytecode: str
    """The kind of bytecode that it reads: ``cpython-311-3495``."""


@dataclass(frozen=True, slots=True)
class VenvSettings:
    """The settings for one build."""

    uv: Path
    uv_environment: Mapping[str, str]
    interpreters: Mapping[str, Interpreter]
    offer: Offer
    sandbox: Sandbox | None
    base_packages: Sequence[str]
    constraints: Sequence[str]
    smoke_test: Sequence[str]
    wheels: WheelCaches
    link_mode: str
    can_clone: bool
    servers_cannot_write: bool
    egress: Egress
    build_network: bool
    max_image_bytes: int
    max_memory_bytes: int
    pods: BuildPods | None = None
    """Where untrusted steps run, instead of the sandbox."""
    conda: CondaSettings = field(default_factory=CondaSettings)
    conda_cache: Path = Path()
    """The folder of downloaded conda packages and lists."""

    @property
    def isolated(self) -> bool:
        """Whether untrusted steps are kept away from the service."""
        return self.sandbox is not None or self.pods is not None


class Steps:
    """Runs the steps of one build."""

    def __init__(self, workspace: Workspace, settings: VenvSettings) -> None:
        self._workspace = workspace
        self._settings = settings
        self._stopped: BuildFailed | None = None
        self.say: Say = _say_nothing
        """Receives the build's log lines."""
        self.output: list[str] = []
        """The last lines of the last step."""
        self.is_linked = False
        """Whether the environment may have files in common with others."""
        self._is_tainted = False
        """Whether untrusted code may have written to the environment."""

    @property
    def seen(self) -> Path:
        """The environment's path in untrusted steps."""
        return self._workspace.final if self._settings.isolated else self._workspace.environment

    @property
    def temporary(self) -> Path:
        """The /tmp folder of untrusted steps."""
        return Path("/tmp") if self._settings.isolated else self._workspace.home / "tmp"  # noqa: S108

    def names_in_home(self) -> set[str]:
        """Return some names in the home folder of untrusted steps."""
        home = self._workspace.home
        folder = home / "home" if self._settings.isolated else home
        try:
            with os.scandir(folder) as entries:
                return {entry.name for entry in islice(entries, _MAX_NAMES)} - {"tmp"}
        except FileNotFoundError:
            return set()

    async def tell(self, text: str, step: str = "") -> None:
        """Log a line of our own, which may begin a step."""
        await self.say(Line(Phase.BUILDING, text, step))

    async def trusted(
        self,
        args: Sequence[str],
        *,
        env: Mapping[str, str],
        progress: Progress | None = None,
        noise: str = "",
    ) -> None:
        """Run a trusted command on the host. Raises ProcessFailed.

        `progress` turns an output line into what the build does now. Lines that begin with `noise`
        serve only that purpose.
        """
        if self._is_tainted and self._settings.isolated:
            raise RuntimeError("a trusted step must not follow untrusted code in an environment")
        env = {**self._settings.uv_environment, **env}
        await self._stream(args, env, self._workspace.path, progress, noise)

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
        progress: Progress | None = None,
    ) -> None:
        """Run untrusted code, in a pod or the sandbox if there is one. Raises ProcessFailed.

        It sees the environment under its final name, writable only if allowed, and never if files
        are shared with other environments. `network` adds the
        proxy, `resolving` the requirements and lock, `shown` more readable paths. Without a
        sandbox, if an admin allows it, it runs as the service's user with network.
        """
        isolated = self._settings.isolated
        if self.is_linked and (writable or not isolated):
            raise RuntimeError("untrusted code must not write to an environment with hard links")
        self._is_tainted = self._is_tainted or writable
        if not isolated:
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
        where = cwd or self.seen
        if self._settings.pods is not None:
            work = self._in_pod(args, interpreter, mounts, env, where, network, progress)
        else:
            work = self._in_sandbox(args, interpreter, mounts, env, where, network, progress)
        await work

    async def _in_sandbox(
        self,
        args: Sequence[str | Path],
        interpreter: Interpreter,
        mounts: list[Mount],
        env: Mapping[str, str],
        cwd: Path,
        network: bool,
        progress: Progress | None,
    ) -> None:
        sandbox = self._settings.sandbox
        assert sandbox is not None
        async with contextlib.AsyncExitStack() as stack:
            if network:
                way = await stack.enter_async_context(
                    self._settings.egress.open(self._workspace.path / "egress")
                )
                mounts += way.mounts
                env = {**env, **way.env}
                args = way.wrap(interpreter.program, args)
            command = sandbox.command(
                args, home=self._workspace.home, mounts=mounts, env=env, cwd=cwd
            )
            await self._stream(command, {"PATH": os.defpath}, self._workspace.path, progress)

    async def _in_pod(
        self,
        args: Sequence[str | Path],
        interpreter: Interpreter,
        mounts: Sequence[Mount],
        env: Mapping[str, str],
        cwd: Path,
        network: bool,
        progress: Progress | None,
    ) -> None:
        pods = self._settings.pods
        assert pods is not None
        await self._follow(
            lambda started: pods.stream(
                args,
                python=interpreter.program,
                workspace=self._workspace.path.name,
                home=self._workspace.home,
                mounts=mounts,
                env=env,
                cwd=cwd,
                network=network,
                max_file_bytes=self._settings.max_image_bytes,
                started=started,
            ),
            progress,
        )

    async def _unsandboxed(
        self, args: Sequence[str | Path], env: Mapping[str, str], cwd: Path | None
    ) -> None:
        home = self._workspace.home
        (home / "tmp").mkdir(exist_ok=True)
        own = {"PATH": os.defpath, "HOME": str(home), "TMPDIR": str(home / "tmp"), **env}
        await self._stream(args, own, cwd or self._workspace.work)
        # One that left the process group is found by its environment.
        await in_thread(end_processes, self._workspace.path)

    async def _stream(
        self,
        args: Sequence[str | Path],
        env: Mapping[str, str],
        cwd: Path,
        progress: Progress | None = None,
        noise: str = "",
    ) -> None:
        """Run a command as a process; log its lines and keep the last ones."""
        limits = ProcessLimits(
            memory_bytes=self._settings.max_memory_bytes or None,
            file_bytes=self._settings.max_image_bytes or None,
        )
        await self._follow(
            lambda started: stream(
                args,
                env={**env, MARKER: str(self._workspace.path)},
                cwd=cwd,
                limits=limits,
                started=lambda pgid: started(partial(signal_group, pgid, SIGKILL)),
            ),
            progress,
            noise,
        )

    async def _follow(
        self,
        begin: Callable[[Callable[[Stop], None]], AsyncGenerator[str, None]],
        progress: Progress | None = None,
        noise: str = "",
    ) -> None:
        """Log the lines of what `begin` starts and keep the last ones; end it at a limit."""
        self.output.clear()
        watch: list[asyncio.Task[None]] = []
        lines = begin(lambda stop: watch.extend(self._watch(stop)))
        said = time.monotonic() + _PROGRESS_SECONDS if noise else 0.0
        try:
            async with contextlib.aclosing(lines):
                async for line in lines:
                    plain = redact(line)
                    step = progress(plain) if progress else ""
                    if time.monotonic() < said:
                        step = ""
                    if step:
                        # Every page that shows it fetches it.
                        said = time.monotonic() + _PROGRESS_SECONDS
                    if noise and plain.startswith(noise):
                        if step:
                            await self.tell(str(step), step)
                        continue
                    self.output.append(plain)
                    del self.output[:-_KEPT_LINES]
                    await self.say(Line(Phase.BUILDING, plain, step))
        except (ProcessFailed, BuildFailed) as error:
            if self._stopped:
                raise self._stopped from error
            raise
        finally:
            for task in watch:
                task.cancel()

    def _watch(self, stop: Stop) -> list[asyncio.Task[None]]:
        """Start stopping a step that fills the disk or exceeds the number of files."""
        return [
            asyncio.create_task(self._look_again(stop, self._check_disk, pause=0)),
            asyncio.create_task(self._look_again(stop, self._check_tree, pause=_MEASURE_PAUSE)),
        ]

    async def _look_again(
        self, stop: Stop, look: Callable[[], BuildFailed | None], *, pause: float
    ) -> None:
        """Check repeatedly for a reason to stop; wait `pause` times the last check's duration.

        A failed check is a reason too.
        """
        while self._stopped is None:
            begun = time.monotonic()
            try:
                why = await asyncio.to_thread(look)
            except Exception:  # noqa: BLE001 - any error ends the build
                _log.exception(
                    "The size of a build's folder can't be measured: %s", self._workspace.path
                )
                why = BuildFailed(
                    "The hub stopped this build because it could not measure how much it "
                    "writes. Tell your administrator.",
                    code="not_measured",
                )
            if why is not None:
                self._stopped = self._stopped or why
                break
            await asyncio.sleep(max(_WATCH_SECONDS, pause * (time.monotonic() - begun)))
        stop()

    def _check_disk(self) -> BuildFailed | None:
        disk = os.statvfs(self._workspace.path)
        free_bytes, files = disk.f_bavail * disk.f_frsize, disk.f_files
        if free_bytes < _FREE_BYTES or (files and disk.f_favail < _FREE_FILES):
            return BuildFailed(
                "The hub's disk is almost full. Ask an administrator to free some space.",
                code="disk_full",
            )
        return None

    def _check_tree(self) -> BuildFailed | None:
        most = self._settings.max_image_bytes
        try:
            usage = measure(self._workspace.path)
        except TreeTooDeep:
            return _too_deep()
        return self._oversize() if most and usage.size_bytes > 2 * most else None

    async def check_size(self) -> Usage:
        """Return the environment's size after the last step. Raises BuildFailed."""
        try:
            usage = await in_thread(partial(measure, self._workspace.environment, unlock=True))
        except TreeTooDeep:
            raise _too_deep() from None
        if self._settings.max_image_bytes and usage.size_bytes > self._settings.max_image_bytes:
            raise self._oversize()
        return usage

    def _oversize(self) -> BuildFailed:
        most = self._settings.max_image_bytes / 10**6
        return BuildFailed(
            "The environment is larger than %(most)s MB, the limit of this hub. Use fewer or "
            "smaller packages.",
            most=round(most),
            code="too_big",
        )


def _too_deep() -> BuildFailed:
    return BuildFailed(
        "The build created folders that are nested too deeply, or paths that are too long. "
        "Check what postBuild or setup.py writes.",
        code="repository_too_large",
    )


async def _say_nothing(_: BackendOutput) -> None:
    return


async def in_thread(work: Callable[..., T], *args: Any) -> T:
    """Run in a thread; if cancelled, wait for its end."""
    future = asyncio.ensure_future(asyncio.to_thread(work, *args))
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait({future})
        raise
