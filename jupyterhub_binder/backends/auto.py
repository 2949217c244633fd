"""A backend that makes nothing itself: it gives each recipe to the first of several that can.

`builds` asks it once for each build, notes the choice in `Build.backend`, and from then on uses the
chosen backend, also after a restart.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, cast

from traitlets import Enum, List, Unicode
from traitlets.utils.importstring import import_item

from jupyterhub_binder.backends.base import (
    BACKEND_OPTION,
    BuildBackend,
    Choice,
    HostState,
    HostStatus,
    KeptImage,
    Pythons,
    Reuse,
)
from jupyterhub_binder.backends.installed import backend_class
from jupyterhub_binder.errors import BinderError, ConfigurationError, InvalidInput
from jupyterhub_binder.model import (
    Assessment,
    BackendOutput,
    Build,
    BuildJob,
    Finding,
    Recipe,
    Severity,
)
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.utils.concurrency import TaskSet
from jupyterhub_binder.utils.retry import Backoff

FOLDER, IMAGE = "folder", "image"

_FIRST_RETRY_SECONDS = 5.0
_MAX_RETRY_SECONDS = 120.0


class AutoBackend(BuildBackend):
    """The first of several backends that can serve a recipe."""

    name: ClassVar[str] = "auto"
    description: ClassVar[str] = Message(
        "Makes each environment with the first of several backends that can."
    )

    backends = List(
        Unicode(),
        ["venv", "repo2docker"],
        minlen=1,
        help="""
        The backends, in order: each repository goes to the first one that can serve its
        configuration files. A person can choose another one that can. Names as in
        `JupyterHubBinder.backend`, or import paths of classes; each is configured by its own
        options. Put the fastest first and the one that takes the most last. Default: `venv`, then
        `repo2docker`. For example `["venv", "binderhub"]`.
        """,
    ).tag(config=True)

    startable = List(
        Enum([FOLDER, IMAGE]),
        [FOLDER, IMAGE],
        help="""
        What the hub's spawner can start: environments of the `venv` backend are folders, those of
        all others container images. Other backends are not used, so that people learn of it before
        a build. Default: both. `configure` sets it for the hub's spawner.
        """,
    ).tag(config=True)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        named = [self._load(name) for name in self.backends]
        made = [each for each in named if self._can_start(each)]
        for each in named:
            if each not in made:
                self.log.warning(
                    "AutoBackend: %s is not used, because this hub's spawner can't start what it "
                    "makes",
                    each.name,
                )
        if not made:
            raise ConfigurationError(
                "AutoBackend.backends: this hub's spawner can't start what any of them makes "
                f"({', '.join(self.backends)}). Change AutoBackend.backends or the spawner."
            )
        if len({each.name for each in made}) < len(made):
            raise ConfigurationError("AutoBackend.backends names a backend twice.")
        self._makers = tuple(each(parent=self) for each in made)
        self._tasks = TaskSet(self.log)

    def _load(self, name: str) -> type[BuildBackend]:
        found = _import(name) if "." in name else backend_class(name, "AutoBackend.backends")
        if issubclass(found, AutoBackend):
            raise ConfigurationError("AutoBackend.backends can't contain `auto` itself.")
        return found

    def _can_start(self, maker: type[BuildBackend]) -> bool:
        return (IMAGE if maker.makes_containers else FOLDER) in self.startable

    @property
    def makers(self) -> tuple[BuildBackend, ...]:
        """The backends, in order."""
        return self._makers

    @property
    def _started(self) -> list[BuildBackend]:
        return [maker for maker in self.makers if not maker.start_failure]

    # --- Life -----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start all, and keep trying those that fail. Raises ConfigurationError if all fail."""
        for maker in self.makers:
            maker.session = self.session
            await self._try_to_start(maker)
        failed = [maker for maker in self.makers if maker.start_failure]
        if len(failed) == len(self.makers):
            raise ConfigurationError(" ".join(maker.start_failure for maker in failed))
        for maker in failed:
            self._tasks.spawn(self._keep_starting(maker), name=f"start of {maker.name}")

    async def _try_to_start(self, maker: BuildBackend) -> None:
        before = maker.start_failure
        try:
            await maker.start()
            maker.start_failure = ""
        except (BinderError, OSError) as error:
            maker.start_failure = str(error)
            await maker.stop()
        if maker.start_failure not in ("", before):
            self.log.error(
                "The backend %s could not start. It is tried again; builds that need it fail "
                "until then: %s",
                maker.name,
                maker.start_failure,
            )

    async def _keep_starting(self, maker: BuildBackend) -> None:
        backoff = Backoff(_FIRST_RETRY_SECONDS, max_seconds=_MAX_RETRY_SECONDS)
        while maker.start_failure:
            await backoff.wait()
            await self._try_to_start(maker)
        self.log.info("The backend %s has started", maker.name)

    async def stop(self) -> None:
        """Stop all, even if one fails. Idempotent."""
        await self._tasks.close()
        async with AsyncExitStack() as stack:
            for maker in self.makers:
                stack.push_async_callback(maker.stop)

    async def health(self) -> str | None:
        """Return which backends can't build, and why."""
        wrong = [(one.name, one.start_failure or await one.health()) for one in self.makers]
        return " ".join(f"{name}: {why}" for name, why in wrong if why) or None

    def statuses(self) -> tuple[HostStatus, ...]:
        """Return the remote hosts' status."""
        return tuple(status for maker in self.makers for status in maker.statuses())

    # --- The choice -----------------------------------------------------------------------------

    @property
    def provider_prefixes(self) -> frozenset[str] | None:
        """Return all prefixes that one of them can build."""
        known = [maker.provider_prefixes for maker in self.makers]
        if None in known:
            return None
        return frozenset().union(*(prefixes for prefixes in known if prefixes))

    def fingerprint(self) -> str:
        """Return the fingerprints of all, in order: before the recipe is read, each may build."""
        return f"auto {json.dumps([_fingerprint(maker) for maker in self.makers])}"

    def clean_options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the option `backend`, and what one of them accepts. Raises InvalidInput."""
        wanted = options.get(BACKEND_OPTION) or ""
        others = _without_choice(options)
        if not wanted:
            return self._clean(self.makers, others)
        maker = next((each for each in self.makers if each.name == wanted), None)
        if maker is None:
            raise InvalidInput(
                "This hub has no backend '%(asked)s'. It has %(known)s.",
                asked=str(wanted)[:40],
                known=", ".join(each.name for each in self.makers),
            )
        try:
            return {**maker.clean_options(others), BACKEND_OPTION: maker.name}
        except InvalidInput as error:
            raise InvalidInput(
                "With the backend %(backend)s: %(why)s", backend=maker.name, why=error.message
            ) from error

    @staticmethod
    def _clean(makers: Iterable[BuildBackend], options: Mapping[str, Any]) -> dict[str, Any]:
        """Return options as the first maker that accepts them does."""
        errors = []
        for maker in makers:
            try:
                return maker.clean_options(options)
            except InvalidInput as error:
                errors.append(error)
        raise errors[0]

    def choose(self, recipe: Recipe | None, options: Mapping[str, Any], provider: str) -> Choice:
        """Return the chosen backend if a person chose one, else the first without a problem.

        If none can serve the recipe, return one that could if it had started, else the one with
        the fewest problems; of these, the last.
        """
        others = _without_choice(options)
        found = [
            Choice(maker, _assess(maker, recipe, others, provider), maker.fits(recipe or Recipe()))
            for maker in self.makers
        ]
        fitting = [each for each in found if not each.assessment.problems]
        able = [each for each in fitting if not each.backend.start_failure]
        possible = tuple(each.backend for each in able)
        wanted = next((e for e in found if e.backend.name == options.get(BACKEND_OPTION)), None)
        if wanted is not None:
            chosen = _chosen_by_person(_if_started(wanted), bool(able))
            return replace(chosen, possible=possible)
        if able:
            before = found[: found.index(able[0])]
            why = _why(before, recipe or Recipe()) or able[0].why
            return replace(able[0], why=why, possible=possible)
        least = min(reversed(found), key=lambda each: len(each.assessment.problems))
        return replace(_if_started(fitting[0] if fitting else least), why="")

    def assess(self, recipe: Recipe, options: Mapping[str, Any]) -> Assessment:
        """Return the assessment of the backend that is chosen."""
        return self.choose(recipe, options, "").assessment

    def reuse(self, recipe: Recipe, options: Mapping[str, Any]) -> Reuse:
        """Return the answer of the backend that is chosen."""
        return self.choose(recipe, options, "").backend.reuse(recipe, options)

    def pythons_of(self, recipe: Recipe, options: Mapping[str, Any]) -> Pythons:
        """Return the answer of the backend that is chosen."""
        return self.choose(recipe, options, "").backend.pythons_of(recipe, options)

    # --- Images, if the maker is not known -----------------------------------------------------

    async def find_image(self, key: str) -> str | None:
        """Return the image of any backend. Raises if one fails and no other has it."""
        failure: BinderError | None = None
        for maker in self.makers:
            try:
                if (image := await maker.find_image(key)) is not None:
                    return image
            except BinderError as error:
                failure = failure or error
        if failure is not None:
            raise failure
        return None

    async def build(self, job: BuildJob) -> AsyncGenerator[BackendOutput, None]:
        """Build with the maker in `Build.backend`, or with the one that is chosen."""
        build = job.build
        maker = self.maker(build.backend)
        if maker is self:
            maker = self.choose(job.recipe, build.options, build.spec.provider).backend
        made = cast("AsyncGenerator[BackendOutput, None]", maker.build(job))
        async with aclosing(made) as outputs:
            async for output in outputs:
                yield output

    async def keep_files(self, build: Build, checkout: Path) -> None:
        """Keep files with the maker in `Build.backend`."""
        maker = self.maker(build.backend)
        if maker is not self:
            await maker.keep_files(build, checkout)

    async def has_files(self, key: str) -> bool:
        """Return whether every backend that knows says so."""
        return all([await maker.has_files(key) for maker in self.makers])

    async def delete_image(self, image: str) -> None:
        """Remove an image; each backend knows its own. Idempotent."""
        async with AsyncExitStack() as stack:
            for maker in self.makers:
                stack.push_async_callback(maker.delete_image, image)

    async def list_images(self) -> tuple[KeptImage, ...]:
        """Return the images of all."""
        return tuple([image for maker in self.makers for image in await maker.list_images()])

    async def fetch_cache_bytes(self) -> int:
        """Return the space of all caches."""
        return sum([await maker.fetch_cache_bytes() for maker in self.makers])

    async def trim_cache(self, wanted_bytes: int) -> int:
        """Trim one cache after the other."""
        freed = 0
        for maker in self.makers:
            if freed < wanted_bytes:
                freed += await maker.trim_cache(wanted_bytes - freed)
        return freed


def _import(name: str) -> type[BuildBackend]:
    try:
        found = import_item(name)
    except ImportError as error:
        raise ConfigurationError(
            f"AutoBackend.backends: {name} can't be imported: {error}"
        ) from error
    if not (isinstance(found, type) and issubclass(found, BuildBackend)):
        raise ConfigurationError(f"AutoBackend.backends: {name} is not a backend.")
    return found


def _without_choice(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name != BACKEND_OPTION}


def _assess(
    maker: BuildBackend, recipe: Recipe | None, options: Mapping[str, Any], provider: str
) -> Assessment:
    """Return a backend's assessment, with problems that lie outside the recipe."""
    prefixes = maker.provider_prefixes
    if provider and prefixes is not None and provider not in prefixes:
        message = Message("%(backend)s can't reach this kind of repository.", backend=maker.name)
        return _problem("unknown_provider", message)
    try:
        maker.clean_options(options)
    except InvalidInput as error:
        return _problem(error.error_code, error.message)
    if recipe is None and maker.needs_checkout:
        return _problem("unreadable", Message("This hub can't read the repository's files."))
    assessment = Assessment() if recipe is None else maker.assess(recipe, options)
    return replace(assessment, findings=(*_hosts_down(maker), *assessment.findings))


def _hosts_down(maker: BuildBackend) -> tuple[Finding, ...]:
    """Warn if all hosts of a backend are down: a build waits for one."""
    hosts = maker.statuses()
    if not hosts or any(host.state is not HostState.FAILED for host in hosts):
        return ()
    message = Message(
        "It can't be made now: %(backend)s does not work. A build waits for it for a while.",
        backend=maker.name,
    )
    return (Finding(Severity.WARNING, "backend_unavailable", message),)


def _problem(code: str, message: Message) -> Assessment:
    return Assessment((), (Finding(Severity.PROBLEM, code, message),))


def _if_started(choice: Choice) -> Choice:
    """Add a problem to a choice that would be right if its backend had started."""
    if not choice.backend.start_failure or choice.assessment.problems:
        return choice
    problem = Finding(Severity.PROBLEM, "backend_unavailable", choice.backend.not_now)
    findings = (problem, *choice.assessment.findings)
    return replace(choice, assessment=replace(choice.assessment, findings=findings))


def _why(earlier: Iterable[Choice], recipe: Recipe) -> str:
    """Return why earlier backends can't serve a recipe, in a few words; empty for their options."""
    problems = [(each, problem) for each in earlier for problem in each.assessment.problems]
    if paths := dict.fromkeys(problem.path for _, problem in problems if problem.path):
        return ", ".join(paths)
    for choice, problem in problems:
        if problem.code == "python_missing":
            return _lacks_python(choice.backend, recipe)
        if problem.code == "no_sandbox":
            return Message("It runs code of its own, and this hub has no sandbox for folders")
    down = next((each.backend for each in earlier if each.backend.start_failure), None)
    return Message("The backend %(backend)s could not start", backend=down.name) if down else ""


def _lacks_python(maker: BuildBackend, recipe: Recipe) -> str:
    if maker.makes_containers:
        return Message(
            "It needs Python %(asked)s, which this hub's images don't have", asked=recipe.python
        )
    return Message(
        "It needs Python %(asked)s, which this hub has no folder interpreter for",
        asked=recipe.python,
    )


def _fingerprint(maker: BuildBackend) -> str:
    try:
        return maker.fingerprint()
    except ConfigurationError:  # it has not started either
        return maker.name


def _chosen_by_person(wanted: Choice, others_can: bool) -> Choice:
    """Return a person's choice; if only other backends can serve the recipe, say what to do."""
    note = Message(
        "This environment is set to be %(made)s. Choose another way in its settings.",
        made=wanted.backend.made,
    )
    assessment = wanted.assessment
    if others_can and assessment.problems:
        findings = tuple(
            replace(each, message=Message.joined(each.message, note))
            if each.severity is Severity.PROBLEM
            else each
            for each in assessment.findings
        )
        assessment = replace(assessment, findings=findings)
    return replace(wanted, assessment=assessment, why=Message("Chosen in the settings"))
