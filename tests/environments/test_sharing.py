"""What others may do with an environment, and what stays the owner's."""

import asyncio
from dataclasses import replace

import pytest

from jupyterhub_binder.environments.sharing import MAX_SHARES, read_subject
from jupyterhub_binder.errors import InvalidInput, LimitReached, NotAllowed, NotFound
from jupyterhub_binder.model import UpdateMode, User
from jupyterhub_binder.model.admin import Action
from jupyterhub_binder.model.sharing import Right, Subject, SubjectKind
from tests.kit.parts import ADMIN, ALICE, BOB
from tests.kit.waiting import until

CAROL = User("carol", groups=("course",))
COURSE = Subject(SubjectKind.GROUP, "course")
EVERYONE = Subject(SubjectKind.EVERYONE)


def person(name):
    return Subject(SubjectKind.USER, name)


async def shared(service, subject=EVERYONE, right=Right.LAUNCH, **fields):
    """Return a built environment of alice's that others may use."""
    environment = await service.create(**fields)
    if environment.latest:
        await service.finished(environment.latest.build.id)
    await service.sharing.put(ALICE, environment.id, [(subject, right)])
    return environment


@pytest.mark.parametrize("subject", [person("carol"), COURSE, EVERYONE])
async def test_a_share_lets_its_people_see_and_launch(service, subject):
    environment = await shared(service, subject)
    seen = await service.environments.get(CAROL, environment.id)
    assert (seen.owner, seen.right) == ("alice", Right.LAUNCH)
    assert (await service.launch_specs.prepare_start(CAROL, environment.id)).image
    seen = await service.environments.get(CAROL, environment.id)
    assert (await service.environments.list(CAROL)).items == (seen,)


@pytest.mark.parametrize("subject", [person("carol"), COURSE, person("bobby"), person("Bob")])
async def test_a_share_is_nobody_elses(service, subject):
    environment = await service.create()
    await service.store.put_shares(environment.id, _shares(subject))
    with pytest.raises(NotFound, match="ask the owner for access"):
        await service.environments.get(BOB, environment.id)
    assert not (await service.environments.list(BOB)).items


def _shares(*subjects):
    from jupyterhub_binder.model.sharing import Share
    from jupyterhub_binder.utils.time import utc_now

    return [Share(subject, Right.LAUNCH, utc_now(), "alice") for subject in subjects]


async def test_a_group_named_like_a_person_is_not_that_person(service):
    environment = await shared(service, Subject(SubjectKind.GROUP, "bob"))
    with pytest.raises(NotFound):
        await service.environments.get(BOB, environment.id)
    other = await shared(service, person("carol"))
    with pytest.raises(NotFound):
        await service.environments.get(User("dave", groups=("carol",)), other.id)


async def test_who_leaves_a_group_has_left_its_environments(service):
    environment = await shared(service, COURSE)
    assert await service.environments.get(CAROL, environment.id)
    left = User("carol")
    with pytest.raises(NotFound):
        await service.environments.get(left, environment.id)
    with pytest.raises(NotFound):
        await service.launch_specs.launch_spec(left, environment.id)
    assert not (await service.environments.list(left)).items


async def test_the_highest_of_several_rights_counts(service):
    environment = await service.create(build=False)
    await service.sharing.put(
        ALICE, environment.id, [(EVERYONE, Right.LAUNCH), (COURSE, Right.MANAGE)]
    )
    assert (await service.environments.get(CAROL, environment.id)).right is Right.MANAGE
    (listed,) = (await service.environments.list(CAROL)).items
    assert listed.right is Right.MANAGE
    assert (await service.environments.get(BOB, environment.id)).right is Right.LAUNCH


async def test_who_may_launch_may_not_change(service):
    environment = await shared(service)
    environments = service.environments
    for change in (
        environments.update(BOB, environment.id, name="mine"),
        environments.build(BOB, environment.id),
        environments.requests.choose(BOB, environment.id, 1),
        environments.delete(BOB, environment.id),
        environments.restore(BOB, environment.id),
        service.sharing.fetch(BOB, environment.id),
        service.sharing.put(BOB, environment.id, []),
        service.transfers.offer(BOB, environment.id, "bob"),
    ):
        with pytest.raises(NotAllowed):
            await change


async def test_who_may_manage_changes_everything_but_the_owner(service):
    environment = await shared(service, right=Right.MANAGE)
    renamed = await service.environments.update(BOB, environment.id, name="Ours")
    assert (renamed.name, renamed.owner, renamed.right) == ("Ours", "alice", Right.MANAGE)
    built = await service.environments.build(BOB, environment.id, force=True)
    await service.finished(built.latest.build.id)
    assert (await service.environments.requests.choose(BOB, environment.id, 1)).current.number == 1
    await service.sharing.put(BOB, environment.id, [(person("bob"), Right.MANAGE)])
    for change in (
        service.environments.delete(BOB, environment.id),
        service.transfers.offer(BOB, environment.id, "bob"),
    ):
        with pytest.raises(NotAllowed, match="Only the owner"):
            await change


async def test_an_admin_may_everything(service):
    environment = await service.create(build=False)
    assert (await service.environments.get(ADMIN, environment.id)).right is Right.OWN
    await service.sharing.put(ADMIN, environment.id, [(person("bob"), Right.MANAGE)])
    assert (await service.environments.delete(ADMIN, environment.id)).deleted


async def test_the_builds_of_a_shared_environment_can_be_read(service):
    environment = await shared(service, person("bob"))
    build_id = environment.latest.build.id
    _, found, request = await service.environments.requests.of_build(BOB, build_id)
    assert (found.id, found.right, request.number) == (environment.id, Right.LAUNCH, 1)
    with pytest.raises(NotFound):
        await service.environments.requests.of_build(CAROL, build_id)
    await service.sharing.put(ALICE, environment.id, [])
    with pytest.raises(NotFound):
        await service.environments.requests.of_build(BOB, build_id)


async def test_a_build_is_cancelled_by_those_who_may_manage(service):
    environment = await service.create(fake={"hang_at": "building"})
    build_id = environment.latest.build.id
    await service.sharing.put(
        ALICE, environment.id, [(EVERYONE, Right.LAUNCH), (COURSE, Right.MANAGE)]
    )
    with pytest.raises(NotAllowed):
        await service.environments.requests.cancel(BOB, build_id)
    other = await service.create(fake={"hang_at": "building"})
    assert other.latest.build.id == build_id
    assert not (await service.environments.requests.cancel(CAROL, build_id)).state.finished
    assert (await service.environments.get(ALICE, other.id)).latest.withdrawn is None
    assert (await service.environments.get(ALICE, environment.id)).latest.withdrawn


async def test_a_first_launch_builds_what_is_not_built(service):
    environment = await service.create(build=False)
    await service.sharing.put(ALICE, environment.id, [(EVERYONE, Right.LAUNCH)])
    spec = await service.launch_specs.prepare_start(BOB, environment.id)
    assert spec.build_id
    await service.finished(spec.build_id)
    assert (await service.launch_specs.launch_spec(BOB, environment.id)).image


# --- A launch is one's own ------------------------------------------------------------------------


async def test_a_launch_uses_ones_own_folder_and_time(service):
    own = await service.create(BOB, repo="other/repo", build=False)
    environment = await shared(service)
    spec = await service.launch_specs.prepare_start(BOB, environment.id)
    assert (own.directory, environment.directory) == ("repo", "repo")
    assert spec.directory == "repo-2"
    again = await service.launch_specs.launch_spec(BOB, environment.id)
    assert again.directory == "repo-2"
    mine = await service.environments.get(BOB, environment.id)
    assert (mine.directory, mine.launched is not None) == ("repo-2", True)
    theirs = await service.environments.get(ALICE, environment.id)
    assert (theirs.directory, theirs.launched) == ("repo", None)


async def test_ones_own_environment_of_the_same_repository_shares_the_folder(service):
    own = await service.create(BOB, build=False)
    environment = await shared(service)
    spec = await service.launch_specs.prepare_start(BOB, environment.id)
    assert spec.directory == own.directory


async def test_a_folder_of_a_shared_environment_is_not_given_to_another_repository(service):
    environment = await shared(service)
    await service.launch_specs.prepare_start(BOB, environment.id)
    assert (await service.create(BOB, repo="other/repo", build=False)).directory == "other-repo"
    assert (await service.create(BOB, build=False)).directory == "repo"


async def test_an_admin_launches_in_their_own_folder_too(service):
    await service.create(ADMIN, repo="other/repo", build=False)
    environment = await shared(service)
    spec = await service.launch_specs.prepare_start(ADMIN, environment.id)
    assert spec.directory == "repo-2"
    assert (await service.environments.get(ALICE, environment.id)).launched is None


async def test_other_files_get_another_folder(service):
    environment = await shared(service, build=False)
    await service.environments.keep_directory(environment.id, "bob")
    changed = await service.environments.update(
        ALICE, environment.id, content_url="https://github.com/org/files"
    )
    assert changed.directory == "files"
    assert (await service.environments.get(BOB, environment.id)).directory == "files"


# --- The list -------------------------------------------------------------------------------------


async def test_what_is_shared_stands_behind_ones_own_and_is_found(service):
    await shared(service, name="Climate course", build=False)
    await shared(service, name="Survey", build=False)
    await service.create(BOB, name="Climate of bob", build=False)
    listed = await service.environments.list(BOB)
    assert [e.name for e in listed.items] == ["Climate of bob", "Survey", "Climate course"]
    found = await service.environments.list(BOB, search="climate")
    assert [e.owner for e in found.items] == ["bob", "alice"]
    by_name = await service.environments.list(BOB, order="name", offset=1, limit=1)
    assert ([e.name for e in by_name.items], by_name.total) == (["Climate course"], 3)
    assert (await service.environments.list(BOB, owner="bob")).total == 1


async def test_what_one_launched_last_comes_first_of_what_is_shared(service):
    first = await shared(service, name="first")
    await shared(service, name="second")
    await service.launch_specs.prepare_start(BOB, first.id)
    assert [e.name for e in (await service.environments.list(BOB)).items] == ["first", "second"]


async def test_a_deleted_environment_is_nobodys_but_the_owners(service):
    environment = await shared(service)
    await service.environments.delete(ALICE, environment.id)
    for look in (service.environments.get, service.environments.recall):
        with pytest.raises(NotFound):
            await look(BOB, environment.id)
    assert not (await service.environments.list(BOB)).items
    await service.environments.restore(ALICE, environment.id)
    assert (await service.environments.list(BOB)).total == 1


# --- Giving shares --------------------------------------------------------------------------------


async def test_a_list_of_shares_replaces_the_one_before(service):
    environment = await service.create(build=False)
    sharing = service.sharing
    await sharing.put(
        ALICE, environment.id, [(COURSE, Right.LAUNCH), (person("bob"), Right.MANAGE)]
    )
    kept = (await sharing.fetch(ALICE, environment.id)).shares
    await sharing.put(ADMIN, environment.id, [(COURSE, Right.LAUNCH), (EVERYONE, Right.LAUNCH)])
    now = (await sharing.fetch(ALICE, environment.id)).shares
    assert [str(s.subject) for s in now] == ["everyone", "group:course"]
    assert now[1] == kept[0]
    assert now[0].by == "root"


async def test_one_share_is_added_changed_and_ended(service):
    environment = await service.create(build=False)
    sharing = service.sharing
    await sharing.add(ALICE, environment.id, COURSE, Right.LAUNCH)
    await sharing.add(ALICE, environment.id, EVERYONE, Right.LAUNCH)
    await sharing.add(ALICE, environment.id, COURSE, Right.MANAGE)
    now = (await sharing.fetch(ALICE, environment.id)).shares
    assert [(str(s.subject), s.right) for s in now] == [
        ("everyone", "launch"),
        ("group:course", "manage"),
    ]
    for _ in range(2):
        await sharing.remove(ALICE, environment.id, EVERYONE)
    assert len((await sharing.fetch(ALICE, environment.id)).shares) == 1


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ([person("nobody")], "no user named"),
        ([person("Bob")], "no user named"),
        ([person("alice")], "is the owner"),
        ([EVERYONE, EVERYONE], "only once"),
        ([Subject(SubjectKind.GROUP, str(n)) for n in range(MAX_SHARES + 1)], "at most"),
    ],
)
async def test_a_wrong_list_of_shares_changes_nothing(service, wanted, said):
    environment = await shared(service, COURSE, build=False)
    with pytest.raises(InvalidInput, match=said):
        await service.sharing.put(ALICE, environment.id, [(s, Right.LAUNCH) for s in wanted])
    (kept,) = (await service.sharing.fetch(ALICE, environment.id)).shares
    assert kept.subject == COURSE


async def test_a_person_whom_the_hub_forgot_does_not_block_the_list(service):
    environment = await service.create(build=False)
    await service.store.put_shares(environment.id, _shares(person("gone")))
    await service.sharing.add(ALICE, environment.id, COURSE, Right.LAUNCH)
    await service.sharing.remove(ALICE, environment.id, person("gone"))
    assert len((await service.sharing.fetch(ALICE, environment.id)).shares) == 1


@pytest.mark.parametrize(
    "text",
    ["", "bob", "user:", "user: bob", "user:bob ", "role:x", "everyone:", "EVERYONE", "user:a\x00b",
     "group:" + "x" * 256, "user:\u202ebob"],
)  # fmt: skip
def test_what_is_no_subject_is_refused(text):
    with pytest.raises(InvalidInput):
        read_subject(text)


@pytest.mark.parametrize("text", ["user:bob", "user:a:b", "group:intro to x", "everyone"])
def test_a_subject_is_read_as_it_is_written(text):
    assert str(read_subject(text)) == text


async def test_the_audit_log_says_who_may_use_it_from_now_on(service):
    environment = await shared(service, COURSE, build=False)
    await service.sharing.put(ALICE, environment.id, [(person("bob"), Right.MANAGE)])
    await service.sharing.put(ALICE, environment.id, [(person("bob"), Right.MANAGE)])
    page = await service.admin.audit.list(action=Action.ENVIRONMENT_SHARE)
    assert [(e.detail["given"], e.detail.get("ended")) for e in page.items] == [
        ("user:bob (manage)", "group:course (launch)"),
        ("group:course (launch)", None),
    ]


async def test_the_use_of_others_is_counted_without_the_owners(service):
    environment = await shared(service)
    for user in (ALICE, BOB, CAROL, BOB):
        await service.launch_specs.prepare_start(user, environment.id)
    use = (await service.sharing.fetch(ALICE, environment.id)).use
    assert (use.people, use.launched is not None) == (2, True)


# --- Copies ---------------------------------------------------------------------------------------


async def test_a_copy_has_the_settings_and_the_current_build_and_nothing_else(service):
    environment = await shared(service, name="Course")
    await service.environments.update(ALICE, environment.id, path="index.ipynb")
    await service.environments.build(ALICE, environment.id, ref="next")
    original = await service.environments.get(ALICE, environment.id)
    copy = await service.copies.copy(BOB, environment.id)
    assert (copy.owner, copy.name, copy.path, copy.right) == ("bob", "Course", "index.ipynb", "own")
    assert copy.current.build.id == original.current.build.id
    assert (await service.environments.requests.list(BOB, copy.id)).total == 1
    assert not (await service.sharing.fetch(BOB, copy.id)).shares
    with pytest.raises(NotFound):
        await service.environments.get(CAROL, copy.id)
    named = await service.copies.copy(BOB, environment.id, name="My course")
    assert named.name == "My course"


async def test_a_copy_needs_a_right_and_the_scope(service):
    environment = await service.create(build=False)
    with pytest.raises(NotFound):
        await service.copies.copy(BOB, environment.id)
    await service.sharing.put(ALICE, environment.id, [(EVERYONE, Right.LAUNCH)])
    with pytest.raises(NotAllowed):
        await service.copies.copy(User("eve", can_build=False), environment.id)
    assert (await service.copies.copy(BOB, environment.id)).current is None


# --- Transfers ------------------------------------------------------------------------------------


async def test_who_manages_cannot_have_builds_made_in_the_owners_name(service):
    environment = await shared(service, person("bob"), Right.MANAGE)
    with pytest.raises(NotAllowed, match="Only the owner"):
        await service.environments.update(BOB, environment.id, updates=UpdateMode.AUTO)
    changed = await service.environments.update(BOB, environment.id, updates=UpdateMode.NEVER)
    assert changed.updates is UpdateMode.NEVER


async def test_a_new_owner_has_not_asked_for_updates_by_themselves(service):
    environment = await service.create()
    await service.environments.update(ALICE, environment.id, updates=UpdateMode.AUTO)
    await service.transfers.offer(ALICE, environment.id, "bob")
    assert (await service.transfers.accept(BOB, environment.id)).updates is UpdateMode.ASK


async def test_an_accepted_offer_gives_it_away(service):
    environment = await shared(service, person("bob"))
    await service.launch_specs.prepare_start(BOB, environment.id)
    await service.transfers.offer(ALICE, environment.id, "bob")
    (offer,) = await service.transfers.list(BOB)
    assert (offer.transfer.to, offer.environment.name) == ("bob", "repo")
    accepted = await service.transfers.accept(BOB, environment.id)
    assert (accepted.owner, accepted.launched is not None) == ("bob", True)
    assert (await service.environments.get(ALICE, environment.id)).right is Right.MANAGE
    (share,) = (await service.sharing.fetch(BOB, environment.id)).shares
    assert str(share.subject) == "user:alice"
    assert not await service.transfers.list(BOB)
    with pytest.raises(NotAllowed):
        await service.environments.delete(ALICE, environment.id)


async def test_an_offer_alone_gives_no_right(service):
    environment = await service.create(build=False)
    await service.transfers.offer(ALICE, environment.id, "bob")
    with pytest.raises(NotFound):
        await service.environments.get(BOB, environment.id)
    with pytest.raises(NotFound):
        await service.transfers.accept(CAROL, environment.id)
    with pytest.raises(NotFound):
        await service.transfers.accept(ALICE, environment.id)


@pytest.mark.parametrize("who", [ALICE, BOB, ADMIN])
async def test_an_offer_is_withdrawn_or_declined(service, who):
    environment = await service.create(build=False)
    await service.transfers.offer(ALICE, environment.id, "bob")
    await service.transfers.withdraw(who, environment.id)
    for look in (service.transfers.accept, service.transfers.fetch):
        with pytest.raises(NotFound):
            await look(BOB, environment.id)


async def test_an_offer_expires(service):
    environment = await service.create(build=False)
    offer = await service.transfers.offer(ALICE, environment.id, "bob")
    await service.store.put_transfer(replace(offer.transfer, expires=offer.transfer.offered))
    assert not await service.transfers.list(BOB)
    with pytest.raises(NotFound):
        await service.transfers.accept(BOB, environment.id)


async def test_an_offer_of_a_deleted_environment_is_none(service):
    environment = await service.create(build=False)
    await service.transfers.offer(ALICE, environment.id, "bob")
    await service.environments.delete(ALICE, environment.id)
    assert not await service.transfers.list(BOB)
    with pytest.raises(NotFound):
        await service.transfers.accept(BOB, environment.id)


async def test_accepting_is_no_way_around_the_limit(service):
    environment = await service.create(build=False)
    await service.transfers.offer(ALICE, environment.id, "bob")
    await service.create(BOB, build=False)
    service.environments.max_per_user = 1
    with pytest.raises(LimitReached):
        await service.transfers.accept(BOB, environment.id)
    assert (await service.environments.get(ALICE, environment.id)).owner == "alice"
    assert await service.transfers.list(BOB)


async def test_accepting_and_copying_are_no_way_around_the_limit_of_new_people(service):
    environment = await shared(service, person("carol"), build=False)
    await service.transfers.offer(ALICE, environment.id, "bob")
    service.admin.limits.new_people = {"environments": 0}
    with pytest.raises(LimitReached, match="new people"):
        await service.transfers.accept(BOB, environment.id)
    with pytest.raises(LimitReached, match="new people"):
        await service.copies.copy(CAROL, environment.id)


async def test_only_a_person_of_the_hub_can_receive(service):
    environment = await service.create(build=False)
    for name in ("nobody", "alice"):
        with pytest.raises(InvalidInput):
            await service.transfers.offer(ALICE, environment.id, name)


async def test_nobody_builds_by_themselves_for_another_owner(service):
    environment = await shared(service)
    await service.environments.update(ALICE, environment.id, updates=UpdateMode.AUTO)
    assert (await service.copies.copy(BOB, environment.id)).updates is UpdateMode.ASK
    await service.transfers.offer(ALICE, environment.id, "bob")
    assert (await service.transfers.accept(BOB, environment.id)).updates is UpdateMode.ASK


async def test_a_share_that_ends_while_another_begins_does_not_come_back(service, monkeypatch):
    environment = await shared(service, person("bob"))
    asked, answer = asyncio.Event(), asyncio.Event()

    async def knows_user(name):
        asked.set()
        await answer.wait()
        return True

    monkeypatch.setattr(service.sharing._hub, "knows_user", knows_user)
    add = service.sharing.add(ALICE, environment.id, person("carol"), Right.LAUNCH)
    adding = asyncio.create_task(add)
    await asked.wait()
    remove = service.sharing.remove(ALICE, environment.id, person("bob"))
    removing = asyncio.create_task(remove)
    await until(lambda: removing.done() or service.sharing._changing[environment.id]._waiters)
    answer.set()
    await asyncio.gather(adding, removing)
    left = await service.sharing.fetch(ALICE, environment.id)
    assert [each.subject for each in left.shares] == [person("carol")]


async def test_an_offer_that_is_withdrawn_while_it_is_accepted_is_withdrawn(service, monkeypatch):
    environment = await service.create(build=False)
    await service.transfers.offer(ALICE, environment.id, "bob")
    accept = service.store.accept_transfer

    async def withdrawn_before(*args, **kwargs):
        await service.transfers.withdraw(ALICE, environment.id)
        return await accept(*args, **kwargs)

    monkeypatch.setattr(service.store, "accept_transfer", withdrawn_before)
    with pytest.raises(NotFound, match="not offered to you"):
        await service.transfers.accept(BOB, environment.id)
    assert (await service.environments.get(ALICE, environment.id)).owner == "alice"


async def test_a_manager_does_not_resume_builds_in_the_owners_name(service):
    environment = await shared(service, right=Right.MANAGE)
    await service.environments.update(ALICE, environment.id, updates=UpdateMode.AUTO)
    with pytest.raises(NotAllowed, match="Only the owner"):
        await service.environments.update(BOB, environment.id, resume=True)
    assert await service.environments.update(ALICE, environment.id, resume=True)


async def test_a_manager_does_not_choose_what_is_built_in_the_owners_name(service):
    environment = await shared(service, right=Right.MANAGE)
    await service.environments.update(ALICE, environment.id, updates=UpdateMode.AUTO)
    with pytest.raises(NotAllowed, match="Only the owner"):
        await service.environments.build(BOB, environment.id, ref="theirs")
    with pytest.raises(NotAllowed, match="Only the owner"):
        await service.environments.build(BOB, environment.id, python="3.11")
    assert (await service.environments.build(BOB, environment.id, ref="main")).spec.ref == "main"
    await service.environments.update(BOB, environment.id, updates=UpdateMode.ASK)
    changed = await service.environments.build(BOB, environment.id, ref="theirs")
    assert (changed.spec.ref, changed.updates) == ("theirs", UpdateMode.ASK)
