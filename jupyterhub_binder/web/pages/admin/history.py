"""Everybody's builds as a history with filters."""

from __future__ import annotations

from typing import Any

from jupyterhub_binder.model import BuildState
from jupyterhub_binder.model.words import BUILD_WORDS
from jupyterhub_binder.web.api.admin.builds import filter_of
from jupyterhub_binder.web.api.parse import read_query
from jupyterhub_binder.web.api.shapes.admin import HistoryQuery
from jupyterhub_binder.web.i18n.language import gettext as _
from jupyterhub_binder.web.i18n.language import say
from jupyterhub_binder.web.pages.admin.base import PAGE_SIZE, AdminPage, address
from jupyterhub_binder.web.pages.views import BuildView


class HistoryPage(AdminPage):
    """``/admin/builds``."""

    async def get(self) -> None:
        """Show a part of the builds, the newest first."""
        self.back = f"{self.prefix}admin/builds"
        query = read_query(self, HistoryQuery, form=True)
        asked = {
            name: str(getattr(query, name) or "")
            for name in ("state", "person", "repository", "reason", "since", "until")
        }
        part = await self.services.store.list_builds(
            filter_of(query), after=query.after, limit=PAGE_SIZE
        )
        self.render_tab(
            "builds",
            builds=[BuildView(build, await self.fetch_progress(build)) for build in part.items],
            asked=asked,
            filtered=any(asked.values()),
            states=[(state.value, say(BUILD_WORDS[state])) for state in BuildState],
            without=_without(asked),
            first_url=address(**asked) if part.newer else "",
            older_url=address(**asked, after=part.older) if part.older else "",
        )


def _without(asked: dict[str, str]) -> list[tuple[str, str]]:
    """Return the filters that have no field of their own, each with the list without it."""
    kept: dict[str, Any] = {name: value for name, value in asked.items() if name != "reason"}
    return [(_("Reason: %(reason)s", reason=asked["reason"]), address(**kept))] * bool(
        asked["reason"]
    )
