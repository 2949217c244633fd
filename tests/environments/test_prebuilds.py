"""Builds ahead: by deliveries and by schedules, one at a time, and lost by nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from tornado.httputil import HTTPHeaders

from jupyterhub_binder.environments.commit_statuses import CommitStatuses
from jupyterhub_binder.environments.hooks import Hooks, NewHook
from jupyterhub_binder.environments.prebuilds import Prebuilds
from jupyterhub_binder.environments.schedules import Schedule, comes_too_often, describe
from jupyterhub_binder.errors import (
    InvalidInput,
    LimitReached,
    NotAllowed,
    NotFound,
    StoreUnavailable,
    UpstreamUnavailable,
    WrongSignature,
)
from jupyterhub_binder.model import BuildState, Environment, UpdateMode
from jupyterhub_binder.model.admin import Action
from jupyterhub_binder.model.prebuild import Delivery, HookHost, Outcome, Prebuild
from jupyterhub_binder.model.sharing import Right, Subject, SubjectKind
from jupyterhub_binder.store import deliveries
from jupyterhub_binder.store.hooks import Looked
from jupyterhub_binder.utils.sealing import Sealer
from jupyterhub_binder.utils.time import utc_now
from tests.kit.parts import ADMIN, ALICE, BOB, Service
from tests.kit.upstream import Following, follow


@dataclass
class Ahead:
    """A service with hooks and a host that moves."""

    following: Following
    hooks: Hooks
    prebuilds: Prebuilds
    statuses: CommitStatuses

    @property
    def service(self) -> Service:
        return self.following.service

    async def hooked(self, **where: Any) -> tuple[Environment, NewHook]:
        """Return a built environment of alice's with a hook of GitLab's kind."""
        environment = await self.following.built(**where)
        return environment, await self.hooks.create(ALICE, environment.id, HookHost.GITLAB)

    async def deliver(self, made: NewHook, name: str, **headers: str) -> Outcome:
        sent = {"X-Gitlab-Token": made.secret, "X-Gitlab-Event": "Push Hook", **headers}
        found = HTTPHeaders({**sent, "Idempotency-Key": name})
        hook = await self.hooks.fetch(made.hook.id)
        return await self.hooks.receive(hook, self.hooks.check(hook, found), found)

    async def look(self) -> None:
        """Look at what waits, until nothing more is under way."""
        await self.prebuilds.check()
        await self.prebuilds.looked()

    async def state(self, environment: Environment) -> Prebuild:
        return await self.prebuilds.fetch(ALICE, environment.id)

    async def now(self, environment: Environment) -> Environment:
        return await self.service.environments.get(ALICE, environment.id)

    async def outcomes(self, environment: Environment) -> list[tuple[Outcome, int | None]]:
        """Return what came of the deliveries, newest first."""
        found = await self.hooks.deliveries(ALICE, environment.id)
        return [(each.outcome, each.number) for each in found]


def begin(service: Service, tmp_path: Any, following: Following | None = None) -> Ahead:
    following = following or follow(service)
    hooks = Hooks(
        store=service.store,
        environments=service.environments,
        audit=service.admin.audit,
        sealer=Sealer.ensure(tmp_path / "secrets.key"),
    )
    statuses = CommitStatuses(
        store=service.store,
        hooks=hooks,
        builds=service.builds,
        providers=service.providers,
        first_wait_seconds=0.001,
    )
    prebuilds = Prebuilds(
        store=service.store,
        environments=service.environments,
        updates=following.updates,
        upstreams=following.upstreams,
        launch_specs=service.launch_specs,
        builds=service.builds,
        hooks=hooks,
        statuses=statuses,
        rules=service.admin.rules,
        drain=service.admin.drain,
        audit=service.admin.audit,
        min_seconds_between=0,
    )
    return Ahead(following, hooks, prebuilds, statuses)


@pytest.fixture
async def ahead(service: Service, tmp_path: Any) -> AsyncIterator[Ahead]:
    found = begin(service, tmp_path)
    yield found
    await found.prebuilds.stop()
    await found.statuses.stop()
    await found.following.updates.stop()
    await found.following.upstreams.stop()


async def test_a_push_is_built_and_the_delivery_says_which_build(ahead: Ahead):
    environment, made = await ahead.hooked()
    sha = ahead.following.host.push()
    assert await ahead.deliver(made, "one") is Outcome.ACCEPTED
    await ahead.look()
    now = await ahead.now(environment)
    assert (now.latest.number, now.latest.build.resolved_ref) == (2, sha)
    assert now.latest.requested_by == "alice"
    assert await ahead.outcomes(environment) == [(Outcome.BUILDING, 2)]
    assert (await ahead.service.finished(now.latest.build.id)).state is BuildState.BUILT
    assert (await ahead.now(environment)).current.number == 2


async def test_a_delivery_counts_once_and_without_news_nothing_is_built(ahead: Ahead):
    environment, made = await ahead.hooked()
    assert await ahead.deliver(made, "one") is Outcome.ACCEPTED
    await ahead.look()
    assert await ahead.deliver(made, "one") is Outcome.REPEATED
    asked = ahead.following.host.asked["org/repo"]
    await ahead.look()
    assert ahead.following.host.asked["org/repo"] == asked
    assert await ahead.outcomes(environment) == [
        (Outcome.REPEATED, None),
        (Outcome.NOTHING_NEW, None),
    ]
    assert (await ahead.now(environment)).latest.number == 1


async def test_a_look_is_not_over_before_the_host_of_its_commit_will_be_told(
    ahead: Ahead, monkeypatch: pytest.MonkeyPatch
):
    environment, made = await ahead.hooked()
    sha, wanted = ahead.following.host.push(), []

    async def want(*args: str) -> None:
        wanted.append(args)
        if len(wanted) == 1:
            raise StoreUnavailable("The disk is full.")

    monkeypatch.setattr(ahead.statuses, "want", want)
    await ahead.deliver(made, "one")
    await ahead.look()
    await ahead.service.finished((await ahead.now(environment)).latest.build.id)
    await ahead.look()
    assert wanted == [(environment.id, sha)] * 2
    assert (await ahead.state(environment)).pending is None


async def test_a_ping_and_other_events_start_nothing(ahead: Ahead):
    _, made = await ahead.hooked()
    assert await ahead.deliver(made, "1", **{"X-Gitlab-Event": "Issue Hook"}) is Outcome.IGNORED
    github = await ahead.hooks.create(ALICE, made.hook.environment_id, HookHost.GITHUB)
    assert github.hook.id != made.hook.id
    assert not await ahead.service.store.list_pending_prebuilds(at=utc_now(), limit=9)


async def test_during_a_build_the_newest_push_waits_and_no_change_is_left_out(ahead: Ahead):
    environment, made = await ahead.hooked()
    ahead.service.backend.script = {"gate": "g"}
    ahead.following.host.push()
    await ahead.deliver(made, "one")
    await ahead.look()
    await ahead.service.backend.gate("g").reached.wait()
    for name in ("two", "three", "four"):
        newest = ahead.following.host.push()
        assert await ahead.deliver(made, name) is Outcome.ACCEPTED
    await ahead.look()
    assert (await ahead.now(environment)).latest.number == 2
    ahead.service.backend.gate("g").open()
    await ahead.service.finished((await ahead.now(environment)).latest.build.id)
    await ahead.look()
    now = await ahead.now(environment)
    assert (now.latest.number, now.latest.build.resolved_ref) == (3, newest)
    assert await ahead.outcomes(environment) == [
        *[(Outcome.BUILDING, 3)] * 3,
        (Outcome.BUILDING, 2),
    ]


async def test_what_waits_survives_a_restart(ahead: Ahead, tmp_path: Any):
    environment, made = await ahead.hooked()
    sha = ahead.following.host.push()
    await ahead.deliver(made, "one")
    await ahead.prebuilds.stop()
    again = begin(ahead.service, tmp_path, ahead.following)
    assert await again.deliver(made, "one") is Outcome.REPEATED
    await again.look()
    assert (await again.now(environment)).latest.build.resolved_ref == sha
    await again.prebuilds.stop()
    await again.statuses.stop()


async def test_a_push_during_a_look_is_looked_at_afterwards(ahead: Ahead):
    environment, made = await ahead.hooked()
    await ahead.deliver(made, "one")
    before = await ahead.state(environment)
    await ahead.deliver(made, "two")
    await ahead.prebuilds._finish(before, Looked(Outcome.NOTHING_NEW))
    after = await ahead.state(environment)
    assert after.pending is not None
    assert await ahead.outcomes(environment) == [
        (Outcome.ACCEPTED, None),
        (Outcome.NOTHING_NEW, None),
    ]


async def test_a_host_that_is_away_is_asked_again_and_not_for_ever(ahead: Ahead):
    environment, made = await ahead.hooked()
    ahead.following.host.error = UpstreamUnavailable("It is away.")
    await ahead.deliver(made, "one")
    await ahead.look()
    waiting = await ahead.state(environment)
    assert waiting.pending is not None
    assert waiting.not_before > utc_now()
    assert waiting.message == "It is away."
    old = utc_now() - timedelta(days=2)
    await ahead.service.store.want_prebuild(environment.id, waiting.cause, old)
    await ahead.service.store.delay_prebuild(environment.id, old, None)
    await ahead.look()
    assert (await ahead.outcomes(environment))[0] == (Outcome.NOT_BUILT, None)
    assert (await ahead.state(environment)).pending is None


async def test_a_commit_that_failed_is_not_tried_again(ahead: Ahead):
    environment, made = await ahead.hooked()
    ahead.service.backend.script = {"fail_at": "building", "reason": "no numpy"}
    ahead.following.host.push()
    await ahead.deliver(made, "one")
    await ahead.look()
    await ahead.service.finished((await ahead.now(environment)).latest.build.id)
    await ahead.deliver(made, "two")
    await ahead.look()
    assert (await ahead.outcomes(environment))[0] == (Outcome.FAILED_BEFORE, 2)
    ahead.service.backend.script = {}
    ahead.following.host.push()
    await ahead.deliver(made, "three")
    await ahead.look()
    assert (await ahead.outcomes(environment))[0] == (Outcome.BUILDING, 3)


async def test_a_hold_is_respected(ahead: Ahead):
    environment, made = await ahead.hooked()
    environments = ahead.service.environments
    await environments.update(ALICE, environment.id, updates=UpdateMode.AUTO)
    ahead.following.host.push()
    await ahead.deliver(made, "one")
    await ahead.look()
    await ahead.service.finished((await ahead.now(environment)).latest.build.id)
    await environments.requests.choose(ALICE, environment.id, 1)
    ahead.following.host.push()
    await ahead.deliver(made, "two")
    await ahead.look()
    assert (await ahead.outcomes(environment))[0] == (Outcome.ON_HOLD, None)


async def test_a_pause_of_builds_lets_it_wait(ahead: Ahead):
    environment, made = await ahead.hooked()
    ahead.following.host.push()
    await ahead.service.admin.drain.begin(ADMIN, "An upgrade.")
    await ahead.deliver(made, "one")
    await ahead.look()
    assert (await ahead.now(environment)).latest.number == 1
    await ahead.service.admin.drain.end(ADMIN)
    await ahead.look()
    assert (await ahead.now(environment)).latest.number == 2


async def test_an_image_that_a_clean_up_removed_comes_back(ahead: Ahead):
    environment, made = await ahead.hooked()
    await ahead.service.backend.delete_image(environment.current.build.image)
    await ahead.deliver(made, "one")
    await ahead.look()
    assert (await ahead.outcomes(environment))[0][0] is Outcome.BUILDING


async def test_a_wrong_signature_is_noted_and_starts_nothing(ahead: Ahead):
    environment, made = await ahead.hooked()
    wrong = NewHook(made.hook, "x" * 40)
    with pytest.raises(WrongSignature):
        await ahead.deliver(wrong, "one")
    assert await ahead.outcomes(environment) == [(Outcome.REFUSED, None)]
    assert await ahead.deliver(made, "one") is Outcome.ACCEPTED


async def test_too_many_are_refused_and_the_newest_push_is_built_anyway(ahead: Ahead):
    environment, made = await ahead.hooked()
    ahead.hooks.max_deliveries_per_minute = 2
    for name in ("one", "two"):
        await ahead.deliver(made, name)
    await ahead.look()
    sha = ahead.following.host.push()
    with pytest.raises(LimitReached):
        await ahead.deliver(made, "three")
    with pytest.raises(LimitReached):
        await ahead.deliver(NewHook(made.hook, "wrong" * 9), "four")
    await ahead.look()
    assert (await ahead.now(environment)).latest.build.resolved_ref == sha
    assert len(await ahead.outcomes(environment)) == 2


async def test_a_push_of_a_new_person_at_a_limit_waits_for_a_free_place(ahead: Ahead):
    environment, made = await ahead.hooked()
    sha, limits = ahead.following.host.push(), ahead.service.admin.limits
    limits.new_people = {"builds": 0}
    await ahead.deliver(made, "one")
    await ahead.look()
    state = await ahead.state(environment)
    assert state.pending is not None
    assert "new people" in str(state.message)
    assert utc_now() < state.not_before < utc_now() + timedelta(hours=1)
    limits.new_people = {}
    await ahead.service.store.delay_prebuild(environment.id, utc_now(), None)
    await ahead.look()
    assert (await ahead.now(environment)).latest.build.resolved_ref == sha


async def test_another_secret_makes_the_one_before_worthless(ahead: Ahead):
    environment, made = await ahead.hooked()
    new = await ahead.hooks.replace_secret(ALICE, environment.id, made.hook.id)
    with pytest.raises(WrongSignature):
        await ahead.deliver(made, "one")
    assert await ahead.deliver(new, "one") is Outcome.ACCEPTED
    await ahead.hooks.delete(ALICE, environment.id, made.hook.id)
    with pytest.raises(NotFound):
        await ahead.deliver(new, "two")


async def test_the_secret_is_stored_encrypted_and_a_lost_key_opens_nothing(
    ahead: Ahead, tmp_path: Any
):
    _, made = await ahead.hooked()
    assert made.secret not in made.hook.sealed
    path = tmp_path / "secrets.key"
    assert path.stat().st_mode & 0o777 == 0o600
    path.unlink()
    assert Sealer.ensure(path).unseal(made.hook.sealed) is None


async def test_only_the_owner_has_hooks_and_schedules(ahead: Ahead):
    environment, made = await ahead.hooked()
    share = [(Subject(SubjectKind.USER, "bob"), Right.MANAGE)]
    await ahead.service.sharing.put(ALICE, environment.id, share)
    hooks, prebuilds = ahead.hooks, ahead.prebuilds
    for attempt in (
        hooks.create(BOB, environment.id, HookHost.GITHUB),
        hooks.list(BOB, environment.id),
        hooks.replace_secret(BOB, environment.id, made.hook.id),
        hooks.delete(BOB, environment.id, made.hook.id),
        prebuilds.set_schedule(BOB, environment.id, "0 3 * * *"),
        prebuilds.fetch(BOB, environment.id),
        hooks.create(replace(ALICE, can_build=False), environment.id, HookHost.GITHUB),
    ):
        with pytest.raises(NotAllowed):
            await attempt
    others = await ahead.following.built(BOB, repo="org/other")
    with pytest.raises(NotFound):  # a hook of another environment
        await hooks.delete(BOB, others.id, made.hook.id)


async def test_hooks_end_with_a_transfer(ahead: Ahead):
    environment, made = await ahead.hooked()
    await ahead.prebuilds.set_schedule(ALICE, environment.id, "0 3 * * *")
    await ahead.service.transfers.offer(ALICE, environment.id, "bob")
    await ahead.service.transfers.accept(BOB, environment.id)
    assert await ahead.hooks.list(BOB, environment.id) == ()
    assert (await ahead.prebuilds.fetch(BOB, environment.id)).cron == ""
    with pytest.raises(NotFound):
        await ahead.deliver(made, "one")


async def test_an_environment_has_few_hooks_and_the_audit_log_names_them(ahead: Ahead):
    environment, _ = await ahead.hooked()
    ahead.hooks.max_per_environment = 1
    with pytest.raises(LimitReached):
        await ahead.hooks.create(ALICE, environment.id, HookHost.GITEA)
    audit = ahead.service.admin.audit
    await audit.stop()
    page = await audit.list(action=Action.HOOK_CREATE)
    assert [entry.detail["host"] for entry in page.items] == ["gitlab"]


# --- Schedules --------------------------------------------------------------------------------------


async def test_a_schedule_looks_when_it_comes_and_goes_on(ahead: Ahead):
    environment = await ahead.following.built()
    await ahead.prebuilds.set_schedule(ALICE, environment.id, "0 3 * * *", "Europe/Berlin")
    sha = ahead.following.host.push()
    await ahead.look()
    assert (await ahead.now(environment)).latest.number == 1
    missed = utc_now() - timedelta(days=3)
    await ahead.service.store.put_schedule(environment.id, "0 3 * * *", "Europe/Berlin", missed)
    await ahead.look()
    assert (await ahead.now(environment)).latest.build.resolved_ref == sha
    state = await ahead.state(environment)
    assert (state.last_cause, state.outcome) == ("schedule", Outcome.BUILDING)
    assert utc_now() < state.due <= utc_now() + timedelta(days=1, hours=1)
    await ahead.prebuilds.set_schedule(ALICE, environment.id, "")
    assert (await ahead.state(environment)).due is None


@pytest.mark.parametrize(
    "cron",
    [
        "nonsense",
        "* * * *",
        "0 3 * * * *",
        "61 3 * * *",
        "0 0 30 2 *",
        "*/5 * * * *",
        "0,1 3 * * *",
    ],
)
async def test_what_is_no_schedule_or_comes_too_often_is_refused(ahead: Ahead, cron: str):
    environment = await ahead.following.built()
    with pytest.raises(InvalidInput) as refused:
        await ahead.prebuilds.set_schedule(ALICE, environment.id, cron)
    assert refused.value.detail["field"] == "cron"
    with pytest.raises(InvalidInput):
        await ahead.prebuilds.set_schedule(ALICE, environment.id, "0 3 * * *", "../etc/passwd")


@pytest.mark.parametrize(
    ("cron", "minutes", "too_often"),
    [
        ("0 0 1 1 *", 60, False),
        ("*/5 3 29 2 *", 60, True),
        ("30 0,23 1-2 1 *", 60, False),
        ("30 0,23 1-2 1 *", 61, True),
        # The last hours of a day alone are too close, after more times than one would look at.
        ("0,25,50 0-18/2,22,23 * * *", 20, True),
        ("0,25,50 0-22/2 * * *", 20, False),
        # Only the 27th and 28th follow each other; only in some years, so do 28 February and 1 March.
        ("0 0,22 1-25/2,27,28 * *", 180, True),
        ("0 0,22 1-27/2 * *", 180, False),
        ("0 0,22 28,1 2,3 *", 180, True),
        ("0 0,22 27,1 2,3 *", 180, False),
        ("0 6 * * 1", 7 * 24 * 60, False),
        ("0 6 1 * 1", 7 * 24 * 60, True),
    ],
)
def test_two_times_of_a_schedule_are_never_too_close(cron: str, minutes: int, too_often: bool):
    first = date(2026, 3, 2)
    assert comes_too_often(cron, timedelta(minutes=minutes), first=first) is too_often


def test_a_schedule_follows_the_clock_of_its_zone():
    summer = datetime(2026, 10, 24, 0, 0, tzinfo=UTC)
    times = Schedule("0 3 * * *", "Europe/Berlin").next(summer, 3)
    assert [each.hour for each in times] == [1, 2, 2]


@pytest.mark.parametrize(
    ("cron", "words"),
    [
        ("7 3 * * *", "Every day at 03:07."),
        ("0 3 * * 0", "Every Sunday at 03:00."),
        ("0 3 * * 7", "Every Sunday at 03:00."),
        ("30 4 * * 1-5", "From Monday to Friday at 04:30."),
        ("0 3 1 * *", "On day 1 of each month at 03:00."),
        ("5 * * * *", "Every hour, at minute 5."),
        ("5 */6 * * *", "Every 6 hours, at minute 5."),
        (
            "0 3 1 1 1",
            "Minute 0, hour 3, day of the month 1, month 1, day of the week 1.",
        ),
    ],
)
def test_a_schedule_in_words(cron: str, words: str):
    assert describe(cron) == words


# --- What was seen ----------------------------------------------------------------------------------


async def test_what_was_seen_is_bounded_in_number_and_time(ahead: Ahead, monkeypatch: Any):
    store, now = ahead.service.store, utc_now()
    monkeypatch.setattr(deliveries, "MAX_KEPT", 3)
    for number in range(5):
        at = now + timedelta(seconds=number)
        assert await store.see_delivery("detector", str(number), at=at)
    assert not await store.see_delivery("detector", "4", at=now)
    assert await store.see_delivery("detector", "0", at=now + timedelta(seconds=6))
    assert await store.see_delivery("another", "4", at=now)
    later = now + deliveries.KEPT + timedelta(days=1)
    assert await store.see_delivery("detector", "later", at=later)
    assert await store.see_delivery("detector", "4", at=later)


async def test_a_hook_shows_its_newest_deliveries_only(ahead: Ahead):
    environment, made = await ahead.hooked()
    for number in range(25):
        delivery = Delivery(made.hook.id, utc_now(), f"push {number}", Outcome.REFUSED)
        await ahead.service.store.note_delivery(made.hook, delivery, "")
    found = await ahead.hooks.deliveries(ALICE, environment.id)
    assert [each.event for each in found] == [f"push {n}" for n in range(24, 4, -1)]


def test_a_schedule_whose_zone_is_gone_follows_utc():
    """An upgrade of the system may remove old names."""
    now = datetime(2026, 11, 30, 1, tzinfo=UTC)
    (following,) = Schedule("0 2 * * *", "Gone/Zone").next(now)
    assert following == datetime(2026, 11, 30, 2, tzinfo=UTC)


async def test_a_schedule_that_can_no_longer_be_read_holds_up_no_other(ahead: Ahead):
    """A newer cron library may refuse what an older one took."""
    environment = await ahead.following.built()
    missed = utc_now() - timedelta(days=3)
    await ahead.service.store.put_schedule(environment.id, "0 3 * * 1-77", "UTC", missed)
    await ahead.look()
    state = await ahead.state(environment)
    assert (state.last_cause, state.due) == ("schedule", None)
