"""What administrators decide, as it is kept and chosen: limits, turns, draining, retention."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest
import pytest_asyncio
from traitlets import TraitError

from jupyterhub_binder.admin.audit import Audit, without_secrets
from jupyterhub_binder.admin.limits import Chosen, Limits, choose
from jupyterhub_binder.admin.people import AtLimit, fetch_at_limit
from jupyterhub_binder.admin.usage import UseOrder, find
from jupyterhub_binder.admin.usage import in_order as uses_in_order
from jupyterhub_binder.builds.queue import in_order, next_builds
from jupyterhub_binder.maintenance.retention import Retention
from jupyterhub_binder.model import (
    Build,
    BuildEvent,
    BuildState,
    ContentMode,
    Environment,
    Launch,
    LaunchState,
    Phase,
    User,
)
from jupyterhub_binder.model.admin import (
    Action,
    Holder,
    LimitName,
    LimitOverride,
    PersonUse,
    Rule,
    RuleKind,
)
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.store import Store
from jupyterhub_binder.store.builds import NewBuildRequest
from jupyterhub_binder.utils.names import new_id
from jupyterhub_binder.utils.time import utc_now
from tests.kit.parts import ADMIN, build_named

MANY = LimitName.ENVIRONMENTS
NOW = utc_now()


@pytest_asyncio.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    store = await Store.open(database_url)
    yield store
    await store.close()


# --- Limits -------------------------------------------------------------------------------------


def limits_of(name: str, value: int, holder: Holder = Holder.GROUP) -> LimitOverride:
    return LimitOverride(holder, name, {MANY: value}, NOW, "root")


def test_the_default_holds_where_nothing_else_is_set() -> None:
    assert choose(MANY, 100, own=None, groups=[]) == Chosen(100)
    other = LimitOverride(Holder.PERSON, "ada", {LimitName.SHARE: 2}, NOW, "root")
    assert choose(MANY, 100, own=other, groups=[]) == Chosen(100)


def test_the_largest_of_the_groups_wins_also_below_the_default() -> None:
    groups = [limits_of("a", 5), limits_of("b", 7)]
    assert choose(MANY, 100, own=None, groups=groups) == Chosen(7, Holder.GROUP, "b")


def test_a_persons_own_limit_beats_groups() -> None:
    own = limits_of("ada", 1, Holder.PERSON)
    assert choose(MANY, 100, own=own, groups=[limits_of("b", 7)]) == Chosen(1, Holder.PERSON)


async def test_groups_are_remembered_over_a_restart(store: Store) -> None:
    async def start() -> Limits:
        limits = Limits(store=store, audit=Audit(store=store))
        limits.register(MANY, lambda: 100)
        await limits.start()
        return limits

    limits = await start()
    await limits.set(ADMIN, Holder.GROUP, "lab", {MANY: 300})
    await limits.see(User("ada", groups=("lab",)))
    again = await start()
    assert again.value(MANY, "ada") == 300
    await again.see(User("ada"))
    assert again.value(MANY, "ada") == 100


async def test_new_people_have_stricter_limits_for_a_while(store: Store, monkeypatch) -> None:
    async def start() -> Limits:
        limits = Limits(store=store, audit=Audit(store=store), new_people={"environments": 3})
        limits.register(MANY, lambda: 100)
        limits.register(LimitName.BUILDS, lambda: 10)
        await limits.start()
        return limits

    limits = await start()
    assert limits.value(MANY, "ada") == 100  # nobody has seen her
    await limits.see(User("ada"))
    await limits.see(User("root", admin=True))
    await limits.see(User("bob", groups=("lab",)))
    first = limits.new_until("ada")
    assert first is not None
    for each in (limits, await start()):
        await each.see(User("root", admin=True))
        assert each.of("ada")[MANY] == Chosen(3, until=first)
        assert each.of("ada")[LimitName.BUILDS] == Chosen(10)
        assert [each.value(MANY, name) for name in ("ada", "bob", "root")] == [3, 3, 100]
    error = limits.reached(MANY, "ada", Message("Too many."), used=3)
    assert error.message == (
        f"Too many. This limit is for new people. For you it ends on {first:%Y-%m-%d %H:%M} UTC."
    )
    assert (error.detail["limit"], error.detail["used"]) == (3, 3)
    await limits.set(ADMIN, Holder.GROUP, "lab", {MANY: 30})
    await limits.set(ADMIN, Holder.PERSON, "ada", {MANY: 20})
    assert [limits.value(MANY, name) for name in ("ada", "bob")] == [20, 30]
    await limits.set(ADMIN, Holder.PERSON, "ada", {})
    monkeypatch.setattr("jupyterhub_binder.admin.limits.utc_now", lambda: first)
    assert limits.value(MANY, "ada") == 100
    again = await start()
    await again.see(User("ada"))
    assert again.new_until("ada") is None
    assert limits.reached(MANY, "ada", Message("Too many."), used=3).message == "Too many."


async def test_who_left_a_trace_before_is_not_new(store: Store) -> None:
    limits = Limits(store=store, audit=Audit(store=store), new_people={"environments": 3})
    limits.register(MANY, lambda: 100)
    await keep(store, "old", days_ago=2, owner="ada")
    await limits.see(User("ada", groups=("lab",)))
    assert limits.value(MANY, "ada") == 100
    assert (await store.list_groups())["ada"] == ("lab",)


async def test_a_new_person_has_reached_a_limit_before_others_have(store: Store) -> None:
    limits = Limits(store=store, audit=Audit(store=store), new_people={"environments": 1})
    limits.register(MANY, lambda: 2)
    limits.register(LimitName.BUILDS, lambda: 10)
    await limits.see(User("ada"))
    for name, owner in (("one", "ada"), ("two", "bob")):
        await keep(store, name, days_ago=0, owner=owner)
    found = await fetch_at_limit(store, limits, ())
    assert found == (AtLimit("ada", MANY, used=1, value=1),)


@pytest.mark.parametrize("wrong", [{"share": 2}, {"running": 0}, {"builds": -1}, {"servers": 1}])
async def test_a_wrong_limit_for_new_people_is_a_mistake(store: Store, wrong) -> None:
    with pytest.raises(TraitError, match="new_people"):
        Limits(store=store, audit=Audit(store=store), new_people=wrong)


# --- The queue ----------------------------------------------------------------------------------


def _builds(owners: str) -> list[Build]:
    return [
        build_named(f"{n:03}", by, created=NOW + timedelta(seconds=n))
        for n, by in enumerate(owners)
    ]


def test_a_share_of_two_gets_two_turns_to_everybody_elses_one() -> None:
    share = {"a": 2}
    order = in_order(_builds("aaaabb"), [], share_of=lambda person: share.get(person, 1))
    assert "".join(build.created_by for build in order) == "abaaba"


def test_each_person_runs_as_many_as_they_may() -> None:
    most = {"a": 1, "b": 3}
    chosen = next_builds(
        _builds("aaabbb"), [], max_running=9, max_per_person=lambda person: most[person]
    )
    assert sorted(build.created_by for build in chosen) == ["a", "b", "b", "b"]


# --- Draining -----------------------------------------------------------------------------------


async def test_a_drained_queue_is_kept_and_goes_on_later(service) -> None:
    drain = service.admin.drain
    await drain.begin(ADMIN, "Soon")
    build_id = (await service.create()).latest.build.id
    assert [build.id for build in service.builds.queue().waiting] == [build_id]
    await drain.end(ADMIN)
    await drain.end(ADMIN)
    assert (await service.finished(build_id)).state is BuildState.BUILT


# --- The audit log ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("https://ada:pw@git.example.org/x", "https://[secret]@git.example.org/x"),
        ("token=abc123 is it", "token=[secret] is it"),
        ("Authorization: Bearer abcdef", "Authorization: Bearer [secret]"),
        ("ghp_16C7e42F292c6912E7710c838347Ae178B4a", "[secret]"),
        ("0123456789abcdef0123456789abcdef", "[secret]"),
        ("2f0c0a1b7b9c9b6f2f5d1f5b9a0e4c3d2b1a0f9e", "2f0c0a1b7b9c9b6f2f5d1f5b9a0e4c3d2b1a0f9e"),
        ("two\nlines\x1b[31m", "two lines [31m"),
    ],
)
def test_what_looks_like_a_secret_is_left_out(text: str, kept: str) -> None:
    assert without_secrets(text) == kept


async def test_entries_keep_their_order_and_are_cut_into_pages(store: Store) -> None:
    audit = Audit(store=store, max_per_hour=600)
    for n in range(1200):
        audit.note("ada" if n % 2 else "bob", Action.BUILD_FORCE, str(n))
    page = await audit.list(limit=3)
    assert [each.target for each in page.items] == ["1199", "1198", "1197"]
    assert page.total == 1200
    assert (await audit.list(actor="ada", action=Action.BUILD_FORCE)).total == 600
    read = [each.target async for part in audit.read() for each in part]
    assert read == [str(n) for n in range(1200)]
    audit.keep_days = 1e-9
    assert await audit.prune() == 1200


async def test_nobody_fills_the_audit_log_and_all_of_administrators_is_in_it(
    store, monkeypatch
) -> None:
    audit = Audit(store=store, max_per_hour=3)
    for n in range(50):
        audit.note("ada", Action.RULE_HIT, str(n))
        audit.note("root", Action.ENVIRONMENT_DELETE, str(n), always=True)
    audit.note("bob", Action.RULE_HIT)
    assert [(await audit.list(actor=who)).total for who in ("ada", "root", "bob")] == [3, 50, 1]
    monkeypatch.setattr("jupyterhub_binder.admin.audit._HOUR_SECONDS", 0)
    audit.note("ada", Action.RULE_HIT, "later")
    later = (await audit.list(actor="ada")).items[0]
    assert (later.target, later.detail["left_out"]) == ("later", 47)
    audit.note("ada", Action.RULE_HIT, "again")
    assert "left_out" not in (await audit.list(actor="ada")).items[0].detail
    await audit.stop()


async def test_a_rule_of_the_same_pattern_gets_the_new_reason(store: Store) -> None:
    rule = Rule(RuleKind.BAN, "github.com/x", "Old", new_id(), NOW, "root")
    await store.put_rule(rule)
    kept = await store.put_rule(replace(rule, id=new_id(), reason="New"))
    assert kept.id == rule.id
    assert [each.reason for each in await store.list_rules()] == ["New"]
    assert await store.delete_rule(rule.id) == kept
    assert await store.delete_rule(rule.id) is None


# --- Retention ----------------------------------------------------------------------------------


async def keep(store: Store, name: str, *, days_ago: float, owner: str = "ada") -> Environment:
    """Keep an environment whose build of 10 lines ended long ago."""
    then = NOW - timedelta(days=days_ago)
    environment = Environment(
        id=new_id(),
        owner=owner,
        name=name,
        spec=build_named(name).spec,
        label="github.com/org/repo",
        repo_url="https://github.com/org/repo",
        path="",
        content=ContentMode.COPY,
        directory="",
        options={},
        created=then,
        updated=then,
    )
    kept = await store.insert_environment(
        environment, _new_request(name, then), directories=iter([name]), limit=9
    )
    assert kept is not None
    assert kept.latest is not None
    await end(store, kept.latest.build.id, days_ago=days_ago)
    return kept


def _new_request(name: str, then) -> NewBuildRequest:
    return NewBuildRequest(build_named(name, created=then), by="ada", at=then)


async def end(store: Store, build_id: str, *, days_ago: float) -> None:
    then = NOW - timedelta(days=days_ago)
    lines = [BuildEvent(n, then, Phase.BUILDING, f"line {n}") for n in range(1, 11)]
    await store.update_build(build_id, {"started": then - timedelta(seconds=30)})
    await store.append_events(build_id, lines[:-1])
    await store.finish_build(
        build_id,
        lines[-1],
        state=BuildState.BUILT,
        at=then,
        image=f"venv:{build_id}",
        size_bytes=100,
    )


async def lines_of(store: Store, environment: Environment) -> list[str]:
    assert environment.latest is not None
    return [event.message for event in await store.fetch_events(environment.latest.build.id)]


async def test_old_logs_go_but_for_those_of_live_environments_and_their_last_lines(
    store: Store,
) -> None:
    live = await keep(store, "live", days_ago=400)
    young = await keep(store, "young", days_ago=2)
    gone = await keep(store, "gone", days_ago=400)
    for each in (young, gone):
        await store.update_environment(each.id, {"deleted": NOW}, at=NOW)
    audit = Audit(store=store)
    retention = Retention(store=store, audit=audit)
    forgotten = await retention.run()
    assert (forgotten.logs, forgotten.lines) == (1, 8)
    assert len(await lines_of(store, live)) == 10
    assert len(await lines_of(store, young)) == 10
    assert await lines_of(store, gone) == [
        "Earlier lines were removed: logs are kept for 90 days.",
        "line 10",
    ]
    assert (await retention.run()).logs == 0
    (entry,) = (await audit.list()).items
    assert (entry.actor, entry.action) == ("", Action.CLEANUP_LOGS)
    assert dict(entry.detail) == {"removed": 1, "lines": 8}


async def test_nothing_goes_where_days_are_none(store: Store) -> None:
    gone = await keep(store, "gone", days_ago=4000)
    await store.update_environment(gone.id, {"deleted": NOW}, at=NOW)
    retention = Retention(store=store, audit=Audit(store=store), log_days=0, launch_days=0)
    assert (await retention.run()).logs == 0


async def test_old_launches_go_and_unfinished_ones_stay(store: Store) -> None:
    environment = await keep(store, "one", days_ago=900)

    def launch(state: LaunchState, days: float) -> Launch:
        then = NOW - timedelta(days=days)
        finished = then if state.finished else None
        return Launch(new_id(), environment.id, "ada", "", "", state, then, finished=finished)

    for state, days in (
        (LaunchState.READY, 500),
        (LaunchState.READY, 5),
        (LaunchState.PENDING, 500),
    ):
        await store.insert_launch(launch(state, days))
    audit = Audit(store=store)
    assert (await Retention(store=store, audit=audit).run()).launches == 1
    assert len(await store.list_launches()) == 2


# --- Use ----------------------------------------------------------------------------------------


async def test_use_counts_the_period_and_each_image_once(store: Store) -> None:
    recent = await keep(store, "recent", days_ago=3)
    await keep(store, "old", days_ago=60)
    then = NOW - timedelta(days=1)
    twin = replace(recent, id=new_id(), name="twin", current=None, latest=None)
    new = replace(_new_request("recent", then), reuse=recent.latest.build)  # type: ignore[union-attr]
    await store.insert_environment(twin, new, directories=iter(["twin"]), limit=9)
    launch = Launch(new_id(), recent.id, "bob", "", "", LaunchState.READY, then)
    await store.insert_launch(launch)
    uses = {use.name: use for use in await store.list_uses(since=NOW - timedelta(days=30))}
    # `created_by` of made-up builds is alice; the environments are ada's.
    assert uses["alice"] == PersonUse("alice", builds=1, build_seconds=30.0)
    assert uses["ada"] == PersonUse("ada", environments=3, image_bytes=200)
    assert uses["bob"].launches == 1


def test_use_is_sorted_with_the_largest_first_and_names_from_a_to_z() -> None:
    uses = [PersonUse("b", builds=2), PersonUse("a", builds=2), PersonUse("c", builds=9)]

    def order(by: UseOrder) -> str:
        return "".join(u.name for u in uses_in_order(uses, by))

    assert order(UseOrder.BUILDS) == "cab"
    assert order(UseOrder.NAME) == "abc"
    assert [use.name for use in find(uses, "B")] == ["b"]
