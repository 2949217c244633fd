"""Runs uv, and compiles the wheels that it adds to its cache to bytecode, each wheel once.

It runs on the host, because nothing that runs a repository's code may write to the cache. Compiling
executes nothing of a wheel. Any Python runs it as a file: standard library only.

Usage: ``python compile_wheels.py CACHE NAMES COMMAND...``. NAMES is a file with the names of the
packages to compile, in a folder where this may write. ``CACHE/uv/archive-v*/<id>/`` is an unpacked
wheel. uv renames it into place, so it is complete. uv may be copying it while this adds bytecode, so
each file is written elsewhere and moved into the wheel: what uv lists has to stay.
``CACHE/compiled/<id>.<name>==<version>`` says that it is compiled. It is written last, so a process
that is killed leaves nothing that a later build trusts.
"""

from __future__ import annotations

import errno
import fcntl
import os
import py_compile
import re
import resource
import sys
import time
from collections.abc import Iterator
from importlib.util import cache_from_source
from pathlib import Path

NO_SPACE = 28
"""The exit status for a full disk."""

_BATCH = 64
_POLL_SECONDS = 0.2
_LIMITS = ((resource.RLIMIT_AS, 2**30), (resource.RLIMIT_CPU, 120))
"""Bytes of memory and seconds of processor time for a batch."""
_FULL = (errno.ENOSPC, errno.EDQUOT)
_DATA = ".data"
"""uv moves what is in such a folder by the wheel's own list, which has no bytecode."""


class Wheel:
    """An unpacked wheel that this process compiles. The lock ends with the process."""

    def __init__(self, path: Path, package: str, lock: int) -> None:
        self.path = path
        self.package = package
        self.lock = lock
        self.open_batches = 0


Batch = tuple[Wheel, "list[str]"]


class Compiler:
    """Compiles wheels while a command runs."""

    def __init__(self, cache: Path, names: set[str], work: Path) -> None:
        self._cache = cache
        self._work = work
        self._names = names
        marks = [mark.name for mark in (cache / "compiled").iterdir()]
        self._known = {mark.partition(".")[0] for mark in marks}
        known = {_name_in(mark) for mark in marks}
        self._total = len(names - known)
        self._done: set[str] = set()
        self._queue: list[Batch] = []
        self._running: dict[int, Batch] = {}
        self._elsewhere: list[tuple[Path, str]] = []
        self._looked = 0.0
        self._workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1

    def run(self, command: list[str]) -> int:
        """Return the command's exit status after its wheels are compiled."""
        child = os.posix_spawn(command[0], command, os.environ)
        status: int | None = None
        while status is None or self._has_work():
            self._look(last=status is not None)
            self._start_batches()
            ended, code = _wait(block=bool(self._running))
            if ended == child:
                status = code
                self._looked = 0.0
            elif ended:
                self._end_batch(ended, code)
            if status:
                return status
        return 0

    def _has_work(self) -> bool:
        if not (self._queue or self._running):
            self._look(last=True)
            self._take_elsewhere()
        return bool(self._queue or self._running)

    def _take_elsewhere(self) -> None:
        """Take what other builds have left. Wait for one only while this process holds no lock.

        Two builds that each hold what the other waits for would otherwise never end.
        """
        elsewhere, self._elsewhere = self._elsewhere, []
        for path, package in elsewhere:
            self._take(path, package, wait=False)
        while self._elsewhere and not self._queue:
            self._take(*self._elsewhere.pop(0), wait=True)

    # --- Wheels -------------------------------------------------------------------------------

    def _look(self, *, last: bool) -> None:
        """Take new wheels, a few at a time because each keeps a file open."""
        if not last and time.monotonic() - self._looked < _POLL_SECONDS:
            return
        self._looked = time.monotonic()
        for path in self._new_wheels():
            if len(self._queue) > 4 * self._workers:
                return
            self._known.add(path.name)
            package = _package_in(path)
            if package and _name_in(f".{package}") in self._names:
                self._take(path, package, wait=False)

    def _new_wheels(self) -> list[Path]:
        archives = (self._cache / "uv").glob("archive-v*")
        names = [(archive, name) for archive in archives for name in os.listdir(archive)]  # noqa: PTH208 - often
        return [archive / name for archive, name in names if name not in self._known]

    def _take(self, path: Path, package: str, *, wait: bool) -> None:
        """Queue a wheel unless another build compiles it, or has done so."""
        try:
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:  # removed by hand
            return
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(lock)
            self._elsewhere.append((path, package))
            return
        wheel = Wheel(path, package, lock)
        if self._mark(wheel).exists():
            os.close(lock)
            self._report(package)
            return
        files = list(_python_files(path))
        batches = [files[first : first + _BATCH] for first in range(0, len(files), _BATCH)] or [[]]
        wheel.open_batches = len(batches)
        self._queue += [(wheel, batch) for batch in batches]

    def _mark(self, wheel: Wheel) -> Path:
        return self._cache / "compiled" / f"{wheel.path.name}.{wheel.package}"

    def _finish(self, wheel: Wheel) -> None:
        self._mark(wheel).touch()
        # Not by closing it: children have it too.
        fcntl.flock(wheel.lock, fcntl.LOCK_UN)
        os.close(wheel.lock)
        self._report(wheel.package)

    def _report(self, package: str) -> None:
        self._done.add(package)
        count = len(self._done)
        sys.stdout.write(f"Compiled {count} of {max(self._total, count)} packages: {package}\n")
        sys.stdout.flush()

    # --- Files --------------------------------------------------------------------------------

    def _start_batches(self) -> None:
        while self._queue and len(self._running) < self._workers:
            batch = self._queue.pop(0)
            pid = os.fork()
            if pid == 0:
                _limit()
                os._exit(_compile(batch[1], f"{self._work}/{os.getpid()}.pyc"))
            self._running[pid] = batch

    def _end_batch(self, pid: int, code: int) -> None:
        wheel, files = self._running.pop(pid)
        if code == NO_SPACE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if code and len(files) > 1:
            # A file that ends the compiler is left out, and only that file.
            self._queue[:0] = [(wheel, [file]) for file in files]
            wheel.open_batches += len(files) - 1
            return
        wheel.open_batches -= 1
        if not wheel.open_batches:
            self._finish(wheel)


def main(cache: str, names: str, *command: str) -> int:
    """Return the exit status."""
    wanted = {_normal(line) for line in Path(names).read_text(encoding="utf-8").split()}
    try:
        return Compiler(Path(cache), wanted, Path(names).parent).run(list(command))
    except OSError as error:
        if error.errno not in _FULL:
            raise
        sys.stdout.write("The disk is full: packages can't be compiled to bytecode.\n")
        return NO_SPACE


def _wait(*, block: bool) -> tuple[int, int]:
    """Return a child that ended with its exit status, or 0 after a moment."""
    try:
        pid, status = os.waitpid(-1, 0 if block else os.WNOHANG)
    except ChildProcessError:
        return 0, 0
    if not pid:
        time.sleep(_POLL_SECONDS)
        return 0, 0
    code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)
    return pid, code


def _limit() -> None:
    """Limit this process, because a source can take any memory or time to compile."""
    for what, most in _LIMITS:
        _, hard = resource.getrlimit(what)
        if hard == resource.RLIM_INFINITY or hard > most:
            resource.setrlimit(what, (most, most))


def _compile(files: list[str], written: str) -> int:
    """Compile each file, with a name that the interpreter corrects when it loads it."""
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    for path in files:
        try:
            py_compile.compile(path, written, doraise=True, invalidation_mode=mode)
            bytecode = cache_from_source(path)
            os.makedirs(os.path.dirname(bytecode), exist_ok=True)  # noqa: PTH103, PTH120 - often
            os.replace(written, bytecode)  # noqa: PTH105 - often
        except OSError as error:
            if error.errno in _FULL:
                return NO_SPACE
        except Exception:  # noqa: BLE001, S112 - packages hold files for other versions of Python
            continue
    return 0


def _package_in(wheel: Path) -> str:
    """Return ``name==version`` by the name of a wheel's ``.dist-info`` folder, or nothing."""
    for entry in wheel.glob("*.dist-info"):
        name, dash, version = entry.name[: -len(".dist-info")].rpartition("-")
        return f"{_normal(name)}=={version}" if dash else ""
    return ""


def _name_in(mark: str) -> str:
    return mark.partition(".")[2].partition("==")[0]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _python_files(wheel: Path) -> Iterator[str]:
    waiting = [str(wheel)]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        if folder != str(wheel) or not entry.name.endswith(_DATA):
                            waiting.append(entry.path)
                    elif entry.name.endswith(".py") and entry.is_file(follow_symlinks=False):
                        yield entry.path
        except OSError:
            continue


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
