"""Whether a server starts from an image that its engine is still writing.

BuildKit writes an image once the last step is done, which often takes longer than to try it. So
the same build is asked for again, with the smoke test as one step more that fails on purpose, so
that nothing is kept of it (`r2d_dockerfile`). That is done when the last command runs: BuildKit
runs it once for both, and the smoke test begins when it is done. Runs inside repo2docker's process.
What was said is kept for `r2d_build`, which judges it and tries the image itself where it tells too
little.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from jupyterhub_binder.backends.r2d_dockerfile import Dockerfile, read_entrypoint
from jupyterhub_binder.backends.r2d_script import BEGINNING, LAST_WORD, SPOKEN
from jupyterhub_binder.lines import read_lines

_PATIENCE_SECONDS = 5.0
"""How long a trial may say nothing once the image is written: by then one of the image is faster."""
_MOST_SAID = 100
"""Lines that are kept: an image may say more, the smoke test does not."""

_RUNNING = re.compile(r"#(\d+) \[[^\]]*\d+/\d+\] RUN ")
_WRITING = re.compile(r"#\d+ exporting to ")
_LOST = re.compile(
    r"(?:#\d+ )?(?:ERROR: |failed to solve).*(?:inconsistent graph state|failed to get (?:edge|state))"
)
"""What BuildKit says when it lost a step that two builds share (moby/buildkit#2303, #3635)."""
_OUTPUT = re.compile(r"#\d+ \d+\.\d+ (.*)")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a trial is to do, as configuration carries it to repo2docker's process."""

    home: str
    """Where an empty folder is mounted, as a spawner mounts a person's home."""
    user_id: int
    """Whom that folder belongs to."""
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
    """The trial of one build."""

    def __init__(
        self,
        wanted: Wanted,
        dockerfile: str,
        *,
        start: Callable[[str], subprocess.Popen[bytes]],
        ask_entrypoint: Callable[[str], str],
    ) -> None:
        """Prepare it for a Dockerfile's text.

        `start` is called with the text of another Dockerfile, to build of the same context; it
        begins a process group. `ask_entrypoint` returns the entrypoint of an image that the engine
        has, in JSON, and nothing of one that it has not.
        """
        self._wanted = wanted
        self._dockerfile = Dockerfile(dockerfile)
        self._start = start
        self._ask_entrypoint = ask_entrypoint
        self._entrypoint: list[str] | None = None
        self._heard = _Heard()
        self._process: subprocess.Popen[bytes] | None = None
        self._holds = True
        self.was_in_the_way = False
        """Whether its build may have failed through it."""

    def beside(self, lines: Iterator[str]) -> Iterator[str]:
        """Pass a build's lines on; begin with its last command, and have ended when this ends."""
        is_time = _Progress(self._dockerfile.commands).is_near_the_end
        begun = told = False
        try:
            for line in lines:
                if not begun and is_time(line):
                    begun = True
                    # A full disk, a name that is none: they are the build's affair.
                    with contextlib.suppress(OSError, ValueError):
                        self._process = self._begin()
                if self._process is not None:
                    self.was_in_the_way |= _LOST.match(line) is not None
                    if not told and _WRITING.match(line):
                        told = True
                        yield f"{BEGINNING}, while it is written\n"
                yield line
            self._keep_report()
        finally:
            if self._process is not None:
                _end(self._process)

    def forget(self) -> None:
        """Let it be no verdict: the image became another one."""
        self._holds = False

    def _begin(self) -> subprocess.Popen[bytes] | None:
        if not self._dockerfile.base:
            return None
        told = self._dockerfile.entrypoint or self._ask_entrypoint(self._dockerfile.base)
        self._entrypoint = read_entrypoint(told or "null")
        if self._entrypoint is None:
            return None
        home, user_id = self._wanted.home, self._wanted.user_id
        process = self._start(
            self._dockerfile.with_trial(self._entrypoint, home=home, user_id=user_id)
        )
        assert process.stdout is not None
        self._heard.listen(process.stdout)
        return process

    def _keep_report(self) -> None:
        if self._process is None or self._entrypoint is None or not self._holds:
            return
        if self._heard.all_within(self._wanted.timeout_seconds):
            with contextlib.suppress(OSError):
                Report(self._entrypoint, self._heard.said).write(Path(self._wanted.report))


class _Progress:
    """How far a build is, as its lines tell."""

    def __init__(self, commands: int) -> None:
        self._commands = commands
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
        try:
            with output:
                for line in read_lines(output):
                    if self._hear(line) == LAST_WORD:
                        break  # that its step fails, and how, is known
        finally:
            self._is_over.set()
            self._spoke.set()

    def _hear(self, line: str) -> str:
        """Keep a line of the script's own; return its word, nothing for another one's."""
        output = _OUTPUT.match(line)
        spoken = SPOKEN.match(output[1]) if output else None
        if spoken is None:
            return ""
        if len(self.said) < _MOST_SAID:
            self.said.append(spoken[0])
            self._spoke.set()
        return spoken[1]

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
    process.kill()  # should it lead no group
    process.wait()
