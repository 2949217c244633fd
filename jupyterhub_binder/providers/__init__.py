"""The providers that are switched on, and one memory for their answers.

Owns which providers there are, what a pasted text means to them, and that the same question
is asked once however many people wait. What a host is asked is each provider's own.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from importlib.metadata import entry_points
from typing import Any

from traitlets import Float, Integer, List, Unicode
from traitlets.config import LoggingConfigurable

from jupyterhub_binder.aio import SingleFlight
from jupyterhub_binder.errors import ConfigurationError, NotUnderstood
from jupyterhub_binder.git import Git
from jupyterhub_binder.model import Link, Resolved, Spec
from jupyterhub_binder.providers import links
from jupyterhub_binder.providers.base import RepoProvider

__all__ = ["Providers", "RepoProvider"]

GROUP = "jupyterhub_binder.providers"
"""The entry points by which a package brings a provider of its own."""


class Providers(LoggingConfigurable):
    """The repository providers of this hub, by prefix."""

    enabled = List(
        Unicode(),
        ["gh", "gl", "gist", "git"],
        help="""
        Prefixes of the providers to offer, in the order in which pages show them. A package may
        bring more under the entry points ``jupyterhub_binder.providers``.
        """,
    ).tag(config=True)
    resolve_cache_seconds = Float(
        60,
        min=0,
        help="""
        Seconds for which the answer to "what is this branch now?" is kept; 0 asks each time.
        A person who asks to build again always gets a fresh answer.
        """,
    ).tag(config=True)
    resolve_cache_size = Integer(
        1000, min=1, help="How many such answers are kept; the oldest go first."
    ).tag(config=True)

    def __init__(self, *, git: Git, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.git = git
        self.buildable: Callable[[], Collection[str] | None] = lambda: None
        """Says which prefixes the backend can build from now; None for any. `app` sets it."""
        self._flights: SingleFlight[Spec | Link, Resolved] = SingleFlight()
        self._answers: OrderedDict[Spec | Link, tuple[float, Resolved]] = OrderedDict()

    @cached_property
    def _providers(self) -> dict[str, RepoProvider]:
        found = {point.name: point for point in entry_points(group=GROUP)}
        unknown = [prefix for prefix in self.enabled if prefix not in found]
        if unknown:
            raise ConfigurationError(
                f"Providers.enabled names {', '.join(unknown)}; there are {', '.join(sorted(found))}."
            )
        return {p: found[p].load()(parent=self, git=self.git) for p in self.enabled}

    async def start(self) -> None:
        """Load the providers. Raises ConfigurationError for one, or a git, that is not there."""
        await self.git.start()
        self.log.info("Repositories from: %s", ", ".join(self._providers))

    async def stop(self) -> None:
        """Forget all answers; may be called twice."""
        self._answers.clear()

    def __getitem__(self, prefix: str) -> RepoProvider:
        """Return the provider of a prefix. Raises NotUnderstood, which lists those there are."""
        try:
            return self._providers[prefix]
        except KeyError:
            known = ", ".join(self._providers)
            raise NotUnderstood(
                f"There is no provider {prefix[:40]!r}: this hub has {known}."
            ) from None

    @property
    def hosts(self) -> Mapping[str, str]:
        """Return by prefix where a provider's repositories are: a host, nothing for `git`.

        One whose repositories are known by other names has its prefix in place of a host.
        """
        found = {prefix: getattr(p, "hostname", prefix) for prefix, p in self._providers.items()}
        return {**found, "git": ""}

    def __iter__(self) -> Iterator[RepoProvider]:
        """Return the providers to offer: those enabled that the backend can build from."""
        buildable = self.buildable()
        every = self._providers.values()
        return iter([p for p in every if buildable is None or p.prefix in buildable])

    def understand(self, text: str) -> Link:
        """Return what a pasted text means. Raises NotUnderstood."""
        return links.understand(text, self)

    def parse_spec(self, prefix: str, text: str) -> Spec:
        """Read BinderHub's spec of one provider. Raises NotUnderstood."""
        return self[prefix].parse_spec(text)

    def at_ref(self, link: Link, ref: str) -> Link:
        """Return a link at another ref, checked as if it had been typed in full.

        Where ref and path run together the ref tells them apart. Raises NotUnderstood.
        """
        provider = self[link.spec.provider]
        spec = provider.parse_spec(provider.format_spec(replace(link.spec, ref=ref)))
        readings = links.candidates(link) if link.tail else []
        path = next((reading.path for reading in readings if reading.spec == spec), link.path)
        return replace(link, spec=spec, path=path, tail="")

    async def resolve(self, spec: Spec, *, fresh: bool = False) -> Resolved:
        """Return what a spec is now, or was a moment ago; `fresh` asks the host in any case.

        Raises UnresolvableRef, RepositoryNotFound, NotAllowed, NotUnderstood or
        UpstreamUnavailable.
        """
        provider = self._offered(spec.provider)
        return await self._ask(spec, fresh, lambda: provider.fetch_resolved(spec))

    async def resolve_link(self, link: Link, *, fresh: bool = False) -> tuple[Link, Resolved]:
        """Resolve a link; where ref and path run together the longest ref that exists wins.

        Returns the link with ref and path told apart. Raises as `resolve`.
        """
        if not link.tail:
            return link, await self.resolve(link.spec, fresh=fresh)
        provider = self._offered(link.spec.provider)
        readings = {reading.spec: reading for reading in links.candidates(link)}
        resolved = await self._ask(link, fresh, lambda: provider.fetch_first(list(readings)))
        return replace(readings[resolved.spec], tail=""), resolved

    def _offered(self, prefix: str) -> RepoProvider:
        provider = self[prefix]
        if provider not in self:
            raise NotUnderstood(
                f"This hub builds no repositories of the kind “{provider.display_name}” at the "
                f"moment: it has {', '.join(each.display_name for each in self)}."
            )
        return provider

    async def _ask(
        self, question: Spec | Link, fresh: bool, ask: Callable[[], Awaitable[Resolved]]
    ) -> Resolved:
        expires, answer = self._answers.get(question, (0.0, None))
        if answer is not None and not fresh and time.monotonic() < expires:
            return answer
        answer = await self._flights.do(question, ask)
        self._answers[question] = (time.monotonic() + self.resolve_cache_seconds, answer)
        self._answers.move_to_end(question)
        while len(self._answers) > self.resolve_cache_size:
            self._answers.popitem(last=False)
        return answer
