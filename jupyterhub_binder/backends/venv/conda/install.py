"""Installs the conda packages of one build.

`worker` chooses and downloads them beside the service; `inside/link.py` unpacks them where untrusted
steps run, without network.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from jupyterhub_binder.backends.venv.conda import inside
from jupyterhub_binder.backends.venv.conda.channels import Channel, explicit_line
from jupyterhub_binder.backends.venv.conda.choice import CondaOffer, CondaPlan, CondaSettings
from jupyterhub_binder.backends.venv.folders import Workspace
from jupyterhub_binder.backends.venv.steps import Interpreter, Steps, VenvSettings, in_thread
from jupyterhub_binder.errors import BuildFailed
from jupyterhub_binder.model.inventory import Package
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.utils.subprocess import ProcessFailed
from jupyterhub_binder.utils.trees import remove_tree
from jupyterhub_binder.utils.units import format_bytes

_WORKER = Path(__file__).with_name("worker.py")
_LINK = Path(inside.__file__).with_name("link.py")
_PROGRESS = re.compile(r"(Downloaded|Installed) (\d{1,6}) of (\d{1,6}) packages: ([\w.-]{1,100})")


@dataclass(frozen=True, slots=True)
class CondaEnvironment:
    """What was installed."""

    packages: Sequence[Package]
    lock: str
    """Explicit lines, with checksums."""
    python: str
    """In full: ``3.12.4``."""


class CondaInstallation:
    """Installs conda packages into a new environment."""

    def __init__(self, workspace: Workspace, steps: Steps, settings: VenvSettings) -> None:
        self._workspace = workspace
        self._steps = steps
        self._settings = settings

    async def run(self, plan: CondaPlan, python: str, interpreter: Interpreter) -> CondaEnvironment:
        """Choose, download and link the packages. Raises BuildFailed.

        `python` is the preferred minor version, `interpreter` one that can run rattler.
        """
        packages = await self._choose(plan, python)
        made = CondaEnvironment(
            packages=[Package(each["name"], each["version"], "conda") for each in packages],
            lock="".join(f"{explicit_line(each['url'], each['sha256'])}\n" for each in packages),
            python=next((each["version"] for each in packages if each["name"] == "python"), ""),
        )
        if not made.python:
            raise BuildFailed("The packages don't include Python, which each server needs.")
        await self._link(packages, interpreter)
        return made

    # --- Beside the service ---

    async def _choose(self, plan: CondaPlan, python: str) -> list[dict[str, str]]:
        work = self._workspace.work
        request, answer = work / "conda.json", work / "chosen.json"
        content = make_request(
            plan,
            python,
            self._settings.offer.conda,
            self._settings.conda,
            cache=self._settings.conda_cache,
            archives=self._archives,
        )
        await in_thread(partial(work.mkdir, exist_ok=True))
        await in_thread(request.write_text, json.dumps(content))
        await self._steps.tell(
            f"Using conda packages from {_names(plan.channels)}"
            if plan.channels
            else "Downloading the conda packages of the lock",
            Message("choosing conda packages"),
        )
        run = [sys.executable, "-I", str(_WORKER), str(request), str(answer)]
        try:
            await self._steps.trusted(run, env={}, progress=read_conda_progress)
        except ProcessFailed as error:
            raise failure_of(await in_thread(_read_answer, answer), plan, self._base) from error
        return (await in_thread(_read, answer))["packages"]

    @property
    def _base(self) -> Sequence[str]:
        return self._settings.conda.base_packages

    @property
    def _archives(self) -> Path:
        return self._workspace.path / "archives"

    # --- In the sandbox ---

    async def _link(self, packages: Sequence[Mapping[str, str]], interpreter: Interpreter) -> None:
        # In the environment, because files can't be linked from one mount to another.
        unpacked = ".unpacking"
        request = self._archives / "request.json"
        content = {
            "prefix": str(self._steps.seen),
            "unpacked": str(self._steps.seen / unpacked),
            "run_scripts": self._settings.conda.run_link_scripts,
            "packages": [
                {**each, "archive": str(self._archives / each["sha256"] / _file(each["url"]))}
                for each in packages
            ],
        }
        await in_thread(request.write_text, json.dumps(content))
        rattler = _find_rattler()
        await self._steps.tell("Installing them", Message("installing packages"))
        try:
            await self._steps.untrusted(
                [interpreter.program, "-I", "-S", _LINK, rattler.parent, request],
                interpreter,
                env={},
                cwd=self._steps.seen,
                shown=[self._archives, rattler, _LINK],
                progress=read_conda_progress,
            )
        except ProcessFailed as error:
            raise BuildFailed(
                "A conda package can't be installed. See the error in the log.",
                code="conda_not_installed",
            ) from error
        await in_thread(remove_tree, self._workspace.environment / unpacked)


def make_request(
    plan: CondaPlan,
    python: str,
    offer: CondaOffer,
    settings: CondaSettings,
    *,
    cache: Path,
    archives: Path,
) -> dict[str, Any]:
    """Return what `worker` does for a plan. Pure."""
    return {
        "channels": [{"name": one.name, "url": one.url} for one in plan.channels],
        "platform": offer.platform,
        "specs": _specs(plan, python, settings.base_packages),
        "constraints": ["python " + "|".join(f"{one}.*" for one in offer.pythons)],
        "packages": [{"url": one.url, "sha256": one.sha256} for one in plan.packages],
        "strict": settings.strict,
        "virtual": dict(settings.virtual_packages),
        "one_machine": settings.one_machine,
        "limits": {
            "packages": settings.max_packages,
            "bytes": settings.max_download_bytes,
            "seconds": settings.solve_seconds,
        },
        "cache": str(cache),
        "archives": str(archives),
    }


def _specs(plan: CondaPlan, python: str, base: Sequence[str]) -> list[list[str]]:
    """Return lists of specs, of which the first that has a solution counts."""
    if plan.is_complete:
        return []
    if plan.packages:
        return [list(base)] if base else []
    asked = [*plan.specs, *base, *(plan.python or ["python"])]
    # The preferred Python first; but a package may exist only for another one that is allowed.
    return [[*asked, f"python {python}.*"], asked]


_STOPPED = Message("The conda packages can't be chosen or downloaded. See the error in the log.")
_REASONS: Mapping[str, Callable[[Mapping[str, Any]], Message]] = {
    "unsolvable": lambda said: Message(
        "The conda packages of %(path)s can't be installed together. See the reason in the log.",
        path=said["path"],
    ),
    "does_not_fit": lambda said: Message(
        "The versions in %(path)s don't fit the packages that each server needs.",
        path=said["path"],
    ),
    "timeout": lambda said: Message(
        "Choosing conda packages took longer than %(seconds)s seconds. Name the versions of more "
        "packages, or commit a lock.",
        seconds=said["seconds"],
    ),
    "no_lists": lambda _: Message(
        "The hub can't get the list of packages of a conda channel. Try again later; if that does "
        "not help, tell your administrator."
    ),
    "too_many": lambda said: Message(
        "The environment has %(count)s conda packages. This hub allows %(most)s.",
        count=said["count"],
        most=said["most"],
    ),
    "too_big": lambda said: Message(
        "The conda packages are larger than %(most)s, the limit of this hub.",
        most=format_bytes(int(said["most"])),
    ),
    "bad_checksum": lambda said: Message(
        "%(file)s is not the file that its checksum describes.", file=said["file"]
    ),
    "no_checksum": lambda said: Message(
        "The channel has no SHA-256 for %(file)s.", file=said["file"]
    ),
    "not_downloaded": lambda said: Message(
        "%(file)s can't be downloaded. See the reason in the log.", file=said["file"]
    ),
    "bad_package": lambda said: Message(
        "%(file)s is not a conda package that can be read.", file=said["file"]
    ),
    "bad_spec": lambda said: Message(
        "“%(line)s” can't be installed by this hub.", line=said["spec"]
    ),
}
"""What the codes of the worker's answer mean for people."""


def failure_of(said: Mapping[str, Any], plan: CondaPlan, base: Sequence[str]) -> BuildFailed:
    """Return the failure that the worker's answer means; empty if it was ended. Pure."""
    code = said.get("code", "")
    detail = {}
    if code == "unsolvable" and plan.packages:
        code = "does_not_fit"
        hint = Message(
            "Every environment also needs these packages for its server: %(packages)s",
            packages=", ".join(base),
        )
        detail = {"hint": hint}
    if code not in _REASONS:
        return BuildFailed(_STOPPED, code="conda_failed")
    why = _REASONS[code]({"path": plan.path, **said["values"]})
    return BuildFailed(why, code="conda_" + code, detail=detail)


def read_conda_progress(line: str) -> str:
    """Return what a build does while packages are downloaded or linked, for people."""
    found = _PROGRESS.fullmatch(line)
    if found is None:
        return ""
    doing, done, total, name = found.groups()
    return (
        Message(
            "downloading packages, %(done)s of %(total)s: %(name)s",
            done=int(done),
            total=int(total),
            name=name,
        )
        if doing == "Downloaded"
        else Message(
            "installing packages, %(done)s of %(total)s: %(name)s",
            done=int(done),
            total=int(total),
            name=name,
        )
    )


def _read_answer(path: Path) -> dict[str, Any]:
    try:
        return _read(path)
    except (OSError, ValueError):
        return {}


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def _file(url: str) -> str:
    return url.rpartition("/")[2]


def _find_rattler() -> Path:
    spec = find_spec("rattler")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def _names(channels: Sequence[Channel]) -> str:
    return ", ".join(one.name for one in channels)
