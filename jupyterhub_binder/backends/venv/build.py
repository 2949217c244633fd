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
from jupyterhub_binder.backends.venv.bytecode import add_bytecode, check_sources
from jupyterhub_binder.backends.venv.conda.activate import activation, find_shell
from jupyterhub_binder.backends.venv.conda.choice import CondaPlan
from jupyterhub_binder.backends.venv.conda.install import CondaEnvironment, CondaInstallation
from jupyterhub_binder.backends.venv.folders import PREFIX, Folders, Usage, name_final_place
from jupyterhub_binder.backends.venv.inventory import by_pip, list_packages, portable_lock
from jupyterhub_binder.backends.venv.links import LinkMode, choose_link_mode
from jupyterhub_binder.backends.venv.lock import lock_of
from jupyterhub_binder.backends.venv.plan import Plan, in_order, make_plan, with_python
from jupyterhub_binder.backends.venv.project_lock import merge
from jupyterhub_binder.backends.venv.steps import (
    Interpreter,
    Say,
    Steps,
    VenvSettings,
    in_thread,
)
from jupyterhub_binder.backends.venv.uv import (
    NOISE,
    SAY_CHOICES,
    Choices,
    Uv,
    lacks_network,
    lacks_space,
    lacks_wheels,
    without_secrets,
)
from jupyterhub_binder.backends.venv.wheels import locked_names, read_progress
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
        self._has_sources = False
        """Whether packages were built from source, in the sandbox."""
        self._conda: CondaEnvironment | None = None
        self._conda_lock = ""
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
        if plan.conda is None:
            interpreter = self._settings.interpreters[plan.python]
            await self._create(interpreter, plan.start)
            await self._install(plan, interpreter)
            lock = await self._read_lock()
        else:
            interpreter = await self._create_with_conda(plan, plan.conda)
            lock = self._conda_lock
        if plan.conda is not None or plan.variables:
            self._activate = activation(self._steps.seen, plan.variables)
        if plan.post_build:
            await in_thread(check_sources, self._workspace.environment)
            await self._post_build(plan.post_build, interpreter)
        if plan.post_build or self._has_sources:
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

    async def _create(self, interpreter: Interpreter, start_script: str) -> None:
        await self._steps.tell(f"Creating an environment with Python {interpreter.version}")
        await in_thread(self._settings.wheels.of(interpreter.bytecode).ensure)
        uv = Uv(self._settings.uv, self._workspace.environment)
        await self._trusted(
            uv.venv(str(interpreter.program), prompt=self._workspace.final.name), interpreter
        )
        await in_thread(self._workspace.place_checkout, start_script)

    async def _create_with_conda(self, plan: Plan, conda: CondaPlan) -> Interpreter:
        """Make the environment from a channel's packages; return its Python, for the sandbox."""
        interpreters = self._settings.interpreters
        able = interpreters[in_order(interpreters)[-1]]
        await in_thread(self._workspace.environment.mkdir)
        await in_thread(self._workspace.place_checkout, plan.start)
        installation = CondaInstallation(self._workspace, self._steps, self._settings)
        self._conda = made = await installation.run(conda, plan.python, able)
        # What compiles and runs here comes with the environment; `able` only starts the steps.
        self._has_sources = True
        pip = await self._add_pip_packages(plan, able)
        self._conda_lock = made.lock + pip
        return replace(able, version=made.python)

    async def _add_pip_packages(self, plan: Plan, interpreter: Interpreter) -> str:
        """Install what is listed under `pip:`, in the sandbox; return its lock.

        uv asks the environment's Python what it is, and that is a channel's code.
        """
        wanted = plan.requirements
        sources = [_placed(text, self._steps.seen / "repo") for text in wanted.sources]
        packages = [
            " ".join([line, *(f"--hash={one}" for one in wanted.hashes.get(line, ()))])
            for line in wanted.packages
        ]
        asked = [*packages, *sources]
        if not asked:
            return ""
        limits = [*self._settings.constraints, *wanted.constraints]
        await in_thread(self._workspace.write_requirements, _lines(asked), _lines(limits))
        before = await in_thread(list_packages, self._workspace.environment)
        work = self._workspace.work
        await self._steps.tell(
            "Installing the packages under pip:, in the sandbox", Message("installing packages")
        )
        add = Uv(self._settings.uv, self._steps.seen).add(
            wanted,
            given=work / "requirements.in",
            limits=work / "constraints.txt",
            complete=plan.locked or bool(plan.conda and plan.conda.packages),
        )
        try:
            await self._steps.untrusted(
                add, interpreter, env=self._source_environment(), network=True, resolving=True
            )
        except ProcessFailed as error:
            raise self._unresolvable(sandboxed=True) from error
        new = await in_thread(by_pip, self._workspace.environment, before)
        return _lines([*(f"{one.name}=={one.version}" for one in new), *sources])

    async def _trusted(self, args: Sequence[str], interpreter: Interpreter) -> None:
        """Run a trusted command with the cache of the interpreter's wheels."""
        await self._steps.trusted(args, env=self._cache_environment(interpreter))

    def _cache_environment(self, interpreter: Interpreter) -> dict[str, str]:
        return {"UV_CACHE_DIR": str(self._settings.wheels.of(interpreter.bytecode).uv)}

    async def _choose(self, uv: Uv, plan: Plan, interpreter: Interpreter) -> None:
        """Choose versions of which all have wheels."""
        await self._steps.trusted(
            self._resolve(uv, plan, build=False),
            env=self._cache_environment(interpreter) | SAY_CHOICES,
            progress=Choices().read,
            noise=NOISE,
        )

    async def _install(self, plan: Plan, interpreter: Interpreter) -> None:
        if plan.locked:
            await self._install_locked(plan, interpreter)
            return
        if plan.lock_file:
            await self._install_lock_file(plan, interpreter)
            return
        wanted = plan.requirements
        asked = [*self._settings.base_packages, *wanted.packages]
        asked += [_placed(text, self._steps.seen / "repo") for text in wanted.sources]
        limits = [*self._settings.constraints, *wanted.constraints]
        await in_thread(self._workspace.write_requirements, _lines(asked), _lines(limits))
        if not asked:
            (self._workspace.work / "lock.txt").touch()
            return
        if not wanted.sources and await self._install_wheels(plan, interpreter):
            return
        await self._steps.tell(
            "Some packages have no wheel. Building them in the sandbox",
            Message("building packages"),
        )
        await self._install_sources(plan, interpreter)

    async def _install_locked(self, plan: Plan, interpreter: Interpreter) -> None:
        """Install a receipt's packages; nothing is chosen anew."""
        wanted, lock = plan.requirements, self._workspace.work / "lock.txt"
        sources = [_placed(text, self._steps.seen / "repo") for text in wanted.sources]
        lines = _lines([*wanted.packages, *sources])
        await in_thread(self._workspace.write_requirements, lines, "")
        await in_thread(lock.write_text, lines)
        await self._steps.tell(
            "Installing the packages of the receipt", Message("installing packages")
        )
        await self._install_exactly(plan, interpreter, lock)

    async def _install_lock_file(self, plan: Plan, interpreter: Interpreter) -> None:
        """Install what the repository's lock says, and beside it what the hub adds."""
        wanted, work = plan.requirements, self._workspace.work
        limits = [*self._settings.constraints, *wanted.packages]
        await in_thread(
            self._workspace.write_requirements, _lines(self._settings.base_packages), _lines(limits)
        )
        lock, hashed = work / "lock.txt", work / "hashed.txt"
        sandboxed = False
        if self._settings.base_packages:
            await self._steps.tell(
                f"Choosing versions of the hub's own packages that fit {plan.lock_file}",
                Message("choosing versions"),
            )
            sandboxed = await self._resolve_beside(plan, interpreter)
        hubs = await in_thread(self._workspace.read_lock) if lock.exists() else ""
        sources = [_placed(text, self._steps.seen / "repo") for text in wanted.sources]
        plain, with_hashes = merge(hubs, wanted, sources)
        await in_thread(lock.write_text, _lines(plain))
        await in_thread(hashed.write_text, _lines(with_hashes))
        await self._steps.tell(
            f"Installing the packages of {plan.lock_file}", Message("installing packages")
        )
        await self._install_exactly(plan, interpreter, hashed, sandboxed=sandboxed)

    async def _resolve_beside(self, plan: Plan, interpreter: Interpreter) -> bool:
        """Choose versions of the hub's own packages; those of the repository's lock stay.

        Return whether code in the sandbox wrote them: no trusted step may use them then.
        """
        try:
            uv = Uv(self._settings.uv, self._workspace.environment)
            try:
                await self._choose(uv, plan, interpreter)
            except ProcessFailed:
                if not (lacks_wheels(self._steps.output) and self._settings.offer.runs_code):
                    raise
                await self._steps.untrusted(
                    self._resolve(Uv(self._settings.uv, self._steps.seen), plan, build=True),
                    interpreter,
                    env=self._source_environment(),
                    network=True,
                    resolving=True,
                    writable=False,
                )
                return True
        except ProcessFailed as error:
            raise BuildFailed(
                "The versions in %(path)s don't fit the packages that each server needs.",
                path=plan.lock_file,
                detail={
                    "hint": Message(
                        "Every environment also needs these packages for its server: %(packages)s",
                        packages=", ".join(self._settings.base_packages),
                    )
                },
            ) from error
        return False

    async def _install_exactly(
        self, plan: Plan, interpreter: Interpreter, lock: Path, *, sandboxed: bool = False
    ) -> None:
        """Install what a lock names; nothing is chosen anew."""
        wanted = plan.requirements
        try:
            if not (wanted.sources or sandboxed):
                await self._link(plan, interpreter, lock)
                return
        except ProcessFailed as error:
            if not (lacks_wheels(self._steps.output) and self._settings.offer.runs_code):
                raise self._unresolvable() from error
        await self._steps.tell(
            "Some packages have no wheel. Building them in the sandbox",
            Message("building packages"),
        )
        await self._install_sources(plan, interpreter, lock)

    async def _install_wheels(self, plan: Plan, interpreter: Interpreter) -> bool:
        """Install wheels; return False if some packages have none."""
        uv = Uv(self._settings.uv, self._workspace.environment)
        await self._steps.tell("Choosing versions of all packages", Message("choosing versions"))
        try:
            await self._choose(uv, plan, interpreter)
        except ProcessFailed as error:
            if lacks_wheels(self._steps.output) and self._settings.offer.runs_code:
                return False
            raise self._unresolvable() from error
        await self._steps.tell("Installing them", Message("installing packages"))
        try:
            await self._link(plan, interpreter, self._workspace.work / "lock.txt")
        except ProcessFailed as error:
            raise self._unresolvable() from error
        return True

    async def _link(self, plan: Plan, interpreter: Interpreter, lock: Path) -> None:
        """Install the lock's wheels from the cache, each compiled once.

        Wheels that are new to the cache are compiled there while uv downloads more. uv may have
        installed them before that, so their bytecode is added last.
        """
        cache = self._settings.wheels.of(interpreter.bytecode)
        names = locked_names(await in_thread(lock.read_text))
        listed = self._workspace.work / "names.txt"
        await in_thread(listed.write_text, _lines(sorted(names)))
        mode = self._link_mode(plan)
        self._steps.is_linked = mode is LinkMode.HARDLINK
        uv = Uv(self._settings.uv, self._workspace.environment)
        install = uv.install(plan.requirements, lock=lock, link_mode=mode, build=False)
        script = Path(inside.__file__).with_name("compile_wheels.py")
        compiling = [str(interpreter.program), "-I", "-S", str(script), str(cache.folder)]
        before = await in_thread(cache.marks, names)
        await self._steps.trusted(
            [*compiling, str(listed), *install],
            env=self._cache_environment(interpreter),
            progress=read_progress,
        )
        fresh = await in_thread(cache.marks, names) - before
        wheels = await in_thread(cache.wheels_of, fresh)
        add = partial(add_bytecode, link=self._steps.is_linked)
        await in_thread(add, wheels, self._workspace.site_packages)
        await in_thread(cache.note_use, names)

    def _link_mode(self, plan: Plan) -> LinkMode:
        settings = self._settings
        return choose_link_mode(
            allowed=settings.link_mode,
            can_clone=settings.can_clone,
            wheels_only=not (plan.post_build or plan.requirements.sources),
            code_is_confined=settings.isolated or not settings.offer.runs_code,
            servers_cannot_write=settings.servers_cannot_write,
        )

    def _source_environment(self) -> dict[str, str]:
        # A cache of its own: what a build writes there, nobody else ever reads.
        cache = {"UV_CACHE_DIR": str(self._steps.temporary / "uv-cache"), "UV_NO_CONFIG": "1"}
        return without_secrets(self._settings.uv_environment) | cache

    async def _install_sources(
        self, plan: Plan, interpreter: Interpreter, lock: Path | None = None
    ) -> None:
        """Build packages without a wheel. Without a lock, choose versions first."""
        self._has_sources = True
        if self._steps.is_linked:
            await in_thread(self._workspace.start_over)
            self._steps.is_linked = False
            await self._create(interpreter, plan.start)
        uv, env = Uv(self._settings.uv, self._steps.seen), self._source_environment()
        chosen = lock or self._workspace.work / "lock.txt"
        install = uv.install(plan.requirements, lock=chosen, link_mode="copy", build=True)
        try:
            if lock is None:
                await self._steps.untrusted(
                    self._resolve(uv, plan, build=True),
                    interpreter,
                    env=env,
                    network=True,
                    resolving=True,
                )
            await self._steps.untrusted(install, interpreter, env=env, network=True, resolving=True)
        except ProcessFailed as error:
            raise self._unresolvable(sandboxed=True) from error

    def _resolve(self, uv: Uv, plan: Plan, *, build: bool) -> list[str]:
        work = self._workspace.work
        return uv.resolve(
            plan.requirements,
            given=work / "requirements.in",
            limits=work / "constraints.txt",
            lock=work / "lock.txt",
            build=build,
        )

    def _unresolvable(self, *, sandboxed: bool = False) -> BuildFailed:
        """Return the failure; the log has its cause, and the hint what only this backend knows."""
        hint, output = "", self._steps.output
        if lacks_space(output):
            return BuildFailed(
                "The hub's disk is full. Ask an administrator to free some space.",
                code="disk_full",
            )
        if sandboxed and lacks_network(output):
            hint = Message(
                "Choose versions that have a wheel (a ready-made package) for this Python. They "
                "could not be built from source either, because the network failed."
            )
        elif lacks_wheels(output):
            hint = Message.joined(
                Message(
                    "This hub installs only wheels (ready-made packages). Choose versions that "
                    "have a wheel for its Python."
                ),
                self._settings.offer.why_not,
            )
        elif any(_bare(name) in " ".join(output) for name in self._settings.base_packages):
            hint = Message(
                "Every environment also needs these packages for its server: %(packages)s",
                packages=", ".join(self._settings.base_packages),
            )
        return BuildFailed("The packages can't be installed.", detail={"hint": hint})

    async def _read_lock(self) -> str:
        """Read the lock before anything can change it."""
        try:
            return await in_thread(self._workspace.read_lock)
        except OSError as error:
            raise BuildFailed(
                "The build damaged its own list of packages. Check what postBuild or setup.py "
                "changes."
            ) from error

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


def _placed(text: str, repo: Path) -> str:
    """Return a source of the checkout with its full path."""
    flag, text = ("-e ", text[3:]) if text.startswith("-e ") else ("", text)
    return f"{flag}{repo}{text[1:]}" if text.startswith(".") else f"{flag}{text}"


def _lines(texts: Sequence[str]) -> str:
    return "".join(f"{text}\n" for text in texts)


def _bare(requirement: str) -> str:
    return requirement.partition("=")[0].partition(">")[0].partition("<")[0].strip()


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
