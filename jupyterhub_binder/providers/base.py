"""The contract of a repository provider: one kind of host, from pasted URL to commit."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from traitlets import Instance
from traitlets.config import LoggingConfigurable

from jupyterhub_binder.errors import UnresolvableRef
from jupyterhub_binder.git import Git
from jupyterhub_binder.model import Link, Resolved, Spec


class RepoProvider(LoggingConfigurable):
    """Knows one kind of host. Only what is named `fetch_` goes out; all else is pure."""

    git = Instance(Git, help="The git commands that a provider asks hosts with.")

    prefix: ClassVar[str]
    """BinderHub's: ``gh``, ``gl``, ``gist``, ``git``."""
    display_name: ClassVar[str]
    placeholder: ClassVar[str]
    """An example of what a person may type, for forms."""
    default_ref: ClassVar[str] = "HEAD"

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
