"""Previews: what a link means and what it would build.

Never asks the hosts of refused repositories.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

from traitlets import Integer
from traitlets.config import LoggingConfigurable

from jupyterhub_binder.admin.rules import Rules
from jupyterhub_binder.backends.base import BuildBackend, Choice
from jupyterhub_binder.builds.history import BuildHistory
from jupyterhub_binder.builds.service import Builds
from jupyterhub_binder.errors import BinderError, InvalidInput, LimitReached
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
    repository_key,
)
from jupyterhub_binder.repositories.fetcher import Fetcher
from jupyterhub_binder.repositories.providers.registry import Providers
from jupyterhub_binder.store import Store
from jupyterhub_binder.utils.concurrency import Full, Turns
from jupyterhub_binder.utils.names import safe_name

_WAITING_QUESTIONS = 100


@dataclass(frozen=True, slots=True)
class BackendWay:
    """A backend that can make the environment."""

    backend: BuildBackend
    expected_seconds: float | None


@dataclass(frozen=True, slots=True)
class Preview:
    """What a link would build."""

    link: Link
    resolved: Resolved
    commit: Commit | None
    recipe: Recipe
    assessment: Assessment
    choice: Choice
    """Which backend makes it, and why."""
    ways: tuple[BackendWay, ...]
    """All backends that can, if a person can choose; otherwise empty."""
    findings: tuple[Finding, ...]
    built: bool
    expected_seconds: float | None
    earlier_builds: int
    suggested_name: str
    directory: str
    content_url: str = ""
    content_ref: str = ""
    kept: Environment | None = None
    """The user's most recent one of the same repository, ref and files."""


class Previews(LoggingConfigurable):
    """Previews links, with a limit per user."""

    max_questions_per_user = Integer(
        4,
        min=1,
        help="""How many repositories one person can look up at the same time. Default: 4.

        Further requests wait. This keeps one person's large or slow repositories from delaying
        everyone else.
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
        history: BuildHistory,
        rules: Rules,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._providers = providers
        self._store = store
        self._fetcher = fetcher
        self._backend = backend
        self._builds = builds
        self._history = history
        self._rules = rules
        self._turns: Turns[str] = Turns(self.max_questions_per_user, waiting=_WAITING_QUESTIONS)

    async def preview(self, user: User, link: Link) -> Preview:
        """Return a preview. Raises the errors of providers and fetch."""
        async with self._asking(user):
            link, resolved = await self._resolve(user, link)
            commit, recipe = await self._peek(resolved)
            choice = await asyncio.to_thread(
                self._backend.choose, recipe, {}, resolved.spec.provider
            )
        recipe = recipe or Recipe()
        repository = repository_key(resolved.spec)
        maker = choice.backend.name
        source = await self.resolve_content(user, link, resolved.clone_url)
        content_url, content_ref = (source.clone_url, source.follow) if source else ("", "")
        return Preview(
            link=link,
            resolved=resolved,
            commit=commit,
            recipe=recipe,
            assessment=choice.assessment,
            choice=choice,
            ways=tuple([await self._way(each, repository) for each in choice.possible]),
            findings=_distinct(recipe.findings + choice.assessment.findings),
            built=await self._builds.is_built(resolved, {}),
            expected_seconds=await self._history.expected_seconds(repository, maker),
            earlier_builds=len(await self._history.durations(repository, maker)),
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

    async def require_choice(self, user: User, spec: Spec, options: Mapping[str, Any]) -> None:
        """Raise InvalidInput if the backend that the options choose can't serve the newest commit."""
        async with self._asking(user):
            _, resolved = await self._resolve(user, Link(spec))
            _, recipe = await self._peek(resolved)
            choice = await asyncio.to_thread(self._backend.choose, recipe, options, spec.provider)
        if problems := choice.assessment.problems:
            raise InvalidInput(problems[0].message)

    async def _way(self, backend: BuildBackend, repository: str) -> BackendWay:
        return BackendWay(backend, await self._history.expected_seconds(repository, backend.name))

    async def _peek(self, resolved: Resolved) -> tuple[Commit | None, Recipe | None]:
        """Read the configuration files without a full fetch.

        Returns nothing if only the backend can reach the host.
        """
        try:
            async with self._fetcher.peek(resolved) as peek:
                read = self._fetcher.read_recipe
                return peek.commit, await asyncio.to_thread(read, peek.path, resolved)
        except BinderError as error:
            if all(maker.needs_checkout for maker in self._backend.makers):
                raise
            self.log.info(
                "Can't read the configuration files of %s: %s", resolved.label, error.message
            )
            return None, None

    @asynccontextmanager
    async def _asking(self, user: User) -> AsyncIterator[None]:
        """Hold one of the user's turns. Raises LimitReached."""
        try:
            async with self._turns.take(user.name):
                yield
        except Full:
            raise LimitReached(
                "You have too many requests under way. Wait for them to finish.",
                detail={"limit": self.max_questions_per_user + _WAITING_QUESTIONS},
            ) from None

    async def resolve(self, user: User, link: Link) -> tuple[Link, Resolved]:
        """Separate ref and path, and resolve. Raises the errors of rules and providers."""
        async with self._asking(user):
            return await self._resolve(user, link)

    async def resolve_now(self, user: User, spec: Spec) -> Resolved:
        """Resolve a spec without a cache. Raises as `resolve`."""
        async with self._asking(user):
            return await self._providers.resolve(spec, fresh=True)

    async def _resolve(self, user: User, link: Link) -> tuple[Link, Resolved]:
        self._rules.require(user, link.spec)
        link, resolved = await self._providers.resolve_link(link)
        self._rules.require(user, resolved)
        return link, resolved

    async def resolve_content(self, user: User, link: Link, own: str) -> Resolved | None:
        """Return where the files come from; None for the environment's own.

        Raises InvalidInput if git cannot fetch them.
        """
        if not link.content_url:
            return None
        found = self._providers.understand(link.content_url)
        if not self._providers[found.spec.provider].takes_ref:
            raise InvalidInput("Files can come only from Git repositories.")
        if link.content_ref:
            found = self._providers.at_ref(found, link.content_ref)
        _, resolved = await self.resolve(user, found)
        same = resolved.clone_url == own and resolved.spec.ref == link.spec.ref
        return None if same else resolved


@dataclass(frozen=True, slots=True)
class DirectoryNames:
    """Endless folder names, best first."""

    resolved: Resolved

    def __iter__(self) -> Iterator[str]:
        """Start again, for a repeated transaction."""
        plain = safe_name(self.resolved.default_name)
        yield plain
        yield safe_name(self.resolved.label.partition("/")[2] or self.resolved.label)
        yield from (f"{plain}-{number}" for number in count(2))


def _distinct(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    return tuple(dict.fromkeys(findings))
