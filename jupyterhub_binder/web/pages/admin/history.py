"""Everybody's builds as a history with filters."""

from __future__ import annotations

from dataclasses import field
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any

from jupyterhub_binder.errors import InvalidInput
from jupyterhub_binder.model import BuildState
from jupyterhub_binder.model.words import BUILD_WORDS
from jupyterhub_binder.store.build_lists import BuildFilter
from jupyterhub_binder.web.api.parse import read_query
from jupyterhub_binder.web.api.shapes import Person, Search, TextLine, shape
from jupyterhub_binder.web.i18n.language import gettext as _
from jupyterhub_binder.web.i18n.language import say
from jupyterhub_binder.web.pages.admin.base import PAGE_SIZE, AdminPage, address
from jupyterhub_binder.web.pages.views import BuildView

Day = Annotated[str, TextLine(10)]


@shape
class HistoryQuery:
    """Which builds."""

    state: BuildState | None = None
    person: Person = ""
    repository: Search = ""
    reason: Annotated[str, TextLine(64)] = ""
    since: Day = ""
    until: Day = ""
    after: Annotated[str, TextLine(16)] = field(default="")
    """The last build of the part before."""


def filter_of(query: HistoryQuery) -> BuildFilter:
    """Return the filter of a form; a day counts in UTC, and to its end. Raises InvalidInput."""
    until = _day(query.until, days=1)
    return BuildFilter(
        state=query.state,
        person=query.person.strip(),
        repository=query.repository.strip(),
        reason=query.reason.strip(),
        since=_day(query.since),
        until=until,
    )


def _day(text: str, days: int = 0) -> datetime | None:
    if not text:
        return None
    try:
        return datetime.combine(date.fromisoformat(text), time(), UTC) + timedelta(days)
    except (ValueError, OverflowError) as error:
        raise InvalidInput(
            "'%(text)s' is not a date. Write one such as 2026-11-30.", text=text
        ) from error


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
