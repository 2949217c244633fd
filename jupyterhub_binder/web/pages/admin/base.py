"""Common to admin pages: access, tabs and paging."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar
from urllib.parse import urlencode

from jupyterhub_binder.errors import NotAllowed
from jupyterhub_binder.model import Page
from jupyterhub_binder.web.api.parse import read_query
from jupyterhub_binder.web.api.shapes import PageQuery
from jupyterhub_binder.web.i18n.language import N_
from jupyterhub_binder.web.i18n.language import gettext as _
from jupyterhub_binder.web.pages import PageHandler

T = TypeVar("T")

PAGE_SIZE = 50
TABS = (
    ("home", "admin", N_("Overview")),
    ("queue", "admin/queue", N_("Queue")),
    ("builds", "admin/builds", N_("Builds")),
    ("environments", "admin/environments", N_("Environments")),
    ("usage", "admin/usage", N_("Usage")),
    ("use", "admin/use", N_("People")),
    ("failures", "admin/failures", N_("Failures")),
    ("backends", "admin/backends", N_("Backends")),
    ("rules", "admin/rules", N_("Rules")),
    ("limits", "admin/limits", N_("Limits")),
    ("drain", "admin/drain", N_("Drain")),
    ("alerts", "admin/alerts", N_("Alerts")),
    ("audit", "admin/audit", N_("Audit")),
)


class AdminPage(PageHandler):
    """A page for admins."""

    async def prepare(self) -> None:
        """Refuse other people."""
        await super().prepare()
        if not self.me.admin:
            raise NotAllowed("This page is for administrators.")

    @property
    def offset(self) -> int:
        """The offset in a list."""
        return read_query(self, PageQuery, form=True).offset

    def render_tab(self, tab: str, **values: Any) -> None:
        """Render a tab."""
        title = next(label for name, _, label in TABS if name == tab)
        self.render_page(
            f"admin_{tab}.html",
            page_title=f"{_(title)} · {_('Administration')}",
            nav="admin",
            tab=tab,
            tabs=TABS,
            here=f"{self.prefix}admin{'' if tab == 'home' else f'/{tab}'}",
            **values,
        )

    def pager(self, page: Page[Any], **query: Any) -> dict[str, Any]:
        """Return links to the previous and next part."""
        before, after = max(0, page.offset - page.limit), page.offset + page.limit
        return {
            "page": page,
            "previous_url": address(**query, offset=before) if page.offset else "",
            "next_url": address(**query, offset=after) if after < page.total else "",
        }


def address(**query: Any) -> str:
    """Return a query string without empty values."""
    return "?" + urlencode({name: value for name, value in query.items() if value})


def part(items: Sequence[T], offset: int) -> Page[T]:
    """Return one page of a list."""
    return Page(tuple(items[offset : offset + PAGE_SIZE]), len(items), offset, PAGE_SIZE)
