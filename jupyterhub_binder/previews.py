"""What a person's link means, and what would be built of it, found out without building anything.

Owns that refused repositories' hosts are not asked, how many questions a person may have under
way, and where a person's files come from. Keeps nothing: `environments` does.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

from traitlets import Integer
from traitlets.config import LoggingConfigurable

from jupyterhub_binder.aio import Full, Turns
from jupyterhub_binder.backends.base import BuildBackend
from jupyterhub_binder.builds import Builds
from jupyterhub_binder.errors import BinderError, InvalidInput, LimitReached
from jupyterhub_binder.fetch import Fetcher
from jupyterhub_binder.model import (
    Assessment,
    Commit,
    Environment,
    Finding,
    Link,
    Recipe,
    Resolved,
    Spec,
    User,
)
from jupyterhub_binder.providers import Providers
from jupyterhub_binder.recipe import read_recipe
from jupyterhub_binder.slugs import repository_key, safe_name
from jupyterhub_binder.store import Store

_WAITING_QUESTIONS = 100


@dataclass(frozen=True, slots=True)
class Preview:
    """What would be built of a link, found out without building anything."""

    link: Link
    resolved: Resolved
    commit: Commit | None
    recipe: Recipe
    assessment: Assessment
    findings: tuple[Finding, ...]
    """Of the recipe and of the backend, together."""
    built: bool
    """Whether the image is there already."""
    expected_seconds: float | None
    earlier_builds: int
    """How many earlier builds of the repository the expectation rests on."""
    suggested_name: str
    directory: str
    content_url: str = ""
    """Where git fetches the person's files, if that is not `resolved`."""
    content_ref: str = ""
    kept: Environment | None = None
    """The person's own environment of the same repository, ref and files, the one used last."""


class Previews(LoggingConfigurable):
    """Asks hosts and backend about links, for the people of a hub."""

    max_questions_per_user = Integer(
        4,
        min=1,
        help="""For how many repositories at once one person may have hosts asked; others wait.

        So that nobody who asks for many large or slow ones holds up everybody.
        """,
    ).tag(config=True)

    def __init__(
        self,
        *,
        store: Store,
        providers: Providers,
        fetcher: Fetcher,
        backend: BuildBackend,
        builds: Builds,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.providers = providers
        self._store = store
        self._fetcher = fetcher
        self._backend = backend
        self._builds = builds
        self._rules = builds.command.rules
        self._turns: Turns[str] = Turns(self.max_questions_per_user, waiting=_WAITING_QUESTIONS)

    async def preview(self, user: User, link: Link) -> Preview:
        """Find out what would be built of a link. Raises what providers and fetch raise."""
        async with self._asking(user):
            link, resolved = await self._resolve(user, link)
            commit, recipe = await self._peek(resolved)
            assessment = await asyncio.to_thread(self._backend.assess, recipe, {})
        repository = repository_key(resolved.spec)
        source = await self.resolve_content(user, link, resolved.clone_url)
        content_url, content_ref = (source.clone_url, source.spec.ref) if source else ("", "")
        return Preview(
            link=link,
            resolved=resolved,
            commit=commit,
            recipe=recipe,
            assessment=assessment,
            findings=_distinct(recipe.findings + assessment.findings),
            built=await self._builds.is_built(resolved, {}),
            expected_seconds=await self._builds.earlier.expected_seconds(repository),
            earlier_builds=len(await self._builds.earlier.durations(repository)),
            suggested_name=resolved.default_name,
            directory=await self._store.find_directory(
                user.name, repository, DirectoryNames(source or resolved), content_url=content_url
            ),
            content_url=content_url,
            content_ref=content_ref,
            kept=await self._store.find_environment(
                user.name, resolved.spec, content_url=content_url, content_ref=content_ref
            ),
        )

    async def _peek(self, resolved: Resolved) -> tuple[Commit | None, Recipe]:
        """Look at the configuration files, without fetching all of the repository.

        A backend that fetches for itself may reach what this service does not: then nothing is
        known, and that is no reason against a build.
        """
        try:
            async with self._fetcher.peek(resolved) as peek:
                return peek.commit, await asyncio.to_thread(read_recipe, peek.path)
        except BinderError as error:
            if self._backend.needs_checkout:
                raise
            self.log.info("The recipe of %s is not known: %s", resolved.label, error.message)
            return None, Recipe()

    @asynccontextmanager
    async def _asking(self, user: User) -> AsyncIterator[None]:
        """Hold one of a person's turns to ask hosts. Raises LimitReached."""
        try:
            async with self._turns.take(user.name):
                yield
        except Full:
            raise LimitReached(
                "You are asking for too many repositories at once. Wait for the answers.",
                detail={"limit": self.max_questions_per_user + _WAITING_QUESTIONS},
            ) from None

    async def resolve(self, user: User, link: Link) -> tuple[Link, Resolved]:
        """Resolve a link, its ref and path told apart. Raises what rules and providers raise."""
        async with self._asking(user):
            return await self._resolve(user, link)

    async def resolve_now(self, user: User, spec: Spec) -> Resolved:
        """Ask what a spec is at this very moment. Raises as `resolve`."""
        async with self._asking(user):
            return await self.providers.resolve(spec, fresh=True)

    async def _resolve(self, user: User, link: Link) -> tuple[Link, Resolved]:
        """Resolve a link; hosts of refused repositories are not even asked."""
        self._rules.require(user, link.spec)
        link, resolved = await self.providers.resolve_link(link)
        self._rules.require(user, resolved)
        return link, resolved

    async def resolve_content(self, user: User, link: Link, own: str) -> Resolved | None:
        """Return where a person's files come from; None where it is the environment's own.

        Raises InvalidInput for what git does not fetch, and what providers raise.
        """
        if not link.content_url:
            return None
        found = self.providers.understand(link.content_url)
        if not self.providers[found.spec.provider].takes_ref:
            raise InvalidInput("Files can be brought from git repositories only.")
        if link.content_ref:
            found = self.providers.at_ref(found, link.content_ref)
        _, resolved = await self.resolve(user, found)
        same = resolved.clone_url == own and resolved.spec.ref == link.spec.ref
        return None if same else resolved


@dataclass(frozen=True, slots=True)
class DirectoryNames:
    """Names for the folder of a repository's files, the best first, without an end."""

    resolved: Resolved

    def __iter__(self) -> Iterator[str]:
        """Begin anew, so that a transaction can."""
        plain = safe_name(self.resolved.default_name)
        yield plain
        yield safe_name(self.resolved.label.partition("/")[2] or self.resolved.label)
        yield from (f"{plain}-{number}" for number in count(2))


def _distinct(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    return tuple(dict.fromkeys(findings))
