"""What the admins' pages share: who may see them, their tabs, parts of long lists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar
from urllib.parse import urlencode

from jupyterhub_binder.errors import NotAllowed
from jupyterhub_binder.model import Page
from jupyterhub_binder.web.i18n import N_
from jupyterhub_binder.web.i18n import gettext as _
from jupyterhub_binder.web.pages import PageHandler
from jupyterhub_binder.web.parse import query_integer

T = TypeVar("T")

PAGE_SIZE = 50
TABS = (
    ("builds", "admin", N_("Builds")),
    ("environments", "admin/environments", N_("Environments")),
    ("use", "admin/use", N_("Use")),
    ("backends", "admin/backends", N_("Backends")),
    ("rules", "admin/rules", N_("Rules")),
    ("limits", "admin/limits", N_("Limits")),
    ("drain", "admin/drain", N_("Drain")),
    ("audit", "admin/audit", N_("Audit")),
)


class AdminHandler(PageHandler):
    """A page for admins."""

    async def prepare(self) -> None:
        """Refuse whoever is no admin."""
        await super().prepare()
        if not self.me.admin:
            raise NotAllowed("This page is for administrators.")

    @property
    def offset(self) -> int:
        """Return where the part of a list begins that is asked for."""
        return query_integer(self, "offset", default=0)

    def render_tab(self, tab: str, **values: Any) -> None:
        """Answer with one of the tabs."""
        title = next(label for name, _, label in TABS if name == tab)
        self.render_page(
            f"admin_{tab}.html",
            page_title=f"{_(title)} · {_('Administration')}",
            nav="admin",
            tab=tab,
            tabs=TABS,
            here=f"{self.prefix}admin{'' if tab == 'builds' else f'/{tab}'}",
            **values,
        )

    def pager(self, page: Page[Any], **query: Any) -> dict[str, Any]:
        """Return what leads to the parts of a list before and after this one."""
        before, after = max(0, page.offset - page.limit), page.offset + page.limit
        return {
            "page": page,
            "previous_url": address(**query, offset=before) if page.offset else "",
            "next_url": address(**query, offset=after) if after < page.total else "",
        }


def address(**query: Any) -> str:
    """Return the query of an address, without what is empty."""
    return "?" + urlencode({name: value for name, value in query.items() if value})


def part(items: Sequence[T], offset: int) -> Page[T]:
    """Return the part of a list that a page shows."""
    return Page(tuple(items[offset : offset + PAGE_SIZE]), len(items), offset, PAGE_SIZE)
