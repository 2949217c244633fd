"""The enabled providers, and a shared cache of their answers.

Concurrent identical requests share one answer.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property, lru_cache
from importlib.metadata import entry_points
from typing import Any

from traitlets import Float, Integer, List, Unicode
from traitlets.config import LoggingConfigurable

from jupyterhub_binder.errors import (
    ConfigurationError,
    NotAllowed,
    NotUnderstood,
    RepositoryNotFound,
    UnresolvableRef,
)
from jupyterhub_binder.model import PUBLISHED_IMAGES, Link, RefKind, Resolved, Spec
from jupyterhub_binder.repositories.git import Git
from jupyterhub_binder.repositories.identity import (
    BANNED,
    NOT_ON_LIST,
    matches,
    means,
    names_of,
    pattern_of,
)
from jupyterhub_binder.repositories.links import understand as links
from jupyterhub_binder.repositories.providers.base import RepoProvider
from jupyterhub_binder.repositories.providers.git import GitHostProvider
from jupyterhub_binder.repositories.providers.records import LeadsElsewhere, RecordProvider
from jupyterhub_binder.repositories.records.checkout import Listing
from jupyterhub_binder.repositories.records.download import Downloads
from jupyterhub_binder.repositories.urls import host_matches, parse_remote
from jupyterhub_binder.utils.concurrency import SingleFlight

__all__ = ["Providers", "RepoProvider"]

RECORDS = ("zenodo", "figshare", "hydroshare", "dataverse", "ckan")
"""Providers of published records."""

_MAX_UNDERSTOOD = 1_000
"""Each text has up to 2,000 characters."""

GROUP = "jupyterhub_binder.providers"
"""Entry points for other packages' providers."""


def loadable_providers() -> Iterator[type[RepoProvider]]:
    """Yield the installed providers that can be imported."""
    for point in entry_points(group=GROUP):
        with suppress(ImportError):
            yield point.load()


class Providers(LoggingConfigurable):
    """The repository providers of this hub, by prefix."""

    enabled = List(
        Unicode(),
        ["gh", "gl", "gist", "git", *RECORDS, PUBLISHED_IMAGES],
        help="""
        Prefixes of the providers to offer, in the order in which the pages show them. Packages can
        add more with the entry points `jupyterhub_binder.providers`.
        """,
    ).tag(config=True)
    resolve_cache_seconds = Float(
        60,
        min=0,
        help="""
        How long the commit of a branch is cached, in seconds. 0: ask the host each time. A person
        who builds again always gets a fresh answer. Default: 60.
        """,
    ).tag(config=True)
    resolve_cache_size = Integer(
        1000,
        min=1,
        help="Maximum number of cached answers; the oldest are removed first. Default: 1000.",
    ).tag(config=True)

    public_hosts = List(
        Unicode(),
        help="""
        Hosts with a token that opens public repositories only, such as `github.com` with a token
        for higher rate limits. Usage names no repository of a host with a token, because it may be
        private, unless the host is here. Default: none.
        """,
    ).tag(config=True)

    def __init__(
        self,
        *,
        git: Git,
        buildable: Callable[[], Collection[str] | None] = lambda: None,
        containers: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.git = git
        self.downloads = Downloads(parent=self, git=git)
        self.buildable = buildable
        """The backend's prefixes; None for any."""
        self.containers = containers
        """Whether the backend makes container images."""
        self._flights: SingleFlight[Spec | Link, Resolved] = SingleFlight()
        # Clients often send the same repository, and reading it is pure.
        self._understand = lru_cache(_MAX_UNDERSTOOD)(links.understand)
        self._parse_at_ref = lru_cache(_MAX_UNDERSTOOD)(_parse_at_ref)
        self._answers: OrderedDict[Spec | Link, tuple[float, Resolved]] = OrderedDict()

    @cached_property
    def _providers(self) -> dict[str, RepoProvider]:
        found = {point.name: point for point in entry_points(group=GROUP)}
        unknown = [prefix for prefix in self.enabled if prefix not in found]
        if unknown:
            raise ConfigurationError(
                f"Providers.enabled contains {', '.join(unknown)}. The available providers "
                f"are {', '.join(sorted(found))}."
            )
        ours = {"parent": self, "git": self.git, "downloads": self.downloads}
        return {prefix: found[prefix].load()(**ours) for prefix in self.enabled}

    async def start(self) -> None:
        """Load the providers. Raises ConfigurationError."""
        await self.git.start()
        self.log.info("Repositories from: %s", ", ".join(self._providers))

    async def stop(self) -> None:
        """Clear the cache and close connections. Idempotent."""
        self._answers.clear()
        await self.downloads.close()

    def __getitem__(self, prefix: str) -> RepoProvider:
        """Return a prefix's provider. Raises NotUnderstood."""
        try:
            return self._providers[prefix]
        except KeyError:
            known = ", ".join(self._providers)
            raise NotUnderstood(
                "This hub has no provider '%(prefix)s'. It has %(known)s.",
                prefix=prefix[:40],
                known=known,
            ) from None

    @property
    def hosts(self) -> Mapping[str, str]:
        """Prefix to host; "" for `git`, the prefix itself without `hostname`."""
        found = {prefix: getattr(p, "hostname", prefix) for prefix, p in self._providers.items()}
        return {**found, "git": ""}

    def __iter__(self) -> Iterator[RepoProvider]:
        """Yield the providers that the backend can build from."""
        buildable = self.buildable()
        every = [p for p in self._providers.values() if self.containers or not p.needs_containers]
        return iter([p for p in every if buildable is None or p.prefix in buildable])

    def understand(self, text: str) -> Link:
        """Understand pasted text. Raises NotUnderstood."""
        return self._understand(text, tuple(self))

    def parse_spec(self, prefix: str, text: str) -> Spec:
        """Read a BinderHub spec. Raises NotUnderstood."""
        return self[prefix].parse_spec(text)

    def at_ref(self, link: Link, ref: str) -> Link:
        """Return a link at another ref. Raises NotUnderstood.

        The ref also separates ref and path.
        """
        provider = self[link.spec.provider]
        if not provider.takes_ref:
            if ref.strip() in ("", provider.default_ref, link.spec.ref):
                return link
            raise NotUnderstood(
                "%(provider)s has no branches or tags. Leave the ref out, and paste the address "
                "of the version that you want.",
                provider=provider.display_name,
            )
        return self._parse_at_ref(provider, link, ref)

    async def resolve(self, spec: Spec, *, fresh: bool = False) -> Resolved:
        """Resolve a spec, from the cache unless `fresh`.

        Raises UnresolvableRef, RepositoryNotFound, NotAllowed, NotUnderstood or
        UpstreamUnavailable.
        """
        provider = self._offered(spec.provider)
        self.check(spec)
        resolved = await self._ask(spec, fresh, lambda: provider.fetch_resolved(spec))
        self.check(spec, resolved)
        return resolved

    async def require_served(self, resolved: Resolved) -> None:
        """Ask the host whether it still serves the repository. Raises as `resolve`.

        Resolving a commit's full SHA asks nobody.
        """
        if resolved.ref_kind is RefKind.COMMIT:
            with suppress(UnresolvableRef):  # served, but without a default branch
                await self.resolve(
                    replace(resolved.spec, ref=self[resolved.spec.provider].default_ref)
                )

    async def resolve_link(self, link: Link, *, fresh: bool = False) -> tuple[Link, Resolved]:
        """Resolve a link; the longest existing ref wins. Raises as `resolve`."""
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
            # The page, not the DOI, tells the kind of archive.
            there = self.understand(elsewhere.url)
            if there.spec.provider in (link.spec.provider, "git"):
                raise
        link = replace(link, spec=there.spec, path=link.path or there.path, tail=there.tail)
        return await self.resolve_link(link, fresh=fresh)

    # --- Which repositories may be built --------------------------------------------------------

    def identities(self, spec: Spec, *urls: str) -> frozenset[str]:
        """Return all names for allow and ban lists. Pure."""
        provider = self._providers.get(spec.provider)  # None if it is disabled
        known = provider.identities(spec) if provider else ()
        return names_of(spec, *urls, hosts=self.hosts).union(known)

    def check(self, spec: Spec, resolved: Resolved | None = None) -> None:
        """Raise NotAllowed if the configuration excludes the repository."""
        choosy = [each for each in self._providers.values() if each.banned or each.allowed]
        urls = (resolved.clone_url, resolved.repo_url) if resolved else ()
        names = self.identities(spec, *urls) if choosy else frozenset()
        for provider in choosy:
            if self._are_meant(names, provider.banned):
                raise NotAllowed(
                    "This hub does not allow that repository. Ask an administrator to allow it.",
                    code=BANNED,
                )
            mine = provider.prefix == spec.provider or matches(names, provider.owned_hosts())
            if provider.allowed and mine and not self._are_meant(names, provider.allowed):
                raise NotAllowed(
                    "This hub builds only selected repositories, and this is not one of "
                    "them. Ask an administrator to add it.",
                    code=NOT_ON_LIST,
                )

    def is_public(self, urls: Sequence[str]) -> bool:
        """Whether anybody can read a repository with these URLs, by the configuration. Pure.

        No for a host with a token or with a private address.
        """
        return all(map(self._is_public, urls))

    def _is_public(self, url: str) -> bool:
        try:
            remote = parse_remote(url)
        except NotUnderstood:
            return False
        if remote.scheme not in ("https", "http"):
            return False
        if host_matches(remote, self.git.private_hosts):
            return False
        tokens = {host for provider in self._providers.values() for host in provider.tokens}
        return host_matches(remote, self.public_hosts) or not host_matches(remote, tuple(tokens))

    def _are_meant(self, names: Collection[str], patterns: Iterable[str]) -> bool:
        hosts = self.hosts
        return any(means(pattern_of(pattern, hosts), names) for pattern in patterns)

    # --- Files of a record ----------------------------------------------------------------------

    def is_archive(self, resolved: Resolved) -> bool:
        """Tell a published record from a Git repository."""
        return isinstance(self._providers.get(resolved.spec.provider), RecordProvider)

    async def fetch_listing(self, resolved: Resolved) -> Listing:
        """List files. Raises as `resolve`, or FetchFailed."""
        provider = self[resolved.spec.provider]
        if not isinstance(provider, RecordProvider):
            raise NotUnderstood(
                "%(provider)s does not publish records.", provider=provider.display_name
            )
        return await provider.fetch_listing(resolved)

    async def fetch_is_public(self, spec: Spec, *, clone_url: str, repo_url: str) -> bool:
        """Say whether anybody on the internet can read a repository now: asks without our tokens.

        The configuration alone decides about records: see `is_public`.
        Raises UpstreamUnavailable if the host does not answer.
        """
        provider = self._providers.get(spec.provider)
        if provider is None or not isinstance(provider, GitHostProvider | RecordProvider):
            return False
        if isinstance(provider, GitHostProvider):
            return await self.git.fetch_is_public(clone_url)
        try:
            if not self.is_public([url for url in (clone_url, repo_url) if url]):
                return False
            await provider.fetch_resolved(spec)
        except (NotAllowed, NotUnderstood, RepositoryNotFound, UnresolvableRef):
            return False
        return True

    def _offered(self, prefix: str) -> RepoProvider:
        provider = self[prefix]
        if provider not in self:
            raise NotUnderstood(
                "This hub does not accept links of the type “%(kind)s” at the moment. It "
                "accepts %(known)s.",
                kind=provider.display_name,
                known=", ".join(each.display_name for each in self),
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
