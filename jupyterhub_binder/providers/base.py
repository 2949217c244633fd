"""The contract of a repository provider: one kind of host, from pasted URL to what is fetched."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from traitlets import Dict, Instance, List, Unicode
from traitlets.config import LoggingConfigurable

from jupyterhub_binder.download import Downloads
from jupyterhub_binder.errors import UnresolvableRef
from jupyterhub_binder.git import Git
from jupyterhub_binder.model import Link, Resolved, Spec


class RepoProvider(LoggingConfigurable):
    """Knows one kind of host. Only what is named `fetch_` goes out; all else is pure."""

    git = Instance(Git, help="The git commands that a provider asks hosts with.")

    downloads = Instance(
        Downloads, allow_none=True, help="What a provider of published records asks with."
    )

    allowed = List(
        Unicode(),
        help="""
        Repositories of this kind that may be built, and no others, such as
        ``github.com/our-org/*``; empty for all. Written in any way: upper case, ``.git`` and
        percent escapes make no difference, ``*`` is any text, and what lies below is meant too.
        It holds for the same repositories if they come by another provider.
        """,
    ).tag(config=True)
    banned = List(
        Unicode(),
        help="""
        Repositories that are never built, written as in `allowed`, such as
        ``github.com/spam/*`` or ``10.5281/zenodo.123``. It holds whichever provider they come by.
        """,
    ).tag(config=True)
    tokens = Dict(
        key_trait=Unicode(),
        value_trait=Unicode(),
        help="""
        Tokens by host, such as ``{"github.com": os.environ["GITHUB_TOKEN"]}``: they raise the
        limits of a host, or open what is private. A token is sent to that host alone, by https
        alone, and never shown or logged. Whoever may build on this hub may build, and read,
        whatever it opens: give it the least rights, and narrow it with `allowed`.
        """,
    ).tag(config=True)

    prefix: ClassVar[str]
    """BinderHub's: ``gh``, ``gl``, ``gist``, ``git``, ``zenodo`` and so on."""
    display_name: ClassVar[str]
    placeholder: ClassVar[str]
    """An example of what a person may type, for forms."""
    default_ref: ClassVar[str] = "HEAD"
    takes_ref: ClassVar[bool] = True
    """Whether a person may name a branch, tag or commit."""
    takes_any_doi: ClassVar[bool] = False
    """Whether it is asked for DOIs whose form says nothing."""
    takes_any_host: ClassVar[bool] = False
    """Whether it understands every URL, and so is asked last."""

    @abstractmethod
    def parse_spec(self, text: str) -> Spec:
        """Read BinderHub's text after the prefix, ref included. Raises NotUnderstood."""

    @abstractmethod
    def format_spec(self, spec: Spec) -> str:
        """Write a spec as BinderHub's text; `parse_spec` reads it back to the same."""

    @abstractmethod
    def parse_url(self, url: str) -> Link | None:
        """Read a URL of this kind of host as people copy it from a browser.

        Returns None for one that is not of this kind. Raises NotUnderstood for one that is,
        and yet names no repository.
        """

    @abstractmethod
    async def fetch_resolved(self, spec: Spec) -> Resolved:
        """Ask the host what the ref is now.

        Raises UnresolvableRef, RepositoryNotFound, NotAllowed or UpstreamUnavailable.
        """

    def parse_doi(self, doi: str) -> Spec | None:
        """Read a DOI; None for one that is not known to be of this kind. Pure."""
        return None

    def identities(self, spec: Spec) -> tuple[str, ...]:
        """Return what else a repository is known by, such as a DOI, in its one spelling. Pure.

        Lists that ban and allow are matched on it, on the spec and on the addresses.
        """
        return ()

    def owned_hosts(self) -> tuple[str, ...]:
        """Return the hosts whose repositories `allowed` holds for, whoever brings them."""
        return ()

    def ref_url(self, repo_url: str, resolved_ref: str) -> str:
        """Return where a person reads a repository at a resolved_ref; its page if nowhere."""
        return repo_url

    async def fetch_first(self, specs: Sequence[Spec]) -> Resolved:
        """Ask for the first of several specs of one repository that exists.

        Raises as `fetch_resolved`, for the last one. Providers that learn all refs with one
        question do better than this.
        """
        *others, last = specs
        for spec in others:
            try:
                return await self.fetch_resolved(spec)
            except UnresolvableRef:
                continue
        return await self.fetch_resolved(last)
