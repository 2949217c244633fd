"""The form of the history of builds."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from jupyterhub_binder.errors import InvalidInput
from jupyterhub_binder.model import BuildState
from jupyterhub_binder.store.build_lists import BuildFilter
from jupyterhub_binder.web.api.admin.builds import filter_of
from jupyterhub_binder.web.api.shapes.admin import HistoryQuery


def test_days_count_to_their_end() -> None:
    query = HistoryQuery(
        state=BuildState.FAILED, person=" ada ", since="2026-02-28", until="2026-02-28"
    )
    assert filter_of(query) == BuildFilter(
        state=BuildState.FAILED,
        person="ada",
        since=datetime(2026, 2, 28, tzinfo=UTC),
        until=datetime(2026, 3, 1, tzinfo=UTC),
    )
    assert filter_of(HistoryQuery()) == BuildFilter()


@pytest.mark.parametrize("text", ["yesterday", "2026-02-30", "1", "9999-99-99"])
def test_what_is_no_day_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="is not a date"):
        filter_of(HistoryQuery(until=text))
