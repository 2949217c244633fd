"""One venv build, from checkout to environment.

*Trusted* steps run only uv, on the host, with network and shared cache; they run no code of
repositories or packages. *Untrusted* steps (source distributions, postBuild, the smoke test) run in
the sandbox, or on Kubernetes each in a pod. They see the environment under its final name, but no
cache or other environments. After an untrusted step or an installation, the environment's programs
run only there.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from jupyterhub_binder.backends.venv import inside
from jupyterhub_binder.backends.venv.bytecode import check_sources
from jupyterhub_binder.backends.venv.conda.activate import activation, find_shell
from jupyterhub_binder.backends.venv.conda.choice import CondaPlan
from jupyterhub_binder.backends.venv.conda.install import CondaEnvironment, CondaInstallation
from jupyterhub_binder.backends.venv.folders import PREFIX, Folders, Usage, name_final_place
from jupyterhub_binder.backends.venv.install import UvInstallation
from jupyterhub_binder.backends.venv.inventory import list_packages, portable_lock
from jupyterhub_binder.backends.venv.lock import lock_of
from jupyterhub_binder.backends.venv.plan import Plan, in_order, make_plan, with_python
from jupyterhub_binder.backends.venv.steps import (
    Interpreter,
    Say,
    Steps,
    VenvSettings,
    in_thread,
)
from jupyterhub_binder.errors import BuildFailed
from jupyterhub_binder.model import BackendOutput, BuildJob, Checkpoint, Image, Inventory
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.utils.subprocess import ProcessFailed
from jupyterhub_binder.utils.units import format_bytes

_SMOKE_PATH = Path(__file__).parents[1] / "smoke_path"
"""First on the smoke test's path, to make the test short."""


class VenvBuild:
    """Builds one environment."""

    def __init__(self, job: BuildJob, folders: Folders, settings: VenvSettings) -> None:
        self._build = job.build
        self._recipe = job.recipe
        if job.checkout is None:
            raise ValueError("the venv backend needs a checkout")
        self._checkout = job.checkout
        self._folders = folders
        self._settings = settings
        self._workspace = folders.workspace(job.build.key, job.build.id)
        self._steps = Steps(self._workspace, settings)
        self._conda: CondaEnvironment | None = None
        self._activate = ""
        """The script that activates the environment; empty if it needs none."""

    def outputs(self) -> AsyncGenerator[BackendOutput, None]:
        """Yield the log, then the image."""
        return _spool(self._run)

    async def _run(self, say: Say) -> None:
        self._steps.say = say
        left = self._build.checkpoint.get("workspace")
        if isinstance(left, str) and left == Path(left).name and left.startswith(self._build.key):
            await in_thread(self._folders.clear, self._folders.building / left)
        await say(Checkpoint({"workspace": self._workspace.path.name}))
        try:
            image = await self._make()
        finally:
            await in_thread(self._folders.clear, self._workspace.path)
        await say(image)

    async def _make(self) -> Image:
        begun = time.monotonic()
        plan = await in_thread(self._plan)
        await in_thread(self._workspace.begin, self._checkout)
        uv = UvInstallation(self._workspace, self._steps, self._settings)
        if plan.conda is None:
            interpreter = self._settings.interpreters[plan.python]
            lock = await uv.run(plan, interpreter)
        else:
            interpreter, lock = await self._install_conda(plan, plan.conda, uv)
        if plan.conda is not None or plan.variables:
            self._activate = activation(self._steps.seen, plan.variables)
        if plan.post_build:
            await in_thread(check_sources, self._workspace.environment)
            await self._post_build(plan.post_build, interpreter)
        if plan.post_build or plan.conda is not None or uv.has_sources:
            await self._compile(interpreter)
        note = self._note(plan, interpreter, lock)
        usage = await self._try_and_settle(interpreter, note, lock)
        await self._steps.say(await in_thread(self._inventory, plan, interpreter, lock))
        await in_thread(self._folders.finish, self._workspace)
        await self._steps.tell(
            f"Built in {time.monotonic() - begun:.0f} s: {note['packages']} packages, "
            f"{usage.files} files, {format_bytes(usage.size_bytes)}"
            + (f", of which {format_bytes(usage.shared_bytes)} are shared with other environments")
            * bool(usage.shared_bytes)
        )
        return Image(note["image"], usage.size_bytes)

    def _plan(self) -> Plan:
        lock = lock_of(self._build.options)
        if lock is not None and lock.commit != self._build.resolved_ref:
            raise BuildFailed(
                "This environment was made from the receipt of another commit, %(commit)s. To use "
                "a newer one, make a new environment from the repository.",
                commit=lock.commit,
                code="lock_of_another_commit",
            )
        recipe = with_python(self._recipe, self._build.options)
        plan, assessment = make_plan(recipe, self._settings.offer, lock)
        for problem in assessment.problems:
            raise BuildFailed(problem.message, code=problem.code)
        return plan

    # --- The steps ---

    async def _install_conda(
        self, plan: Plan, conda: CondaPlan, uv: UvInstallation
    ) -> tuple[Interpreter, str]:
        """Make the environment from a channel's packages; return its Python and its lock.

        What runs from here on comes with the environment; the hub's interpreter only starts it.
        """
        interpreters = self._settings.interpreters
        able = interpreters[in_order(interpreters)[-1]]
        await in_thread(self._workspace.environment.mkdir)
        await in_thread(self._workspace.place_checkout, plan.start)
        installation = CondaInstallation(self._workspace, self._steps, self._settings)
        self._conda = made = await installation.run(conda, plan.python, able)
        lock = made.lock + await uv.add(plan, able)
        return replace(able, version=made.python), lock

    async def _post_build(self, path: str, interpreter: Interpreter) -> None:
        network = self._settings.build_network
        await self._steps.tell(
            f"Running {path}" + ("" if network else ", without network"),
            Message("running %(path)s", path=path),
        )
        script = self._steps.seen / "repo" / path
        env = {
            "PATH": f"{self._steps.seen}/bin:/usr/local/bin:/usr/bin:/bin",
            "VIRTUAL_ENV": str(self._steps.seen),
            "REPO_DIR": str(self._steps.seen / "repo"),
            "PYTHONUNBUFFERED": "1",
        }
        before = await in_thread(self._steps.names_in_home)
        run = self._activated(["/bin/sh", "-c", 'chmod +x -- "$0" && exec "$0"', script])
        try:
            await self._steps.untrusted(
                run, interpreter, env=env, cwd=self._steps.seen / "repo", network=network
            )
        except ProcessFailed as error:
            said = next((line for line in reversed(self._steps.output) if line.strip()), "")
            failed = Message("%(path)s failed (%(status)s).", path=path, status=_status(error))
            tail = Message("Its last line: %(line)s", line=said[:300]) if said else ""
            raise BuildFailed(Message.joined(failed, tail), code="post_build_failed") from error
        if written := await in_thread(self._steps.names_in_home) - before:
            names = ", ".join(sorted(written)[:10])
            await self._steps.tell(
                f"{path} wrote to the home folder, which is not kept: {names}. Write to $REPO_DIR "
                "instead."
            )

    async def _compile(self, interpreter: Interpreter) -> None:
        """Compile what has no current bytecode.

        With the base interpreter, because the environment's own runs its .pth files.
        """
        await self._steps.tell(
            "Compiling to bytecode so that servers start faster", Message("compiling to bytecode")
        )
        script = Path(inside.__file__).with_name("compile.py")
        own = self._steps.seen / "bin/python" if self._conda else interpreter.program
        run = [own, "-I", "-S", script, self._steps.seen / "lib"]
        if self._settings.isolated:
            work = self._steps.untrusted(
                run, interpreter, env={}, cwd=self._steps.seen, shown=[script]
            )
        else:
            work = self._steps.trusted(list(map(str, run)), env={})
        with contextlib.suppress(ProcessFailed):
            await work

    async def _try_and_settle(
        self, interpreter: Interpreter, note: dict[str, Any], lock: str
    ) -> Usage:
        """Run the smoke test and make the environment read-only; return its size.

        The sandbox is read-only by now, so both can run at once.
        """
        if not self._settings.isolated:
            await self._smoke_test(interpreter)
            await in_thread(name_final_place, self._workspace.environment, self._workspace.final)
            return await self._settle(note, lock)
        settling = asyncio.create_task(self._settle(note, lock))
        try:
            await self._smoke_test(interpreter)
        except BaseException:
            settling.cancel()
            await asyncio.wait({settling})
            raise
        return await settling

    async def _smoke_test(self, interpreter: Interpreter) -> None:
        if not (self._settings.smoke_test and self._settings.offer.runs_code):
            return
        program, *rest = self._settings.smoke_test
        await self._steps.tell(f"Testing that {program} starts", Message("testing it"))
        try:
            await self._steps.untrusted(
                self._activated([self._steps.seen / "bin" / program, *rest]),
                interpreter,
                env={"PYTHONPATH": str(_SMOKE_PATH)},
                cwd=self._steps.seen,
                shown=[_SMOKE_PATH],
                writable=False,
            )
        except ProcessFailed as error:
            raise BuildFailed(
                "%(program)s does not start in the new environment (%(status)s). One of the "
                "repository's packages may break it. See the error in the log.",
                program=program,
                status=_status(error),
                code="smoke_test_failed",
            ) from error

    def _activated(self, args: Sequence[str | Path]) -> list[str | Path]:
        """Return a command that runs as a server would, in the activated environment."""
        if not self._activate:
            return list(args)
        return [find_shell(), "-c", self._activate, "activate", *args]

    def _inventory(self, plan: Plan, interpreter: Interpreter, lock: str) -> Inventory:
        indexes = plan.requirements.indexes
        packages, tools = list_packages(self._workspace.environment), {"uv": version("uv")}
        if self._conda is not None:
            known = {canonicalize_name(one.name) for one in self._conda.packages}
            others = [one for one in packages if canonicalize_name(one.name) not in known]
            packages = (*self._conda.packages, *others)
            tools["rattler"] = version("py-rattler")
        return Inventory(
            packages=packages,
            lock=portable_lock(lock, indexes, self._steps.seen / "repo"),
            tools={"python": interpreter.version, **tools},
        )

    async def _settle(self, note: dict[str, Any], lock: str) -> Usage:
        usage = await self._steps.check_size()
        settle = partial(self._folders.settle, activate=self._activate)
        await in_thread(settle, self._workspace, note, lock, usage)
        return usage

    def _note(self, plan: Plan, interpreter: Interpreter, lock: str) -> dict[str, Any]:
        build = self._build
        return {
            "version": 1,
            "image": PREFIX + build.key,
            "build": build.id,
            "repository": build.label,
            "repo_url": build.repo_url,
            "resolved_ref": build.resolved_ref,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "python": interpreter.version,
            "packages": sum(
                ("==" in line or "#sha256:" in line) and line[0] not in "# "
                for line in lock.splitlines()
                if line
            ),
            "base_packages": list(self._settings.base_packages),
            "post_build": plan.post_build,
            "start": plan.start,
        }


def _status(error: ProcessFailed) -> Message:
    if error.returncode > 0:
        return Message("exit status %(status)s", status=error.returncode)
    return error.message


async def _spool(work: Callable[[Say], Awaitable[None]]) -> AsyncGenerator[BackendOutput, None]:
    """Yield the lines of `work`. Closing cancels it and waits for its end."""
    queue: asyncio.Queue[BackendOutput | None] = asyncio.Queue(256)

    async def fill() -> None:
        try:
            await work(queue.put)
        except Exception:
            await queue.put(None)
            raise
        await queue.put(None)

    task = asyncio.create_task(fill())
    try:
        while (item := await queue.get()) is not None:
            yield item
        await task
    finally:
        task.cancel()
        await asyncio.wait({task})
