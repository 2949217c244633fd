"""The files that a page offers to open."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

from jupyterhub_binder.environments.applications import opens_in
from jupyterhub_binder.model.preferences import Application
from jupyterhub_binder.repositories.listing import FileListing
from jupyterhub_binder.utils.validation import MAX_SEARCH_CHARACTERS
from jupyterhub_binder.web.api.parse import query_text
from jupyterhub_binder.web.pages.base import PageHandler

_FEW = 8
"""How many are shown at first."""
_MOST = 200
"""How many are shown at once; a search finds the others."""


@dataclass(frozen=True, slots=True)
class FilesView:
    """A list of files, shortened or searched."""

    listing: FileListing
    search: str
    shown: tuple[str, ...]
    found: int
    """How many the search found, or all."""
    commit: str
    application: Application | None
    """What opens a notebook; None if it is unknown."""

    @property
    def searchable(self) -> bool:
        """Whether there are more than can be seen at a glance."""
        return self.listing.total > _FEW

    @property
    def hidden(self) -> int:
        """How many are not shown."""
        return self.found - len(self.shown)

    @property
    def more_query(self) -> str:
        """The query that shows more; empty if only a search does."""
        if not self.hidden or len(self.shown) >= _MOST:
            return ""
        return urlencode({"files": "all", **({"find": self.search} if self.search else {})})


def files_view(
    handler: PageHandler,
    listing: FileListing | None,
    *,
    commit: str = "",
    preferred: str = "",
    applications: tuple[Application, ...] = (),
) -> FilesView | None:
    """Return what the query asks to see of a list; None without files."""
    if listing is None or not listing.total:
        return None
    search = query_text(handler, "find", max_length=MAX_SEARCH_CHARACTERS).strip()
    every = query_text(handler, "files", max_length=10) == "all"
    found = listing.find(search)
    few = _FEW if len(found) > _FEW + 1 else len(found)  # "1 more" takes as much room as the file
    return FilesView(
        listing=listing,
        search=search,
        shown=found[: _MOST if every else few],
        found=len(found) if search else listing.total,
        commit=commit,
        application=opens_in(".ipynb", preferred, applications),
    )
