"""What people use: sorted and cut by pure functions over what the store counts."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from jupyterhub_binder.model import Page
from jupyterhub_binder.oversight import PersonUse

PERIODS_DAYS = (7, 30, 90)


class UseOrder(StrEnum):
    """By what people's use is sorted."""

    BUILDS = "builds"
    BUILD_SECONDS = "build_seconds"
    LAUNCHES = "launches"
    ENVIRONMENTS = "environments"
    IMAGE_BYTES = "image_bytes"
    NAME = "name"


def in_order(uses: Iterable[PersonUse], order: UseOrder) -> list[PersonUse]:
    """Return people's use with the largest first, names from A to Z."""
    by_name = sorted(uses, key=lambda use: use.name)
    if order is UseOrder.NAME:
        return by_name
    return sorted(by_name, key=lambda use: getattr(use, order), reverse=True)


def find(uses: Iterable[PersonUse], search: str) -> list[PersonUse]:
    """Return the use of those whose name holds a text."""
    wanted = search.casefold()
    return [use for use in uses if wanted in use.name.casefold()]


def cut(uses: list[PersonUse], *, offset: int, limit: int) -> Page[PersonUse]:
    """Return a part of the list."""
    return Page(tuple(uses[offset : offset + limit]), len(uses), offset, limit)
