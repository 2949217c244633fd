"""Whether a server starts from an image that its engine is still writing.

BuildKit writes an image once the last step is done, which often takes longer than to try it. So
the same build is asked for again, with the smoke test as one step more that fails on purpose, so
that nothing is made of it. That is done when the last command runs: BuildKit runs it once for
both, and the smoke test begins when it is done. Runs inside repo2docker's process. What was said
is kept for `r2d_build`, which judges it and tries the image itself where it tells too little.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from jupyterhub_binder.backends.r2d_script import BEGINNING, LAST_WORD, SCRIPT, SPOKEN
from jupyterhub_binder.lines import read_lines

_DOCKERFILE = "binder-trial.Dockerfile"
_HOME = "binder-trial-home"
_PATIENCE_SECONDS = 5.0
"""How long a trial may say nothing once the image is written: by then one of the image is faster."""
_MOST_SAID = 100
"""Lines that are kept: an image may say more, the smoke test does not."""

_COMMAND = re.compile(r"^RUN\b", re.MULTILINE)
_RUNNING = re.compile(r"#(\d+) \[[^\]]*\d+/\d+\] RUN ")
_WRITING = re.compile(r"#\d+ exporting to ")
_LOST = re.compile(
    r"(?:#\d+ )?(?:ERROR: |failed to solve).*(?:inconsistent graph state|failed to get (?:edge|state))"
)
"""What BuildKit says when it lost a step that two builds share (moby/buildkit#2303, #3635)."""
_OUTPUT = re.compile(r"#\d+ \d+\.\d+ (.*)")
_ENTRYPOINT = re.compile(r"^ENTRYPOINT[ \t]+(\[.*\])[ \t]*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a trial is to do, as configuration carries it to repo2docker's process."""

    home: str
    """Where an empty folder is mounted, as a spawner mounts a person's home."""
    timeout_seconds: float
    report: str
    """The file that gets the `Report`."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a trial did and heard."""

    entrypoint: list[str]
    """What it ran the smoke test through: the verdict holds for an image with this entrypoint."""
    said: list[str]
    """The lines of the smoke test, as `r2d_smoke.check` reads them."""

    def write(self, path: Path) -> None:
        """Keep it in a file."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Report | None:
        """Return what a trial left; None where there was none."""
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError, TypeError):
            return None


class Trial:
    """The trial of one build of a build pack, whose context is ours."""

    def __init__(
        self, wanted: Wanted, context: Path, start: Callable[[Path], subprocess.Popen[bytes]]
    ) -> None:
        self._wanted = wanted
        self._context = context
        self._start = start
        self._heard = _Heard()
        self._process: subprocess.Popen[bytes] | None = None
        self.was_in_the_way = False
        """Whether its build may have failed through it."""

    def beside(self, lines: Iterator[str]) -> Iterator[str]:
        """Pass a build's lines on; begin with its last command, and have ended when this ends.

        `start` is called with the Dockerfile to build of the same context, and begins a process
        group.
        """
        dockerfile = (self._context / "Dockerfile").read_text(encoding="utf-8")
        entrypoint = find_entrypoint(dockerfile)
        is_time, told = _Progress(dockerfile).is_near_the_end, False
        try:
            for line in lines:
                if entrypoint and self._process is None and is_time(line):
                    with contextlib.suppress(OSError):  # a full disk is the build's affair
                        self._process = self._begin(dockerfile, entrypoint)
                if self._process is not None:
                    self.was_in_the_way |= _LOST.match(line) is not None
                    if not told and _WRITING.match(line):
                        told = True
                        yield f"{BEGINNING}, while it is written\n"
                yield line
            if self._process is not None and self._heard.all_within(self._wanted.timeout_seconds):
                with contextlib.suppress(OSError):
                    Report(entrypoint, self._heard.said).write(Path(self._wanted.report))
        finally:
            if self._process is not None:
                _end(self._process)

    def _begin(self, dockerfile: str, entrypoint: Sequence[str]) -> subprocess.Popen[bytes]:
        home = self._context / _HOME
        home.mkdir()
        home.chmod(0o777)  # what comes from a context belongs to root
        path = self._context / _DOCKERFILE
        path.write_text(f"{dockerfile}\n{last_steps(entrypoint, self._wanted.home)}", "utf-8")
        process = self._start(path)
        assert process.stdout is not None
        self._heard.listen(process.stdout)
        return process


class _Progress:
    """How far a build is, as its lines tell."""

    def __init__(self, dockerfile: str) -> None:
        self._commands = len(_COMMAND.findall(dockerfile))
        self._begun: set[str] = set()

    def is_near_the_end(self, line: str) -> bool:
        """Say whether with this line the last command runs, or the image is written."""
        if found := _RUNNING.match(line):
            self._begun.add(found[1])
            return len(self._begun) == self._commands
        return _WRITING.match(line) is not None


class _Heard:
    """What a trial says of its image, read in a thread, since its build is read meanwhile."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self._spoke = threading.Event()
        self._is_over = threading.Event()

    def listen(self, output: IO[bytes]) -> None:
        threading.Thread(target=self._read, args=(output,), name="trial", daemon=True).start()

    def _read(self, output: IO[bytes]) -> None:
        with output:
            for line in read_lines(output):
                found = _OUTPUT.match(line)
                word = SPOKEN.match(found[1]) if found else None
                if found and word and len(self.said) < _MOST_SAID:
                    self.said.append(found[1])
                    self._spoke.set()
                    if word[1] == LAST_WORD:
                        break  # that its step fails, and how, is known
        self._is_over.set()
        self._spoke.set()

    def all_within(self, seconds: float) -> bool:
        """Wait for the last word; False when nothing was said in time, or too little."""
        if not self._spoke.wait(min(seconds, _PATIENCE_SECONDS)):
            return False
        return self._is_over.wait(seconds)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a build's program, and with it the plugin that it may have started.

    At once: what they asked for the engine gives up by itself when they are gone.
    """
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()


def find_entrypoint(dockerfile: str) -> list[str]:
    """Return the entrypoint that a Dockerfile sets last; empty if it is none, or for a shell."""
    found = _ENTRYPOINT.findall(dockerfile)
    try:
        words = json.loads(found[-1]) if found else []
    except ValueError:
        return []
    return words if all(isinstance(word, str) for word in words) else []


def last_steps(entrypoint: Sequence[str], home: str) -> str:
    """Return the step that runs the smoke test as a spawner would run a server, and one that fails.

    The first one fails as well, so that it is not kept, and says the same another time; but a
    repository's `start` may hide that.
    """
    command = json.dumps([*entrypoint, "sh", "-c", f"{SCRIPT}exit 1\n"])
    return (
        f"RUN --mount=type=bind,rw,source={_HOME},target={home} {command}\n"
        'RUN ["sh", "-c", "exit 1"]\n'
    )
