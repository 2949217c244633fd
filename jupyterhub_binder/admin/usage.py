"""Usage per user, sorted and filtered."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from enum import StrEnum

from jupyterhub_binder.model import Page
from jupyterhub_binder.model.admin import PersonUse
from jupyterhub_binder.store import Store
from jupyterhub_binder.utils.time import utc_now

PERIODS_DAYS = (7, 30, 90)


class UseOrder(StrEnum):
    """The sort key."""

    BUILDS = "builds"
    BUILD_SECONDS = "build_seconds"
    LAUNCHES = "launches"
    ENVIRONMENTS = "environments"
    IMAGE_BYTES = "image_bytes"
    NAME = "name"


class PeopleUsage:
    """The usage of all users."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def fetch(self, *, days: int, order: UseOrder, search: str = "") -> list[PersonUse]:
        """Return the usage of users whose name contains `search`."""
        uses = await self._store.list_uses(since=utc_now() - timedelta(days=days))
        return in_order(find(uses, search), order)


def in_order(uses: Iterable[PersonUse], order: UseOrder) -> list[PersonUse]:
    """Sort largest first, then by name."""
    by_name = sorted(uses, key=lambda use: use.name)
    if order is UseOrder.NAME:
        return by_name
    return sorted(by_name, key=lambda use: getattr(use, order), reverse=True)


def find(uses: Iterable[PersonUse], search: str) -> list[PersonUse]:
    """Filter by name."""
    wanted = search.casefold()
    return [use for use in uses if wanted in use.name.casefold()]


def cut(uses: list[PersonUse], *, offset: int, limit: int) -> Page[PersonUse]:
    """Return a page."""
    return Page(tuple(uses[offset : offset + limit]), len(uses), offset, limit)
