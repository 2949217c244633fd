"""Logs of real failures and their right answers, in tests/data/failures."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jupyterhub_binder.backends.binderhub.events import BuildFailure, EventReader
from jupyterhub_binder.builds.explain import Explainer, Failure
from jupyterhub_binder.builds.explain.rules import own_rules
from jupyterhub_binder.builds.run import reason_of
from jupyterhub_binder.errors import BinderError
from jupyterhub_binder.model import Line, Reason

FOLDER = Path(__file__).parents[1] / "data" / "failures"
RECORDINGS = FOLDER.with_name("binderhub")


@dataclass(frozen=True, slots=True)
class Answer:
    """What is right for one log."""

    name: str
    rule: str
    """Empty where no rule may explain it: the build went well, or nobody knows."""
    line: int = 0
    """The decisive line; 0 where several are as good."""
    code: str = "build_failed"
    half: str = "a"
    """Rules were written with those of half a in view, and checked on half b."""

    @property
    def went_well(self) -> bool:
        """Whether the build succeeded."""
        return self.name.startswith("good-")

    @property
    def recording(self) -> bool:
        """Whether it is a recording of a BinderHub."""
        return self.name.startswith("binderhub-")


@cache
def read_answers() -> tuple[Answer, ...]:
    """Return the answers, in order."""
    data = tomllib.loads((FOLDER / "answers.toml").read_text())
    return tuple(Answer(name, **fields) for name, fields in data.items())


@cache
def read_log(name: str) -> tuple[str, ...]:
    """Return the lines of a log."""
    if name.startswith("binderhub-"):
        return tuple(_read_recording(RECORDINGS / f"{name.removeprefix('binderhub-')}.sse"))
    return tuple((FOLDER / f"{name}.log").read_text().split("\n"))


def _read_recording(path: Path) -> list[str]:
    """Return the lines of a recorded build, its last message included."""
    reader, lines = EventReader(), []
    for raw in path.read_bytes().decode("utf-8", "replace").splitlines():
        if raw.startswith("data:"):
            for said in reader.read(raw.removeprefix("data:").strip()):
                if isinstance(said, Line):
                    lines.append(said.text)
                elif isinstance(said, BuildFailure) and said.message:
                    lines.append(said.message)
    return lines


def explain_outputs(outputs: Sequence[object], error: BinderError) -> Reason:
    """Explain a backend's failure by its log, as a run does."""
    explainer = Explainer(own_rules())
    finder = explainer.finder()
    lines = [output.text for output in outputs if isinstance(output, Line)]
    finder.read(enumerate(lines, 1))
    finder.read_sentence(len(lines) + 1, error.message)
    return explainer.explain(Failure(reason_of(error)), finder)
