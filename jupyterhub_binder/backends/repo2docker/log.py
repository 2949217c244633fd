"""Parses the output of `jupyter-repo2docker --json-logs`.

A line may be plain text, lack a phase, or hold several lines or part of one. After a failure it
finds the line with the reason.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from jupyterhub_binder.backends.repo2docker.builder import ENDED
from jupyterhub_binder.backends.repo2docker.steps import read_step
from jupyterhub_binder.model import Line, Phase
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.utils.text import without_escapes

_PHASES = {"fetching": Phase.FETCHING, "pushing": Phase.PUSHING}
_KEPT_LINES = 400
_MAX_REASON = 600
_MAX_OF_A_PART = 300
_EVENT = '{"message": "'
_FAILURE = "Error during build: "

_DRAWING = re.compile(r"^[^\w'\"(/.\[-]+")
# What BuildKit puts before each line: the step's number and the time since it began.
_STEP = re.compile(r"^#\d+ (\d+(\.\d+)? )?")
_NOISE = re.compile(
    r"^(Picked \w+ content provider|Using local repo |DEPRECATED: The legacy builder"
    r"|\s+BuildKit is currently disabled|\s+environment-variable\.$"
    r"|\s+Install the buildx component)"
)
"""Lines about this machine rather than the build."""


class LogReader:
    """Reads one run of repo2docker."""

    def __init__(self) -> None:
        self._tail: deque[str] = deque(maxlen=_KEPT_LINES)
        self._last_word = ""
        self._is_cut = False
        """Whether the last line was a part of an event that was too long for one line."""

    def read(self, line: str) -> Iterator[Line]:
        """Yield the log lines in a line of output."""
        said = _parse(line)
        if said is None:
            # What follows the message of an event tells of this machine: it is never shown.
            self._is_cut = self._is_cut or line.startswith(_EVENT)
            if not line.startswith(_EVENT):
                if not self._is_cut:
                    yield from self._lines(Phase.BUILDING, line)
                return
            said = _read_beginning(line)
        else:
            self._is_cut = False
        message = said.get("message")
        text = message if isinstance(message, str) else json.dumps(message)
        if said.get("phase") == "failed":
            self._last_word = text.strip()
            return
        phase = _PHASES.get(str(said.get("phase")), Phase.BUILDING)
        yield from self._lines(phase, text)

    def _lines(self, phase: Phase, text: str) -> Iterator[Line]:
        # A carriage return at the end makes a line provisional; anywhere else it overwrites.
        for part in text.removesuffix("\n").split("\n"):
            kept = part.rstrip("\r").rpartition("\r")[2]
            if _NOISE.match(kept):
                continue
            self._tail.append(kept)
            end = "\r" if part.endswith("\r") and text.endswith("\r") else ""
            yield Line(phase, kept + end, read_step(kept))

    def explain(self) -> str:
        """Return the likely reason of a failure in one or two sentences."""
        own = self._last_word.removeprefix(_FAILURE)
        if own.startswith(ENDED):
            own = ""
        found = _find_reason(self._tail) or own or _last_line(self._tail)
        return found[:_MAX_REASON] or Message("repo2docker gave no reason.")


def _read_beginning(line: str) -> dict[str, Any]:
    """Return the message in the start of an incomplete event."""
    message = line.removeprefix(_EVENT).partition("\\n")[0][:_MAX_OF_A_PART]
    return {"message": f"{message}…", "phase": "failed" if message.startswith(_FAILURE) else ""}


def _parse(line: str) -> dict[str, Any] | None:
    if not line.startswith("{"):
        return None
    try:
        said = json.loads(line)
    except ValueError:
        return None
    return said if isinstance(said, dict) and "message" in said else None


_PATTERNS = tuple(
    re.compile(pattern)
    for pattern in (
        r"No matching distribution found for .+",
        r"\bBecause .+?(?=,? (?:and )?we can conclude|$)",
        r"(?i)^[\W_]*(?:No solution found|Failed to build|Distribution not).+",
        r"ResolutionImpossible.*|^.*conflicting dependencies.*",
        r"E: (?:Unable to locate package|Package '.+' has no|Version '.+' for).+",
        r"(?:PackagesNotFoundError|LibMambaUnsatisfiableError|CondaValueError): .+",
        r"^.*nothing provides .+ needed by .+",
        r"(?:pull access denied for|manifest for|failed to resolve source metadata for) .+",
        r"(?i)^.*no space left on device.*",
        r"(?i)^.*(?:dockerfile parse error|unknown instruction).*",
        r"^.*(?:Cannot connect to the Docker daemon|permission denied while trying to connect).*",
        r"^.*: (?:command )?not found$",
        r"^.*(?:certificate verify failed|invalid peer certificate).*",
        r"^(?:[A-Za-z.]*Error|error|ERROR)[:!] (?!building at STEP|executor failed|failed to (?:solve|build)).+",
        r"^.*(?:returned a non-zero code: \d+|did not complete successfully: exit code: \d+).*",
    )
)
"""Patterns of reasons, the most specific first. Those that may match anywhere are anchored at the
line's beginning: a hostile line would otherwise take minutes."""
_MAX_LOOKED_AT = 2000
"""Characters of a line that are searched for a reason."""


_NO_BUILDER = re.compile(
    r"buildx component is missing|'buildx' is not a docker command|unknown command: docker buildx"
)
_NO_BUILDER_REASON = Message(
    "Docker can't build because its buildx plugin is missing. An administrator must install it "
    "where builds run (Debian: docker-buildx; Docker's own packages: docker-buildx-plugin), or "
    "use Podman."
)


def explain(lines: Iterable[str]) -> str:
    """Return the most specific reason in a failed build's lines, or ""."""
    kept = list(lines)
    return _find_reason(kept) or _last_line(kept)


def _find_reason(lines: Iterable[str]) -> str:
    plain = [_plain(line) for line in lines]
    if any(_NO_BUILDER.search(line) for line in plain):
        return _NO_BUILDER_REASON
    for pattern in _PATTERNS:
        for line in reversed(plain):
            if match := pattern.search(line):
                return _DRAWING.sub("", match[0]).strip()
    return ""


def _last_line(lines: Iterable[str]) -> str:
    return next((text for line in reversed(list(lines)) if (text := _plain(line))), "")


def _plain(line: str) -> str:
    return _STEP.sub("", without_escapes(line[:_MAX_LOOKED_AT])).strip()
