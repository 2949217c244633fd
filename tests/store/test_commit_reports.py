"""What hosts are told about commits."""

from __future__ import annotations

from jupyterhub_binder.model.prebuild import CommitState, Hook, HookHost
from jupyterhub_binder.store import Store
from jupyterhub_binder.utils.time import utc_now
from tests.store.test_usage import insert_environment

SHA = "a" * 40


async def test_a_build_that_replaces_another_is_told_though_that_one_is_being_sent(
    database_url: str,
):
    store, now = await Store.open(database_url), utc_now()
    environment = await insert_environment(store)
    hook = Hook("h" * 40, environment, HookHost.GITHUB, "sealed", now, "ada")
    await store.insert_hook(hook, limit=1)
    await store.put_hook_token(hook.id, "sealed", now)
    await store.want_reports(environment, SHA, 1, "context")
    (sending,) = await store.list_open_reports(hook.id)
    await store.want_reports(environment, SHA, 2, "context")
    told = {"time": now, "message": None, "told": CommitState.FAILURE, "done": True}
    await store.note_report(sending.id, told)
    assert [each.number for each in await store.list_open_reports(hook.id)] == [2]
    await store.close()
