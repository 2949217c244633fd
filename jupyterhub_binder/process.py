"""Child processes as this project wants them: own process group, lines as they come, no orphans.

Whatever ends the caller (an error, a cancel, a closed generator) ends the whole group:
SIGTERM, a short grace, SIGKILL. Knows nothing of git, uv or containers.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from jupyterhub_binder.errors import BinderError
from jupyterhub_binder.lines import LineSplitter

_CHUNK = 65_536
_KILLED_SECONDS = 5.0
"""How long the end of a killed process is awaited: it may be in the middle of a write to a disk."""


class ProcessFailed(BinderError):
    """A child process ended with something other than success; never shown to people as it is."""

    code = "process_failed"

    def __init__(self, message: str, *, returncode: int, output: str = "") -> None:
        super().__init__(message)
        self.returncode = returncode
        self.output = output


@dataclass(frozen=True, slots=True)
class Limits:
    """What the kernel refuses a child: bytes of memory, bytes a file, seconds of CPU."""

    memory_bytes: int | None = None
    file_bytes: int | None = None
    cpu_seconds: int | None = None

    def apply(self) -> None:
        """Set the limits on this process; for a child between fork and exec."""
        for kind, value in (
            (resource.RLIMIT_AS, self.memory_bytes),
            (resource.RLIMIT_FSIZE, self.file_bytes),
            (resource.RLIMIT_CPU, self.cpu_seconds),
        ):
            if value is not None:
                resource.setrlimit(kind, (value, value))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


async def stream(
    args: Sequence[str | Path],
    *,
    env: Mapping[str, str],
    cwd: Path,
    limits: Limits | None = None,
    started: Callable[[int], None] | None = None,
    grace_seconds: float = 5,
) -> AsyncGenerator[str, None]:
    """Run a command; yield its output, standard error included, line by line.

    The environment is exactly `env`; standard input is empty. `started` is told the process
    group's id. Raises ProcessFailed when the exit status is not 0, FileNotFoundError when
    there is no such command.
    """
    process = await _spawn(args, env, cwd, limits, stderr=asyncio.subprocess.STDOUT)
    if started is not None:
        started(process.pid)
    async with aclosing(_follow(process, args, grace_seconds)) as lines:
        async for line in lines:
            yield line


async def _follow(
    process: asyncio.subprocess.Process, args: Sequence[str | Path], grace_seconds: float
) -> AsyncGenerator[str, None]:
    splitter = LineSplitter()
    assert process.stdout is not None
    try:
        while data := await process.stdout.read(_CHUNK):
            for line in splitter.feed(data):
                yield line
        for line in splitter.end():
            yield line
        returncode = await process.wait()
    finally:
        await end_group(process, grace_seconds=grace_seconds)
    if returncode != 0:
        raise ProcessFailed(_explain(args, returncode), returncode=returncode)


class Waiting:
    """A command that runs already, and waits to read what it shall do.

    Whoever begins it ends it, or reads what it says to its end.
    """

    def __init__(self, process: asyncio.subprocess.Process, args: Sequence[str | Path]) -> None:
        self._process = process
        self._args = args

    @classmethod
    async def begin(
        cls, args: Sequence[str | Path], *, env: Mapping[str, str], cwd: Path
    ) -> Waiting:
        """Run a command with exactly this environment. Raises FileNotFoundError."""
        stdout = asyncio.subprocess.STDOUT
        return cls(await _spawn(args, env, cwd, None, stderr=stdout, reads=True), args)

    async def stream(self, stdin: str, *, grace_seconds: float = 5) -> AsyncGenerator[str, None]:
        """Tell it what it waits for; yield its output as `stream` does, and raise the same."""
        try:
            await _tell(self._process, stdin)
        except BaseException:
            await self.end()
            raise
        async with aclosing(_follow(self._process, self._args, grace_seconds)) as lines:
            async for line in lines:
                yield line

    async def end(self) -> None:
        """End it and its group; ended already is success."""
        if self._process.returncode is None:  # else its number may be another group's by now
            await end_group(self._process)


async def run(
    args: Sequence[str | Path],
    *,
    env: Mapping[str, str],
    cwd: Path,
    timeout_seconds: float,
    limits: Limits | None = None,
    most_bytes: int = 8 * 2**20,
    stdin: str = "",
) -> str:
    """Run a short command, that may read `stdin`; return its standard output.

    Raises ProcessFailed, with what it said, when it fails or says more than `most_bytes`,
    TimeoutError when it takes too long.
    """
    process = await _spawn(
        args, env, cwd, limits, stderr=asyncio.subprocess.PIPE, reads=bool(stdin)
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        async with asyncio.timeout(timeout_seconds):
            async with asyncio.TaskGroup() as tasks:
                out = tasks.create_task(_read_most(process.stdout, most_bytes))
                err = tasks.create_task(_read_most(process.stderr, most_bytes))
                tasks.create_task(_tell(process, stdin))
            returncode = await process.wait()
    except ExceptionGroup as group:
        raise group.exceptions[0] from None
    finally:
        await end_group(process)
    if returncode != 0:
        said = err.result() if err.result().strip() else out.result()
        raise ProcessFailed(_explain(args, returncode), returncode=returncode, output=said)
    return out.result()


async def _tell(process: asyncio.subprocess.Process, text: str) -> None:
    """Write what a process is to read; one that does not care to is no failure."""
    if process.stdin is None:
        return
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(text.encode())
        await process.stdin.drain()
    process.stdin.close()


async def _read_most(reader: asyncio.StreamReader, most_bytes: int) -> str:
    parts, size = [], 0
    while data := await reader.read(_CHUNK):
        parts.append(data)
        size += len(data)
        if size > most_bytes:
            raise ProcessFailed("The command said more than it may.", returncode=-1)
    return b"".join(parts).decode("utf-8", "replace")


async def _spawn(
    args: Sequence[str | Path],
    env: Mapping[str, str],
    cwd: Path,
    limits: Limits | None,
    stderr: int,
    reads: bool = False,
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *map(str, args),
        stdin=asyncio.subprocess.PIPE if reads else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=stderr,
        cwd=cwd,
        env=dict(env),
        start_new_session=True,
        preexec_fn=limits.apply if limits else None,
    )


def _explain(args: Sequence[str | Path], returncode: int) -> str:
    name = Path(str(args[0])).name
    if returncode < 0:
        with contextlib.suppress(ValueError):
            return f"{name} was ended by {signal.Signals(-returncode).name}"
    return f"{name} ended with exit status {returncode}"


async def end_group(process: asyncio.subprocess.Process, *, grace_seconds: float = 5) -> None:
    """End a process and all of its group; one that has ended already is success."""
    ending = asyncio.ensure_future(_end_group(process, grace_seconds))
    try:
        await asyncio.shield(ending)
    except asyncio.CancelledError:
        await ending
        raise


async def _end_group(process: asyncio.subprocess.Process, grace_seconds: float) -> None:
    signal_group(process.pid, signal.SIGTERM)
    await _await_end(process, grace_seconds)
    signal_group(process.pid, signal.SIGKILL)
    await _await_end(process, _KILLED_SECONDS)


async def _await_end(process: asyncio.subprocess.Process, seconds: float) -> None:
    """Wait until a process has ended and its pipes are closed, or time is over.

    They are read meanwhile: asyncio knows of no end while one is full. A grandchild that left the
    group may keep one open.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.gather(_drain(process.stdout), _drain(process.stderr), process.wait())


async def _drain(pipe: asyncio.StreamReader | None) -> None:
    while pipe is not None and await pipe.read(_CHUNK):
        pass


def signal_group(pgid: int, number: signal.Signals) -> bool:
    """Send a signal to a process group; say whether there was one."""
    try:
        os.killpg(pgid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True
