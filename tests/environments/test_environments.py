import asyncio
import contextlib
from dataclasses import replace
from datetime import timedelta

import pytest

from jupyterhub_binder.errors import (
    BinderError,
    Conflict,
    InvalidInput,
    LimitReached,
    NotAllowed,
    NotFound,
    RateLimited,
    UpstreamUnavailable,
)
from jupyterhub_binder.model import BuildState, ContentMode, Environment, Link, Resolved, Spec, User
from jupyterhub_binder.utils.time import utc_now
from tests.kit.parts import ADMIN, ALICE, BOB
from tests.kit.waiting import until


async def test_others_do_not_see_it_and_an_admin_does(service):
    environment = await service.create()
    for look in (
        service.environments.get,
        service.environments.delete,
        service.environments.restore,
        service.environments.build,
        service.environments.requests.list,
        service.launch_specs.launch_spec,
    ):
        with pytest.raises(NotFound):
            await look(BOB, environment.id)
    with pytest.raises(NotFound):
        await service.environments.requests.choose(BOB, environment.id, 1)
    with pytest.raises(NotFound):
        await service.environments.update(BOB, environment.id, name="mine")
    assert (await service.environments.get(ADMIN, environment.id)).owner == "alice"


async def test_a_build_is_seen_by_those_whose_environments_want_it(service):
    environment = await service.create()
    build_id = environment.latest.build.id
    _, theirs, request = await service.environments.requests.of_build(ALICE, build_id)
    assert (theirs.id, request.number) == (environment.id, 1)
    with pytest.raises(NotFound):
        await service.environments.requests.of_build(BOB, build_id)
    build, none, _ = await service.environments.requests.of_build(ADMIN, build_id)
    assert (build.id, none) == (build_id, None)


@pytest.mark.parametrize(
    ("answer", "elsewhere", "given"),
    [
        (UpstreamUnavailable("It did not answer."), True, True),
        (UpstreamUnavailable("It did not answer."), False, False),
        (RateLimited("Too many requests."), True, False),
    ],
)
async def test_another_s_image_is_given_without_the_host_s_word_only_if_we_cannot_reach_it(
    service, monkeypatch, answer: BinderError, elsewhere: bool, given: bool
):
    made = await service.create()
    await service.finished(made.latest.build.id)

    async def ask(_: Resolved) -> None:
        raise answer

    monkeypatch.setattr(service.providers, "require_served", ask)
    monkeypatch.setattr(type(service.backend), "needs_checkout", not elsewhere)
    with contextlib.nullcontext() if given else pytest.raises(type(answer)):
        await service.create(BOB)


async def test_default_branch_is_known_by_the_name_that_it_had_last(service, monkeypatch):
    names = {"HEAD": "trunk"}
    resolve = service.providers.resolve

    async def ask(spec: Spec, *, fresh: bool = False) -> Resolved:
        return replace(await resolve(spec), default_branch=names.get(spec.ref, ""))

    monkeypatch.setattr(service.providers, "resolve", ask)
    made = await service.create(ref="HEAD")
    assert made.ref_name == "trunk"
    names["HEAD"] = "main"
    await service.environments.build(ALICE, made.id, force=True)
    assert (await service.environments.get(ALICE, made.id)).ref_name == "main"
    await service.environments.build(ALICE, made.id, ref="v1")
    assert (await service.environments.get(ALICE, made.id)).ref_name == "v1"


async def test_a_list_is_ones_own_searched_paged_and_ordered(service):
    for name in ("Climate", "survey", "Climate 2"):
        await service.create(name=name, build=False)
    await service.create(BOB, name="Climate of bob", build=False)
    names = [e.name for e in (await service.environments.list(ALICE)).items]
    assert names == ["Climate 2", "survey", "Climate"]
    by_name = await service.environments.list(ALICE, order="name", limit=2, offset=1)
    assert ([e.name for e in by_name.items], by_name.total) == (["Climate 2", "survey"], 3)
    found = await service.environments.list(ALICE, search="CLIM 2")
    assert [e.name for e in found.items] == ["Climate 2"]
    with pytest.raises(NotAllowed):
        await service.environments.list(ALICE, owner="bob")
    assert (await service.environments.list(ADMIN, owner="*")).total == 4


@pytest.mark.parametrize("search", ["%", "_", "\\", "'; drop table environments; --"])
async def test_a_search_for_special_characters_finds_only_those(service, search):
    await service.create(name="plain", build=False)
    assert (await service.environments.list(ALICE, search=search)).total == 0


@pytest.mark.parametrize("search", ["pl\x00ain", "\ud800", "\x00"])
async def test_a_search_for_what_does_not_show_is_no_error(service, search):
    await service.create(name="pl ain", build=False)
    assert (await service.environments.list(ALICE, search=search)).total == 1


async def test_undoing_deletes_is_no_way_around_the_limit(service):
    service.environments.max_per_user = 2
    gone = [await service.create(name=name, build=False) for name in ("a", "b")]
    for environment in gone:
        await service.environments.delete(ALICE, environment.id)
    await service.create(name="c", build=False)
    await service.environments.restore(ALICE, gone[0].id)
    with pytest.raises(LimitReached):
        await service.environments.restore(ALICE, gone[1].id)


async def test_undoing_all_deletes_at_once_is_none_either(service):
    service.environments.max_per_user = 3
    gone = []
    for number in range(9):
        made = await service.create(repo=f"org/{number}", build=False)
        gone.append(await service.environments.delete(ALICE, made.id))
    answers = await asyncio.gather(
        *(service.environments.restore(ALICE, each.id) for each in gone), return_exceptions=True
    )
    assert sum(isinstance(answer, LimitReached) for answer in answers) == 6
    assert (await service.environments.limits(ALICE))["environments"].used == 3


async def test_delete_can_be_undone(service):
    environment = await service.create()
    await service.environments.delete(ALICE, environment.id)
    await service.environments.delete(ALICE, environment.id)
    with pytest.raises(NotFound):
        await service.environments.get(ALICE, environment.id)
    assert (await service.environments.list(ALICE)).total == 0
    restored = await service.environments.restore(ALICE, environment.id)
    assert restored.deleted is None
    assert (await service.environments.list(ALICE)).total == 1


async def test_a_purge_takes_only_what_was_deleted(service):
    gone, kept = await service.create(), await service.create()
    deleted = (await service.environments.delete(ALICE, gone.id)).deleted
    await service.environments.purge(deleted_before=deleted)
    assert (await service.environments.restore(ALICE, gone.id)).id == gone.id
    deleted = (await service.environments.delete(ALICE, gone.id)).deleted
    await service.environments.purge(deleted_before=deleted + timedelta(seconds=1))
    with pytest.raises(NotFound):
        await service.environments.restore(ALICE, gone.id)
    assert (await service.environments.get(ALICE, kept.id)).id == kept.id


async def test_a_purge_ends_the_builds_that_nobody_wants_any_more(service):
    gone = await service.create(repo="org/gone", fake={"hang_at": "building"})
    shared = await service.create(repo="org/shared", fake={"gate": "g"})
    await service.create(BOB, repo="org/shared", fake={"gate": "g"})
    for environment in (gone, shared):
        await service.environments.delete(ALICE, environment.id)
    await service.environments.purge(deleted_before=utc_now() + timedelta(seconds=1))
    assert (await service.builds.fetch_build(gone.latest.build.id)).state is BuildState.CANCELLED
    service.backend.gate("g").open()
    assert (await service.finished(shared.latest.build.id)).state is BuildState.BUILT


async def test_who_may_not_build_may_not_create(service):
    with pytest.raises(NotAllowed, match="custom:binder:build"):
        await service.create(User("carol", can_build=False))


async def test_a_quota_is_told_in_words(service):
    service.environments.max_per_user = 1
    await service.create(build=False)
    with pytest.raises(LimitReached, match="1 of 1"):
        await service.create(build=False)
    assert (await service.environments.limits(ALICE))["environments"].used == 1


async def test_folders_are_one_a_repository(service):
    first = await service.create(repo="org/data", build=False)
    same = await service.create(repo="org/data", ref="v2", build=False)
    other = await service.create(repo="else/data", build=False)
    assert first.directory == same.directory == "data"
    assert other.directory == "else-data"


async def test_quota_and_folders_hold_against_requests_at_once(service):
    service.environments.max_per_user = 3
    asked = [service.create(repo=f"org{number}/repo", build=False) for number in range(6)]
    made = await asyncio.gather(*asked, return_exceptions=True)
    kept = [each for each in made if isinstance(each, Environment)]
    assert len({each.directory for each in kept}) == len(kept) == 3
    assert sum(isinstance(each, LimitReached) for each in made) == 3


async def test_changes_are_kept(service):
    environment = await service.create(build=False)
    changed = await service.environments.update(
        ALICE, environment.id, name=" New\nname ", path="a//b.ipynb", content=ContentMode.LEAVE
    )
    assert (changed.name, changed.path, changed.content) == ("New name", "a/b.ipynb", "leave")
    assert (await service.environments.get(ALICE, environment.id)) == changed


async def test_files_of_another_repository_are_kept_in_step_in_a_folder_of_their_own(service):
    link = Link(Spec("gh", "org/env", "main"), content_url="https://github.com/org/course")
    environment = await service.environments.create(ALICE, link=link, build=False)
    assert environment.content is ContentMode.SYNC
    assert environment.content_url == "https://github.com/org/course"
    assert environment.content_ref == "HEAD"
    assert environment.directory == "course"
    spec = await service.launch_specs.launch_spec(ALICE, environment.id)
    assert (spec.content_url, spec.content_elsewhere) == (environment.content_url, True)
    plain = await service.create(repo="org/env", build=False)
    assert (plain.content, plain.directory) == (ContentMode.COPY, "env")
    other = Link(Spec("gh", "org/other", "main"), content_url="https://github.com/org/course")
    same = await service.environments.create(ALICE, link=other, build=False)
    assert same.directory == "course"
    # Each is found by where its files come from.
    assert (await service.environments.find(ALICE, link.spec)).id == plain.id
    source = {"content_url": environment.content_url, "content_ref": environment.content_ref}
    found = await service.environments.find(ALICE, link.spec, **source)
    assert found.id == environment.id


async def test_where_files_come_from_can_be_changed_and_changed_back(service):
    environment = await service.create(repo="org/env", build=False)
    update = service.environments.update
    changed = await update(
        ALICE, environment.id, content_url="https://github.com/org/course/tree/2026"
    )
    assert (changed.content_url, changed.content_ref) == ("https://github.com/org/course", "2026")
    assert changed.directory == "course"
    changed = await update(ALICE, environment.id, content_ref="2027")
    assert (changed.content_ref, changed.directory) == ("2027", "course")
    back = await update(ALICE, environment.id, content_url="")
    assert (back.content_url, back.content_ref, back.directory) == ("", "", "env")
    with pytest.raises(BinderError):
        await update(ALICE, environment.id, content_url="no repository at all")


async def test_a_build_without_an_image_cannot_be_chosen(service):
    environment = await service.create(fake={"fail_at": "building"})
    await service.finished(environment.latest.build.id)
    with pytest.raises(Conflict):
        await service.environments.requests.choose(ALICE, environment.id, 1)
    with pytest.raises(NotFound):
        await service.environments.requests.choose(ALICE, environment.id, 7)


async def test_a_launch_spec_names_the_current_image(service):
    environment = await service.create()
    await service.finished(environment.latest.build.id)
    spec = await service.launch_specs.launch_spec(ALICE, environment.id)
    assert spec.image.startswith("fake:")
    assert (spec.state, spec.directory) == ("ready", "repo")


@pytest.mark.parametrize("fake", [{"hang_at": "building"}, {"fail_at": "building"}])
async def test_an_unfinished_or_failed_build_has_no_image_to_start(service, fake):
    """tljh-repo2docker, 2026: an image that was being built, or had failed, was started."""
    environment = await service.create(fake=fake)
    if "fail_at" in fake:
        await service.finished(environment.latest.build.id)
    assert (await service.launch_specs.launch_spec(ALICE, environment.id)).image is None


async def test_a_launch_spec_says_how_it_is_asked_for_again(service):
    environment = await service.create()
    spec = await service.launch_specs.launch_spec(ALICE, environment.id)
    asked, fixed = spec.request, spec.persistent_request
    assert asked.startswith(f"v2/{environment.spec.provider}/")
    assert fixed.endswith(spec.resolved_ref)
    assert asked.removesuffix(environment.spec.ref) == fixed.removesuffix(spec.resolved_ref)
    assert spec.ref_url


async def test_an_update_that_finds_nothing_after_a_cancelled_build_adds_none(service):
    environment = await service.create()
    await service.finished(environment.latest.build.id)
    service.backend.gate("g")
    again = await service.environments.build(ALICE, environment.id, force=True)
    await service.builds.cancel(again.latest.build.id, user=ALICE)
    updated = await service.environments.build(ALICE, environment.id)
    assert updated.latest == updated.current
    assert updated.current.number == 1
    assert (await service.environments.requests.list(ALICE, environment.id)).total == 2
    third = await service.environments.build(ALICE, environment.id, force=True)
    assert third.latest.number == 3


async def test_history_is_newest_first(service):
    environment = await service.create()
    await service.finished(environment.latest.build.id)
    await service.environments.build(ALICE, environment.id, force=True)
    history = await service.environments.requests.list(ALICE, environment.id)
    assert [request.number for request in history.items] == [2, 1]


async def test_asking_again_for_the_same_adds_nothing(service):
    environment = await service.create()
    await service.finished(environment.latest.build.id)
    again = await service.environments.build(ALICE, environment.id)
    assert again.latest.number == 1


async def test_nobody_has_hosts_asked_for_everybody(service, monkeypatch):
    asked, answer = [], asyncio.Event()
    resolve_link = service.providers.resolve_link

    async def ask(link, **more):
        asked.append(link.spec.repo)
        await answer.wait()
        return await resolve_link(link, **more)

    monkeypatch.setattr(service.providers, "resolve_link", ask)
    links = [Link(Spec("gh", f"org/alice-{number}", "main")) for number in range(105)]
    asking = [asyncio.create_task(service.previews.preview(ALICE, link)) for link in links]
    await until(lambda: sum(task.done() for task in asking) == 1)
    refused = next(task for task in asking if task.done())
    assert isinstance(refused.exception(), LimitReached)
    bobs = asyncio.create_task(service.previews.preview(BOB, Link(Spec("gh", "org/bob", "main"))))
    await until(lambda: "org/bob" in asked)
    assert len(asked) == service.previews.max_questions_per_user + 1
    answer.set()
    await bobs
    await asyncio.gather(*asking, return_exceptions=True)


async def test_who_leaves_while_an_environment_is_kept_leaves_a_build_that_begins(
    service, monkeypatch
):
    insert, kept, go_on = service.store.insert_environment, asyncio.Event(), asyncio.Event()

    async def insert_slowly(*args, **kwargs):
        environment = await insert(*args, **kwargs)
        kept.set()
        await go_on.wait()
        return environment

    monkeypatch.setattr(service.store, "insert_environment", insert_slowly)
    asking = asyncio.create_task(service.create())
    await kept.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    go_on.set()
    (environment,) = (await service.environments.list(ALICE)).items
    build = await service.finished(environment.latest.build.id)
    assert build.state is BuildState.BUILT


async def test_a_repository_that_only_the_backend_reaches_is_no_reason_against_a_build(service):
    preview = await service.previews.preview(ALICE, Link(Spec("gh", "org/repo", "main")))
    assert (preview.commit, preview.recipe.files, preview.findings) == (None, (), ())


async def test_another_python_is_kept_for_later_builds_until_it_is_taken_back(service):
    environment = await service.create()
    with pytest.raises(InvalidInput):
        await service.environments.build(ALICE, environment.id, python="2.7")
    built = await service.environments.build(ALICE, environment.id, python="3.11")
    assert built.options == built.latest.build.options == {"python": "3.11"}
    again = await service.environments.build(ALICE, environment.id, force=True)
    assert again.latest.build.options == {"python": "3.11"}
    back = await service.environments.update(ALICE, environment.id, python="")
    assert back.options == {}
