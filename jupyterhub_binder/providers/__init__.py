"""The providers that are switched on, and one memory for their answers.

Owns which providers there are, what a pasted text means to them, and that the same question
is asked once however many people wait. What a host is asked is each provider's own.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property, lru_cache
from importlib.metadata import entry_points
from typing import Any

from traitlets import Float, Integer, List, Unicode
from traitlets.config import LoggingConfigurable

from jupyterhub_binder.aio import SingleFlight
from jupyterhub_binder.archive import Listing
from jupyterhub_binder.download import Downloads
from jupyterhub_binder.errors import ConfigurationError, NotAllowed, NotUnderstood
from jupyterhub_binder.git import Git
from jupyterhub_binder.model import Link, Resolved, Spec
from jupyterhub_binder.providers import links
from jupyterhub_binder.providers.base import RepoProvider
from jupyterhub_binder.providers.identity import (
    BANNED,
    NOT_ON_LIST,
    matches,
    means,
    names_of,
    pattern_of,
)
from jupyterhub_binder.providers.records import LeadsElsewhere, RecordProvider

__all__ = ["Providers", "RepoProvider"]

RECORDS = ("zenodo", "figshare", "hydroshare", "dataverse", "ckan")
"""The providers of published records, which have versions rather than branches."""

_MOST_UNDERSTOOD = 1_000
"""Pasted texts whose meaning is remembered; each has 2,000 characters at most."""

GROUP = "jupyterhub_binder.providers"
"""The entry points by which a package brings a provider of its own."""


class Providers(LoggingConfigurable):
    """The repository providers of this hub, by prefix."""

    enabled = List(
        Unicode(),
        ["gh", "gl", "gist", "git", *RECORDS],
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

    def __init__(
        self,
        *,
        git: Git,
        buildable: Callable[[], Collection[str] | None] = lambda: None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.git = git
        self.downloads = Downloads(parent=self, git=git)
        self.buildable = buildable
        """Says which prefixes the backend can build from now; None for any."""
        self._flights: SingleFlight[Spec | Link, Resolved] = SingleFlight()
        # Programs ask for the same repository over and over, and reading it is pure.
        self._understand = lru_cache(_MOST_UNDERSTOOD)(links.understand)
        self._parse_at_ref = lru_cache(_MOST_UNDERSTOOD)(_parse_at_ref)
        self._answers: OrderedDict[Spec | Link, tuple[float, Resolved]] = OrderedDict()

    @cached_property
    def _providers(self) -> dict[str, RepoProvider]:
        found = {point.name: point for point in entry_points(group=GROUP)}
        unknown = [prefix for prefix in self.enabled if prefix not in found]
        if unknown:
            raise ConfigurationError(
                f"Providers.enabled names {', '.join(unknown)}; there are {', '.join(sorted(found))}."
            )
        ours = {"parent": self, "git": self.git, "downloads": self.downloads}
        return {prefix: found[prefix].load()(**ours) for prefix in self.enabled}

    async def start(self) -> None:
        """Load the providers. Raises ConfigurationError for one, or a git, that is not there."""
        await self.git.start()
        self.log.info("Repositories from: %s", ", ".join(self._providers))

    async def stop(self) -> None:
        """Forget all answers, close all connections; may be called twice."""
        self._answers.clear()
        await self.downloads.close()

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
        return self._understand(text, tuple(self))

    def parse_spec(self, prefix: str, text: str) -> Spec:
        """Read BinderHub's spec of one provider. Raises NotUnderstood."""
        return self[prefix].parse_spec(text)

    def at_ref(self, link: Link, ref: str) -> Link:
        """Return a link at another ref, checked as if it had been typed in full.

        Where ref and path run together the ref tells them apart. Raises NotUnderstood.
        """
        provider = self[link.spec.provider]
        if not provider.takes_ref:
            if ref.strip() in ("", provider.default_ref, link.spec.ref):
                return link
            raise NotUnderstood(
                f"{provider.display_name} has no branches or tags: leave the ref out, and paste "
                "the address of the version that you want."
            )
        return self._parse_at_ref(provider, link, ref)

    async def resolve(self, spec: Spec, *, fresh: bool = False) -> Resolved:
        """Return what a spec is now, or was a moment ago; `fresh` asks the host in any case.

        Raises UnresolvableRef, RepositoryNotFound, NotAllowed, NotUnderstood or
        UpstreamUnavailable.
        """
        provider = self._offered(spec.provider)
        self.check(spec)
        resolved = await self._ask(spec, fresh, lambda: provider.fetch_resolved(spec))
        self.check(spec, resolved)
        return resolved

    async def resolve_link(self, link: Link, *, fresh: bool = False) -> tuple[Link, Resolved]:
        """Resolve a link; where ref and path run together the longest ref that exists wins.

        Returns the link with ref and path told apart. Raises as `resolve`.
        """
        if not link.tail:
            return await self._resolve_settled(link, fresh=fresh)
        provider = self._offered(link.spec.provider)
        self.check(link.spec)
        readings = {reading.spec: reading for reading in links.candidates(link)}
        resolved = await self._ask(link, fresh, lambda: provider.fetch_first(list(readings)))
        return replace(readings[resolved.spec], tail=""), resolved

    async def _resolve_settled(self, link: Link, *, fresh: bool) -> tuple[Link, Resolved]:
        try:
            return link, await self.resolve(link.spec, fresh=fresh)
        except LeadsElsewhere as elsewhere:
            # A DOI does not say what kind of archive it is of: its page does.
            there = self.understand(elsewhere.url)
            if there.spec.provider in (link.spec.provider, "git"):
                raise
        link = replace(link, spec=there.spec, path=link.path or there.path, tail=there.tail)
        return await self.resolve_link(link, fresh=fresh)

    # --- Which repositories may be built --------------------------------------------------------

    def identities(self, spec: Spec, *urls: str) -> frozenset[str]:
        """Return all that a repository is matched on in lists that ban and allow. Pure.

        More is known once it is resolved: `urls` are the addresses that it was found at.
        """
        provider = self._providers.get(spec.provider)  # None for one that is no longer enabled
        known = provider.identities(spec) if provider else ()
        return names_of(spec, *urls, hosts=self.hosts).union(known)

    def check(self, spec: Spec, resolved: Resolved | None = None) -> None:
        """Raise NotAllowed for a repository that the providers' configuration rules out."""
        choosy = [each for each in self._providers.values() if each.banned or each.allowed]
        urls = (resolved.clone_url, resolved.repo_url) if resolved else ()
        names = self.identities(spec, *urls) if choosy else frozenset()
        for provider in choosy:
            if self._are_meant(names, provider.banned):
                raise NotAllowed("This hub does not build that repository.", code=BANNED)
            mine = provider.prefix == spec.provider or matches(names, provider.owned_hosts())
            if provider.allowed and mine and not self._are_meant(names, provider.allowed):
                raise NotAllowed(
                    "This hub builds chosen repositories only, and that is none of them.",
                    code=NOT_ON_LIST,
                )

    def _are_meant(self, names: Collection[str], patterns: Iterable[str]) -> bool:
        hosts = self.hosts
        return any(means(pattern_of(pattern, hosts), names) for pattern in patterns)

    # --- What a record consists of --------------------------------------------------------------

    def is_archive(self, resolved: Resolved) -> bool:
        """Say whether it is a record with files, rather than a git repository."""
        return isinstance(self._providers.get(resolved.spec.provider), RecordProvider)

    async def fetch_listing(self, resolved: Resolved) -> Listing:
        """Ask which files a record has at its resolved_ref. Raises as `resolve`, or FetchFailed."""
        provider = self[resolved.spec.provider]
        if not isinstance(provider, RecordProvider):
            raise NotUnderstood(f"{provider.display_name} has no records.")
        return await provider.fetch_listing(resolved)

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


def _parse_at_ref(provider: RepoProvider, link: Link, ref: str) -> Link:
    spec = provider.parse_spec(provider.format_spec(replace(link.spec, ref=ref)))
    readings = links.candidates(link) if link.tail else []
    path = next((reading.path for reading in readings if reading.spec == spec), link.path)
    return replace(link, spec=spec, path=path, tail="")
