"""Parses the output of `jupyter-repo2docker --json-logs`.

A line may be plain text, lack a phase, or hold several lines or part of one. The cause of a failure
is found by the rules of `builds.explain`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from jupyterhub_binder.backends.repo2docker.builder import ENDED
from jupyterhub_binder.backends.repo2docker.steps import read_step
from jupyterhub_binder.model import Line, Phase

_PHASES = {"fetching": Phase.FETCHING, "pushing": Phase.PUSHING}
_MAX_REASON = 600
_MAX_OF_A_PART = 300
_EVENT = '{"message": "'
_FAILURE = "Error during build: "

_NOISE = re.compile(
    r"^(Picked \w+ content provider|Using local repo |DEPRECATED: The legacy builder"
    r"|\s+BuildKit is currently disabled|\s+environment-variable\.$"
    r"|\s+Install the buildx component)"
)
"""Lines about this machine rather than the build."""


class LogReader:
    """Reads one run of repo2docker."""

    def __init__(self) -> None:
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
            end = "\r" if part.endswith("\r") and text.endswith("\r") else ""
            yield Line(phase, kept + end, read_step(kept))

    @property
    def own_words(self) -> str:
        """What repo2docker itself says of a failure; empty if it only repeats an exit status."""
        own = self._last_word.removeprefix(_FAILURE)
        return "" if own.startswith(ENDED) else own[:_MAX_REASON]


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
