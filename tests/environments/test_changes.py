"""Which build was current since when, and why."""

import pytest

from jupyterhub_binder.errors import Conflict, NotAllowed, NotFound
from jupyterhub_binder.model import BuildState, EnvironmentState, User
from jupyterhub_binder.model.admin import Action, RuleKind
from jupyterhub_binder.model.history import ChangeCause, cause_of
from tests.kit.parts import ADMIN, ALICE, BOB


async def changes_of(service, environment):
    """Return the changes as tuples, oldest first."""
    page = await service.environments.requests.changes(ALICE, environment.id)
    return [(c.from_number, c.to_number, c.cause, c.by) for c in reversed(page.items)]


async def built_twice(service):
    """Return an environment whose build 2 is current."""
    environment = await service.create()
    await service.finished(environment.latest.build.id)
    again = await service.environments.build(ALICE, environment.id, force=True)
    await service.finished(again.latest.build.id)
    return await service.environments.get(ALICE, environment.id)


async def test_each_change_of_the_current_build_stays_as_an_entry(service):
    environment = await built_twice(service)
    await service.environments.requests.choose(
        ALICE, environment.id, 1, reason="  numpy 2\nbreaks it "
    )
    await service.environments.requests.choose(ADMIN, environment.id, 2)
    assert await changes_of(service, environment) == [
        (None, 1, ChangeCause.ASKED, "alice"),
        (1, 2, ChangeCause.ASKED, "alice"),
        (2, 1, ChangeCause.ROLLED_BACK, "alice"),
        (1, 2, ChangeCause.CHOSEN, "root"),
    ]
    newest, rollback, *_ = (
        await service.environments.requests.changes(ALICE, environment.id)
    ).items
    assert (newest.number, newest.reason) == (4, "")
    assert rollback.reason == "numpy 2 breaks it"


async def test_a_build_that_is_reused_changes_what_is_current_at_once(service):
    first = await service.create()
    await service.finished(first.latest.build.id)
    reused = await service.create(BOB)
    (change,) = (await service.environments.requests.changes(BOB, reused.id)).items
    assert (change.from_number, change.to_number, change.by) == (None, 1, "bob")


async def test_asking_again_for_what_is_current_adds_no_entry(service):
    environment = await built_twice(service)
    before = await changes_of(service, environment)
    await service.environments.build(ALICE, environment.id)
    await service.environments.requests.choose(ALICE, environment.id, 2)
    assert await changes_of(service, environment) == before


async def test_a_build_that_failed_adds_no_entry(service):
    environment = await service.create(fake={"fail_at": "building"})
    await service.finished(environment.latest.build.id)
    assert await changes_of(service, environment) == []
    with pytest.raises(Conflict):
        await service.environments.requests.choose(ALICE, environment.id, 1)


async def test_a_build_whose_image_is_gone_is_built_again_as_a_rollback(service):
    environment = await built_twice(service)
    first = (await service.environments.requests.get(ALICE, environment.id, 1)).build
    await service.backend.delete_image(first.image)
    asked = await service.environments.requests.choose(ALICE, environment.id, 1, reason="as before")
    # Build 2 has the same commit and options here, so its image serves.
    assert asked.current.build.resolved_ref == first.resolved_ref
    assert asked.state is EnvironmentState.READY


async def test_a_commit_is_built_again_if_no_image_of_it_is_left(service):
    environment = await built_twice(service)
    for number in (1, 2):
        build = (await service.environments.requests.get(ALICE, environment.id, number)).build
        await service.backend.delete_image(build.image)
    asked = await service.environments.requests.choose(ALICE, environment.id, 1, reason="as before")
    assert (asked.current.number, asked.latest.number) == (2, 3)
    build = await service.finished(asked.latest.build.id)
    assert build.state is BuildState.BUILT
    newest, *_ = (await service.environments.requests.changes(ALICE, environment.id)).items
    assert (newest.from_number, newest.to_number) == (2, 3)
    assert (newest.cause, newest.reason) == (ChangeCause.ROLLED_BACK, "as before")


async def test_a_rollback_obeys_a_ban_that_was_made_since(service):
    environment = await built_twice(service)
    await service.admin.rules.add(ADMIN, RuleKind.BAN, "github.com/org/repo")
    with pytest.raises(NotAllowed):
        await service.environments.requests.choose(ALICE, environment.id, 1)
    assert (await service.environments.get(ALICE, environment.id)).current.number == 2


async def test_who_may_not_build_may_still_choose_what_is_there(service):
    environment = await built_twice(service)
    alice = User("alice", can_build=False)
    chosen = await service.environments.requests.choose(alice, environment.id, 1)
    assert chosen.current.number == 1
    for number in (1, 2):
        build = (await service.environments.requests.get(ALICE, environment.id, number)).build
        await service.backend.delete_image(build.image)
    with pytest.raises(NotAllowed):
        await service.environments.requests.choose(alice, environment.id, 2)


async def test_changes_are_not_for_others_and_go_with_their_environment(service):
    environment = await built_twice(service)
    with pytest.raises(NotFound):
        await service.environments.requests.changes(BOB, environment.id)
    await service.environments.delete(ALICE, environment.id)
    with pytest.raises(NotFound):
        await service.environments.requests.changes(ALICE, environment.id)


async def test_a_choice_is_in_the_audit_log(service):
    environment = await built_twice(service)
    await service.environments.requests.choose(ALICE, environment.id, 1)
    (entry,) = (await service.admin.audit.list(action=Action.BUILD_CHOOSE)).items
    assert (entry.actor, entry.target) == ("alice", environment.id)


def test_an_earlier_build_is_a_rollback_and_a_later_one_a_choice():
    assert cause_of(3, 2) is ChangeCause.ROLLED_BACK
    assert cause_of(2, 3) is ChangeCause.CHOSEN
    assert cause_of(None, 1) is ChangeCause.CHOSEN
