"""Child processes: own process group, output by line, no orphans.

However the caller ends, the group gets SIGTERM and, after a grace period, SIGKILL.
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
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.utils.lines import LineSplitter

_CHUNK = 65_536
_KILLED_SECONDS = 5.0
"""Even a killed process may have to finish a disk write."""


class ProcessFailed(BinderError):
    """A child process failed; not for people."""

    code = "process_failed"

    def __init__(self, message: str, *, returncode: int, output: str = "") -> None:
        super().__init__(Message.verbatim(message))
        self.returncode = returncode
        self.output = output


@dataclass(frozen=True, slots=True)
class ProcessLimits:
    """Kernel limits: bytes of memory, bytes per file, seconds of CPU."""

    memory_bytes: int | None = None
    file_bytes: int | None = None
    cpu_seconds: int | None = None

    def apply(self) -> None:
        """Limit this process; for a child between fork and exec."""
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
    limits: ProcessLimits | None = None,
    started: Callable[[int], None] | None = None,
    grace_seconds: float = 5,
) -> AsyncGenerator[str, None]:
    """Run a command; yield stdout and stderr by line.

    The environment is exactly `env`. `started` receives the process group id. Raises ProcessFailed,
    FileNotFoundError.
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


async def run(
    args: Sequence[str | Path],
    *,
    env: Mapping[str, str],
    cwd: Path,
    timeout_seconds: float,
    limits: ProcessLimits | None = None,
    max_bytes: int = 8 * 2**20,
    stdin: str = "",
) -> str:
    """Run a short command; return its stdout.

    Raises ProcessFailed, also for more than `max_bytes`, and TimeoutError.
    """
    process = await _spawn(
        args, env, cwd, limits, stderr=asyncio.subprocess.PIPE, reads=bool(stdin)
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        async with asyncio.timeout(timeout_seconds):
            async with asyncio.TaskGroup() as tasks:
                out = tasks.create_task(_read_most(process.stdout, max_bytes))
                err = tasks.create_task(_read_most(process.stderr, max_bytes))
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
    if process.stdin is None:
        return
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(text.encode())
        await process.stdin.drain()
    process.stdin.close()


async def _read_most(reader: asyncio.StreamReader, max_bytes: int) -> str:
    parts, size = [], 0
    while data := await reader.read(_CHUNK):
        parts.append(data)
        size += len(data)
        if size > max_bytes:
            raise ProcessFailed("The command printed more than the limit.", returncode=-1)
    return b"".join(parts).decode("utf-8", "replace")


async def _spawn(
    args: Sequence[str | Path],
    env: Mapping[str, str],
    cwd: Path,
    limits: ProcessLimits | None,
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
    """End a process group. Idempotent."""
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
    """Wait until a process has ended and its pipes are closed, or time is up.

    asyncio sees no end while a pipe is full. A grandchild outside the group may keep one open.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.gather(_drain(process.stdout), _drain(process.stderr), process.wait())


async def _drain(pipe: asyncio.StreamReader | None) -> None:
    while pipe is not None and await pipe.read(_CHUNK):
        pass


def signal_group(pgid: int, number: signal.Signals) -> bool:
    """Signal a process group; say whether it exists."""
    try:
        os.killpg(pgid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True
