"""Environments that are updated by themselves, and when they are not."""

from collections.abc import AsyncIterator

import pytest

from jupyterhub_binder.environments.upstream_words import describe_hold
from jupyterhub_binder.errors import NotAllowed
from jupyterhub_binder.model import BuildState, Environment, Hold, UpdateMode, User
from jupyterhub_binder.model.admin import Holder, LimitName, RuleKind
from tests.kit.parts import ADMIN, ALICE, Service
from tests.kit.upstream import Following, follow
from tests.kit.waiting import until


@pytest.fixture
async def following(service: Service) -> AsyncIterator[Following]:
    found = follow(service)
    yield found
    await found.updates.stop()
    await found.upstreams.stop()


async def automatic(following: Following, **where: str) -> Environment:
    environment = await following.built(**where)
    return await following.service.environments.update(
        ALICE, environment.id, updates=UpdateMode.AUTO
    )


async def push(following: Following, environment: Environment) -> Environment:
    """Push, and look until nothing more is to be done."""
    following.host.push()
    await ask(following, environment)
    now = await following.service.environments.get(ALICE, environment.id)
    assert now.latest is not None
    if not now.latest.build.state.finished:
        await following.service.finished(now.latest.build.id)
    await until(lambda: not len(following.updates._tasks))
    return await following.service.environments.get(ALICE, environment.id)


async def ask(following: Following, environment: Environment) -> None:
    await following.upstreams.ask(environment.spec)
    await until(lambda: not len(following.updates._tasks))


async def test_a_push_is_built_and_becomes_current(following):
    environment = await automatic(following)
    now = await push(following, environment)
    assert now.current.number == 2
    assert now.current.build.resolved_ref == f"{1:040x}"
    assert now.latest.requested_by == "alice"


async def test_who_asks_or_wants_no_news_gets_no_build(following):
    environment = await following.built()
    now = await push(following, environment)
    assert (now.updates, now.latest.number) == (UpdateMode.ASK, 1)


async def test_the_current_build_stays_in_use_until_the_new_one_has_passed(following):
    environment = await automatic(following)
    following.service.backend.script = {"gate": "g"}
    following.host.push()
    await ask(following, environment)
    await following.service.backend.gate("g").reached.wait()
    now = await following.service.environments.get(ALICE, environment.id)
    assert (now.current.number, now.latest.number) == (1, 2)
    spec = await following.service.launch_specs.launch_spec(ALICE, environment.id)
    assert spec.image == environment.current.build.image
    following.service.backend.gate("g").open()
    await following.service.finished(now.latest.build.id)


async def test_a_failed_commit_is_not_tried_again_and_two_failures_pause(following):
    environment = await automatic(following)
    following.service.backend.script = {"fail_at": "building", "reason": "no numpy"}
    once = await push(following, environment)
    assert (once.held, once.current.number, once.latest.number) == (None, 1, 2)
    await ask(following, environment)
    assert (await following.service.environments.get(ALICE, environment.id)).latest.number == 2
    twice = await push(following, environment)
    assert (twice.held, twice.current.number) == (Hold.FAILURES, 1)
    assert "no numpy" in describe_hold(twice)
    following.service.backend.script = {}
    held = await push(following, environment)
    assert held.latest.number == 3
    await following.service.environments.update(ALICE, environment.id, resume=True)
    await ask(following, environment)
    await until(lambda: not len(following.updates._tasks))
    resumed = await following.service.environments.get(ALICE, environment.id)
    assert (await following.service.finished(resumed.latest.build.id)).state is BuildState.BUILT


async def test_a_rollback_pauses_until_it_is_resumed(following):
    environment = await automatic(following)
    await push(following, environment)
    chosen = await following.service.environments.requests.choose(ALICE, environment.id, 1)
    assert chosen.held is Hold.ROLLBACK
    assert str(describe_hold(chosen)) == "Updates are paused because you chose build 1."
    held = await push(following, environment)
    assert (held.current.number, held.latest.number) == (1, 2)
    resumed = await following.service.environments.update(ALICE, environment.id, resume=True)
    assert resumed.held is None
    await ask(following, environment)
    await following.service.finished(
        (await following.service.environments.get(ALICE, environment.id)).latest.build.id
    )
    now = await following.service.environments.get(ALICE, environment.id)
    assert (now.current.number, now.current.build.resolved_ref) == (3, f"{2:040x}")
    changes = await following.service.environments.requests.changes(ALICE, environment.id)
    assert [change.cause for change in changes.items[:2]] == ["by_itself", "rolled_back"]


async def test_resuming_goes_back_to_the_newest_build(following):
    environment = await automatic(following)
    await push(following, environment)
    await following.service.environments.requests.choose(ALICE, environment.id, 1)
    await following.service.environments.update(ALICE, environment.id, resume=True)
    await ask(following, environment)
    now = await following.service.environments.get(ALICE, environment.id)
    assert (now.current.number, now.latest.number) == (2, 2)
    assert len(following.service.backend.begun) == 2


async def test_choosing_an_earlier_build_pauses_nothing_that_is_not_updated_by_itself(following):
    environment = await following.built()
    following.host.push()
    updated = await following.service.environments.build(ALICE, environment.id)
    await following.service.finished(updated.latest.build.id)
    assert (
        await following.service.environments.requests.choose(ALICE, environment.id, 1)
    ).held is None


async def test_rules_limits_and_a_drain_hold_for_it(following):
    environment = await automatic(following)
    await following.service.admin.drain.begin(ADMIN, "upgrade")
    assert (await push(following, environment)).latest.number == 1
    await following.service.admin.drain.end(ADMIN)
    limits = following.service.admin.limits
    await limits.set(ADMIN, Holder.PERSON, "alice", {LimitName.BUILDS: 0})
    assert (await push(following, environment)).latest.number == 1
    await limits.set(ADMIN, Holder.PERSON, "alice", {LimitName.BUILDS: None})
    await following.service.admin.rules.add(ADMIN, RuleKind.BAN, "github.com/org/repo")
    assert (await push(following, environment)).latest.number == 1


async def test_who_may_no_longer_build_gets_no_builds(following):
    environment = await automatic(following)
    await following.service.environments.list(User("alice", can_build=False))
    assert (await push(following, environment)).latest.number == 1
    asking = await following.built(repo="org/other")
    with pytest.raises(NotAllowed):
        await following.service.environments.update(
            User("alice", can_build=False), asking.id, updates=UpdateMode.AUTO
        )
