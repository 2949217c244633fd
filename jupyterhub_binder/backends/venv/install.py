"""Installs the packages of one build with uv.

Wheels are installed by trusted steps, from the cache; what has no wheel is built in the sandbox. A
trusted step reads no lock that code in the sandbox may have written.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from jupyterhub_binder.backends.venv import inside
from jupyterhub_binder.backends.venv.bytecode import add_bytecode
from jupyterhub_binder.backends.venv.folders import Workspace
from jupyterhub_binder.backends.venv.inventory import by_pip, list_packages
from jupyterhub_binder.backends.venv.links import LinkMode, choose_link_mode
from jupyterhub_binder.backends.venv.plan import Plan
from jupyterhub_binder.backends.venv.project_lock import merge
from jupyterhub_binder.backends.venv.requirements import Requirements
from jupyterhub_binder.backends.venv.steps import Interpreter, Steps, VenvSettings, in_thread
from jupyterhub_binder.backends.venv.uv import (
    NOISE,
    SAY_CHOICES,
    Choices,
    Uv,
    lacks_network,
    lacks_space,
    lacks_wheels,
    names_any,
    without_secrets,
)
from jupyterhub_binder.backends.venv.wheels import locked_names, read_progress
from jupyterhub_binder.errors import BuildFailed
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.utils.subprocess import ProcessFailed


class UvInstallation:
    """Makes a virtual environment, or adds packages of pip to one with conda packages."""

    def __init__(self, workspace: Workspace, steps: Steps, settings: VenvSettings) -> None:
        self._workspace = workspace
        self._steps = steps
        self._settings = settings
        self.has_sources = False
        """Whether packages were built from source, in the sandbox."""

    async def run(self, plan: Plan, interpreter: Interpreter) -> str:
        """Make the environment; return its lock. Raises BuildFailed."""
        await self._create(interpreter, plan.start)
        await self._install(plan, interpreter)
        return await self._read_lock()

    async def add(self, plan: Plan, interpreter: Interpreter) -> str:
        """Install what is listed under `pip:`, in the sandbox; return its lock.

        uv asks the environment's Python what it is, and that is a channel's code.
        """
        wanted = plan.requirements
        sources = self._sources(wanted)
        asked = [*wanted.with_hashes(), *sources]
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

    async def _create(self, interpreter: Interpreter, start_script: str) -> None:
        await self._steps.tell(f"Creating an environment with Python {interpreter.version}")
        await in_thread(self._settings.wheels.of(interpreter.bytecode).ensure)
        uv = Uv(self._settings.uv, self._workspace.environment)
        await self._steps.trusted(
            uv.venv(str(interpreter.program), prompt=self._workspace.final.name),
            env=self._cache_environment(interpreter),
        )
        await in_thread(self._workspace.place_checkout, start_script)

    async def _install(self, plan: Plan, interpreter: Interpreter) -> None:
        if plan.locked:
            await self._install_locked(plan, interpreter)
            return
        if plan.lock_file:
            await self._install_lock_file(plan, interpreter)
            return
        wanted = plan.requirements
        asked = [*self._settings.base_packages, *wanted.packages]
        asked += self._sources(wanted)
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
        sources = self._sources(wanted)
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
        sources = self._sources(wanted)
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

    async def _choose(self, uv: Uv, plan: Plan, interpreter: Interpreter) -> None:
        """Choose versions of which all have wheels."""
        await self._steps.trusted(
            self._resolve(uv, plan, build=False),
            env=self._cache_environment(interpreter) | SAY_CHOICES,
            progress=Choices().read,
            noise=NOISE,
        )

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

    async def _install_sources(
        self, plan: Plan, interpreter: Interpreter, lock: Path | None = None
    ) -> None:
        """Build packages without a wheel. Without a lock, choose versions first."""
        self.has_sources = True
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

    def _cache_environment(self, interpreter: Interpreter) -> dict[str, str]:
        return {"UV_CACHE_DIR": str(self._settings.wheels.of(interpreter.bytecode).uv)}

    def _source_environment(self) -> dict[str, str]:
        # A cache of its own: what a build writes there, nobody else ever reads.
        cache = {"UV_CACHE_DIR": str(self._steps.temporary / "uv-cache"), "UV_NO_CONFIG": "1"}
        return without_secrets(self._settings.uv_environment) | cache

    async def _read_lock(self) -> str:
        """Read the lock before anything can change it."""
        try:
            return await in_thread(self._workspace.read_lock)
        except OSError as error:
            raise BuildFailed(
                "The build damaged its own list of packages. Check what postBuild or setup.py "
                "changes."
            ) from error

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
        elif names_any(output, self._settings.base_packages):
            hint = Message(
                "Every environment also needs these packages for its server: %(packages)s",
                packages=", ".join(self._settings.base_packages),
            )
        return BuildFailed("The packages can't be installed.", detail={"hint": hint})

    def _sources(self, wanted: Requirements) -> list[str]:
        """Return what comes from no index, with paths as they are in untrusted steps."""
        return [_placed(text, self._steps.seen / "repo") for text in wanted.sources]


def _placed(text: str, repo: Path) -> str:
    """Return a source of the checkout with its full path."""
    flag, text = ("-e ", text[3:]) if text.startswith("-e ") else ("", text)
    return f"{flag}{repo}{text[1:]}" if text.startswith(".") else f"{flag}{text}"


def _lines(texts: Sequence[str]) -> str:
    return "".join(f"{text}\n" for text in texts)
