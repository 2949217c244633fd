"""A backend that only follows scripts, for tests, demos and work on the pages.

A build's `Script` comes from these sources, the later ones win: the trait `script`, words in the
repository or ref (`WORDS`), the trait `scripts`, the build's option ``fake``. The same script
always gives the same lines.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import AsyncGenerator, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, ClassVar

from traitlets import Dict, Float, List, Unicode

from jupyterhub_binder.backends.base import PYTHON_OPTION, BuildBackend, KeptImage, Pythons, Reuse
from jupyterhub_binder.errors import BuildFailed, InvalidInput
from jupyterhub_binder.model import (
    Assessment,
    BackendOutput,
    Build,
    BuildJob,
    Checkpoint,
    Finding,
    Image,
    Inventory,
    Line,
    Phase,
    Recipe,
    RecipeAction,
    Severity,
)
from jupyterhub_binder.model.inventory import Package
from jupyterhub_binder.model.text import Message

_LONG_AGO = datetime.min.replace(tzinfo=UTC)
_STAGES = (Phase.BUILDING, Phase.PUSHING)

HOSTILE_LINES = (
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "\x1b[31mred\x1b[0m \x1b[2J\x1b]0;a title\x07 \x1b]8;;javascript:alert(1)\x07link\x1b]8;;\x07",
    "right to left: \u202egnp.exe\u202c, zero width: a\u200bb",
    "nul: a\x00b, replaced: \ufffd, alone: \ud7ff",
    "data: 1\revent: end\rid: 99",
    "x" * 20_000,
)
"""Lines that have broken log viewers."""

_PYTHONS = ("3.11", "3.13")


@dataclass(frozen=True, slots=True)
class Script:
    """The script of one build."""

    lines: int = 12
    """The number of lines in the building phase."""
    lines_per_second: float = 0.0
    """Their speed; 0 is as fast as possible."""
    ansi: bool = False
    """Colour the lines."""
    progress: bool = False
    """Show a progress bar: all lines but the last end in a carriage return."""
    hostile: bool = False
    """Begin with `HOSTILE_LINES`."""
    fail_at: str = ""
    """The phase that fails, ``building`` or ``pushing``; empty for none."""
    reason: str = "The script says that this build fails."
    """The message of the failure."""
    hang_at: str = ""
    """The phase that hangs until it is cancelled."""
    gate: str = ""
    """The gate at which the build waits after its lines."""
    image: str = ""
    """The image's name; empty for ``<backend>:<key>``."""
    size_bytes: int = 123_456_789
    """The size to report."""
    checkpoints: int = 1
    """The number of checkpoints, spread over the lines."""
    packages: str = "jupyterlab==4.3.1 numpy==2.1.3 pandas==2.2.3"
    """The packages to report."""
    problem: str = ""
    """A problem that the assessment finds."""
    self_contained: bool = False
    """Whether other repositories with the same recipe may use the image."""
    open_versions: bool = False
    """Whether the recipe leaves versions open."""

    @classmethod
    def parse(cls, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return changes to a script. Raises InvalidInput with the field."""
        known = {item.name: item for item in fields(cls)}
        for name, value in given.items():
            if name not in known:
                raise InvalidInput(
                    "Fake builds have no option '%(name)s'. They have %(known)s.",
                    name=name,
                    known=", ".join(known),
                )
            kind = type(known[name].default)
            if not isinstance(value, (int, float) if kind is float else kind):
                raise InvalidInput(
                    "The option '%(name)s' of a fake build must be of type %(kind)s.",
                    name=name,
                    kind=kind.__name__,
                )
        return given


WORDS: Mapping[str, Mapping[str, Any]] = {
    "fake-fail": {"fail_at": "building"},
    "fake-hang": {"hang_at": "building"},
    "fake-slow": {"lines": 120, "lines_per_second": 4.0},
    "fake-long": {"lines": 20_000},
    "fake-ansi": {"ansi": True},
    "fake-progress": {"progress": True, "lines": 100, "lines_per_second": 20.0},
    "fake-hostile": {"hostile": True},
    "fake-push-fail": {"fail_at": "pushing"},
    "fake-problem": {"problem": "apt.txt: this hub can't install apt packages."},
}
"""Script changes for words in a repository's name or ref."""


@dataclass
class Gate:
    """Builds wait here until the gate opens, which is permanent."""

    reached: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a build has reached it."""
    opened: asyncio.Event = field(default_factory=asyncio.Event)

    def open(self) -> None:
        """Let all current and future builds pass."""
        self.opened.set()


class FakeBackend(BuildBackend):
    """Builds by script."""

    name: ClassVar[str] = "fake"
    description: ClassVar[str] = "Makes nothing: its builds follow a script, for tests and demos."
    needs_checkout: ClassVar[bool] = False

    script = Dict(
        help="""
        What every build does, unless `scripts` says otherwise. The names are the fields of
        `Script`. Default: empty, which gives 12 lines at once and an image. For example `{"lines":
        100, "lines_per_second": 10.0}`.
        """,
    ).tag(config=True)

    scripts = Dict(
        help="""
        Scripts by pattern, matched against `<label>@<ref>`: `{"*/broken@*": {"fail_at":
        "building"}}`. All matching scripts are applied in order. Default: empty.
        """,
    ).tag(config=True)

    images_dir = Unicode(
        help="""
        The folder that stores which images were made, so that they are found after a restart.
        Default: empty, only the process remembers them.
        """,
    ).tag(config=True)

    gates_dir = Unicode(
        help="""
        The folder for gates that another process controls. A build that reaches the gate `g`
        creates the file `g.reached` and waits for `g.open`. Default: empty, only `FakeBackend.gate`
        controls gates.
        """,
    ).tag(config=True)

    refuses = List(
        Unicode(),
        help="""
        Kinds of configuration files that it does not serve, such as `["apt.txt", "Dockerfile"]`, to
        look at pages with several backends. Default: none.
        """,
    ).tag(config=True)

    poll_seconds = Float(0.02, min=0.001, help="Interval between looks at `gates_dir`, in seconds. Default: 0.02.").tag(config=True)  # fmt: skip

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._gates: dict[str, Gate] = {}
        self._images: dict[str, str] = {}
        self.begun: list[str] = []
        """The ids of started builds, in order, for tests."""

    def gate(self, name: str) -> Gate:
        """Return a gate, created if needed."""
        return self._gates.setdefault(name, Gate())

    def fingerprint(self) -> str:
        """Return a constant: scripts are part of the options."""
        return "fake 1"

    def clean_options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options `fake` and `python`. Raises InvalidInput for others."""
        unknown = sorted(options.keys() - {"fake", PYTHON_OPTION})
        if unknown or options.get(PYTHON_OPTION, _PYTHONS[0]) not in _PYTHONS:
            name = unknown[0] if unknown else PYTHON_OPTION
            raise InvalidInput("Fake builds have no option '%(name)s'.", name=name)
        Script.parse(_option(options))
        return dict(options)

    def pythons_of(self, recipe: Recipe, options: Mapping[str, Any]) -> Pythons:
        """Return two versions, to look at pages with a choice."""
        return Pythons(options.get(PYTHON_OPTION, _PYTHONS[-1]), _PYTHONS)

    def assess(self, recipe: Recipe, options: Mapping[str, Any]) -> Assessment:
        """Return each file as unused, with the script's problem and the refused files."""
        script = replace(Script(), **Script.parse({**self.script, **_option(options)}))
        refused = [each.path for each in recipe.files if each.used and each.kind in self.refuses]
        problems = [(path, f"{path}: fake builds refuse it.") for path in refused]
        if script.problem:
            problems.append(("", script.problem))
        return Assessment(
            tuple(
                RecipeAction(file.path, file.path not in refused, Message("Is read but not used"))
                for file in recipe.files
            ),
            tuple(
                Finding(Severity.PROBLEM, "fake_problem", Message.verbatim(text), path)
                for path, text in problems
            ),
        )

    def reuse(self, recipe: Recipe, options: Mapping[str, Any]) -> Reuse:
        """Return what the script says."""
        script = replace(Script(), **Script.parse({**self.script, **_option(options)}))
        return Reuse(script.self_contained, script.open_versions)

    def script_of(self, build: Build) -> Script:
        """Return a build's script. Raises InvalidInput."""
        subject = f"{build.label}@{build.spec.ref}"
        found = [changes for word, changes in WORDS.items() if _has_word(subject, word)]
        found += [changes for pattern, changes in self.scripts.items() if _fits(subject, pattern)]
        script = replace(Script(), **Script.parse(self.script))
        for changes in (*found, _option(build.options)):
            script = replace(script, **Script.parse(changes))
        return script

    async def find_image(self, key: str) -> str | None:
        """Return the image of a key, or None."""
        if not self.images_dir:
            return self._images.get(key)
        return await asyncio.to_thread(_read_image, self._image_file(key))

    async def build(self, job: BuildJob) -> AsyncGenerator[BackendOutput, None]:
        """Follow the script."""
        build = job.build
        script = self.script_of(build)
        self.begun.append(build.id)
        partial = self._image_file(build.key).with_suffix(".partial") if self.images_dir else None
        yield Checkpoint({"partial": partial.name if partial else build.key, "step": 0})
        try:
            if partial:
                await asyncio.to_thread(_write, partial, build.id)
            if script.problem:
                raise BuildFailed(Message.verbatim(script.problem), code="fake_problem")
            async for output in self._stages(script):
                yield output
            yield _inventory(script)
            image = Image(script.image or f"{self.name}:{build.key}", script.size_bytes)
            await self._keep(build.key, image)
        finally:
            if partial:
                partial.unlink(missing_ok=True)
        yield image

    async def _stages(self, script: Script) -> AsyncGenerator[BackendOutput, None]:
        for output in _building(script):
            yield output
            # Even at full speed others get their turn, and a cancel arrives.
            await asyncio.sleep(1 / script.lines_per_second if script.lines_per_second else 0)
        for phase in _STAGES:
            if phase is Phase.PUSHING:
                yield Line(phase, "Pushing image")
            if script.hang_at == phase:
                await asyncio.Event().wait()
            if phase is Phase.BUILDING and script.gate:
                await self._wait_at(script.gate)
            if script.fail_at == phase:
                yield Line(phase, f"ERROR: {script.reason}")
                raise BuildFailed(Message.verbatim(script.reason))

    async def _wait_at(self, name: str) -> None:
        gate = self.gate(name)
        gate.reached.set()
        if not self.gates_dir:
            await gate.opened.wait()
            return
        folder = Path(self.gates_dir)
        await asyncio.to_thread(_write, folder / f"{name}.reached", "")
        # Another process makes the file: there is nothing to be woken by.
        while not (gate.opened.is_set() or (folder / f"{name}.open").exists()):  # noqa: ASYNC110
            await asyncio.sleep(self.poll_seconds)

    async def _keep(self, key: str, image: Image) -> None:
        if self.images_dir:
            text = json.dumps({"image": image.name})
            await asyncio.to_thread(_finish, self._image_file(key), text)
        else:
            self._images[key] = image.name

    async def delete_image(self, image: str) -> None:
        """Forget an image. Idempotent."""
        self._images = {key: name for key, name in self._images.items() if name != image}
        if self.images_dir:
            await asyncio.to_thread(_forget, Path(self.images_dir), image)

    async def list_images(self) -> tuple[KeptImage, ...]:
        """Return the images; the store knows sizes and ages."""
        names = list(self._images.values())
        if self.images_dir:
            names = await asyncio.to_thread(_list_images, Path(self.images_dir))
        return tuple(KeptImage(name, 0, _LONG_AGO) for name in names)

    def _image_file(self, key: str) -> Path:
        return Path(self.images_dir) / f"{key}.json"


def _option(options: Mapping[str, Any]) -> Mapping[str, Any]:
    given = options.get("fake", {})
    if not isinstance(given, Mapping):
        raise InvalidInput("The option 'fake' must be an object.")
    return given


def _has_word(subject: str, word: str) -> bool:
    return re.search(rf"(?<![a-z0-9-]){re.escape(word)}(?![a-z0-9-])", subject.lower()) is not None


def _fits(subject: str, pattern: str) -> bool:
    return fnmatchcase(subject, pattern)


def _inventory(script: Script) -> Inventory:
    lines = script.packages.split()
    return Inventory(
        tuple(Package(*line.split("==", 1)) for line in lines if "==" in line),
        lock="".join(f"{line}\n" for line in lines),
        tools={"python": "3.12.0"},
    )


def _building(script: Script) -> Iterator[BackendOutput]:
    """Yield the lines and later checkpoints of the building phase."""
    if script.hostile:
        yield from (Line(Phase.BUILDING, text) for text in HOSTILE_LINES)
    stride = max(script.lines // max(script.checkpoints, 1), 1)
    for number in range(1, script.lines + 1):
        if script.checkpoints > 1 and number % stride == 0:
            yield Checkpoint({"step": number // stride})
        yield Line(Phase.BUILDING, _line(script, number), Message("installing packages"))


def _line(script: Script, number: int) -> str:
    if script.progress:
        done = 30 * number // script.lines
        bar = f"[{'#' * done}{'.' * (30 - done)}] {100 * number // script.lines:3d} %"
        return bar if number == script.lines else bar + "\r"
    text = f"Step {number}/{script.lines} : installing package-{number:05d}"
    return f"\x1b[3{1 + number % 6}m{text}\x1b[0m" if script.ansi else text


def _read_image(path: Path) -> str | None:
    try:
        return str(json.loads(path.read_text("utf-8"))["image"])
    except FileNotFoundError:
        return None


def _write(path: Path, text: str) -> None:
    """Write a file atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(text, "utf-8")
    beside.replace(path)


def _finish(path: Path, text: str) -> None:
    """Finish an unfinished image atomically."""
    partial = path.with_suffix(".partial")
    _write(partial, text)
    partial.replace(path)


def _list_images(folder: Path) -> list[str]:
    found = (_read_image(path) for path in sorted(folder.glob("*.json")))
    return [name for name in found if name is not None]


def _forget(folder: Path, image: str) -> None:
    for path in folder.glob("*.json"):
        if _read_image(path) == image:
            path.unlink(missing_ok=True)
