"""Reports of a detector: what is known of one stays known."""

from __future__ import annotations

import pytest

from jupyterhub_binder.model.detections import Detection, DetectionState
from jupyterhub_binder.store import Store
from jupyterhub_binder.utils.names import new_id
from jupyterhub_binder.utils.time import utc_now


@pytest.mark.parametrize("less", ["", "github.com/org/other"])
async def test_a_look_that_ends_late_replaces_nothing_by_less(database_url: str, less: str):
    store = await Store.open(database_url)
    now = utc_now()
    first, again = (Detection(new_id(), now, now, user="ada") for _ in range(2))
    for each in (first, again):
        await store.note_detection(each, delivery=each.id)
    await store.settle_detection(
        first.id, repository="github.com/org/repo", confirmed=True, banned=False
    )
    await store.settle_detection(first.id, repository=less, confirmed=False, banned=False)
    (report,) = await store.list_detections(DetectionState.OPEN)
    assert (report.times, report.repository, report.confirmed) == (2, "github.com/org/repo", True)
    await store.close()
