"""The base class of repository providers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from traitlets import Dict, Instance, List, Unicode
from traitlets.config import LoggingConfigurable

from jupyterhub_binder.errors import UnresolvableRef
from jupyterhub_binder.model import Link, Resolved, Spec
from jupyterhub_binder.repositories.git import Git
from jupyterhub_binder.repositories.records.download import Downloads


class RepoProvider(LoggingConfigurable):
    """Knows one kind of host. Only methods named `fetch_` use the network."""

    git = Instance(Git, help="The Git commands that the provider uses to ask hosts.")

    downloads = Instance(
        Downloads,
        allow_none=True,
        help="The client that providers of published records use to ask archives.",
    )

    allowed = List(
        Unicode(),
        help="""
        Only these repositories of this kind may be built, such as `github.com/our-owner/*`. Upper
        case, `.git` and percent escapes make no difference; `*` matches any text; subfolders match
        too. The rule also applies if another provider fetches the same repository. Empty: all.
        """,
    ).tag(config=True)
    banned = List(
        Unicode(),
        help="""
        Repositories that are never built, written as in `allowed`, such as `github.com/spam/*` or
        `10.5281/zenodo.123`. The rule applies whichever provider fetches them. Default: none.
        """,
    ).tag(config=True)
    tokens = Dict(
        key_trait=Unicode(),
        value_trait=Unicode(),
        help="""
        Tokens by host, such as `{"github.com": os.environ["GITHUB_TOKEN"]}`. A token raises the
        request limits of a host or gives access to private repositories. It is sent only to that
        host and only over https, and is never shown or logged. Everyone who can build on this hub
        can build and read whatever the token opens, so give it minimal rights and restrict it with
        `allowed`. Default: none.
        """,
    ).tag(config=True)

    prefix: ClassVar[str]
    """BinderHub's prefix: ``gh``, ``gl``, ``git``."""
    display_name: ClassVar[str]
    placeholder: ClassVar[str]
    """An example for forms."""
    default_ref: ClassVar[str] = "HEAD"
    takes_ref: ClassVar[bool] = True
    """Whether people can give a ref."""
    has_files: ClassVar[bool] = True
    """Whether there are files for people's homes."""
    needs_containers: ClassVar[bool] = False
    """Whether only backends that make container images can use it."""
    takes_any_doi: ClassVar[bool] = False
    """Asked about DOIs of unknown form."""
    takes_any_host: ClassVar[bool] = False
    """Whether it understands every URL; asked last."""

    @abstractmethod
    def parse_spec(self, text: str) -> Spec:
        """Read BinderHub's spec with its ref. Raises NotUnderstood."""

    @abstractmethod
    def format_spec(self, spec: Spec) -> str:
        """Write what `parse_spec` reads."""

    def parse_text(self, text: str) -> Link | None:
        """Read text that is no URL, or return None. Raises NotUnderstood."""
        return None

    @abstractmethod
    def parse_url(self, url: str) -> Link | None:
        """Read a browser's URL, or return None. Raises NotUnderstood."""

    @abstractmethod
    async def fetch_resolved(self, spec: Spec) -> Resolved:
        """Ask the host for the commit or version.

        Raises UnresolvableRef, RepositoryNotFound, NotAllowed or UpstreamUnavailable.
        """

    def parse_doi(self, doi: str) -> Spec | None:
        """Read a DOI of certain form. Pure."""
        return None

    def identities(self, spec: Spec) -> tuple[str, ...]:
        """Return other names, such as a DOI, for allow and ban lists. Pure."""
        return ()

    def owned_hosts(self) -> tuple[str, ...]:
        """Return the hosts that `allowed` applies to, whichever provider fetches."""
        return ()

    def ref_url(self, repo_url: str, resolved_ref: str) -> str:
        """Return the page at a resolved_ref, or the main page."""
        return repo_url

    async def fetch_first(self, specs: Sequence[Spec]) -> Resolved:
        """Resolve the first existing spec. Raises as `fetch_resolved`.

        Override it if one request returns all refs.
        """
        *others, last = specs
        for spec in others:
            try:
                return await self.fetch_resolved(spec)
            except UnresolvableRef:
                continue
        return await self.fetch_resolved(last)
