"""What is featured: who sees it, who may change it, and what the configuration keeps."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest

from jupyterhub_binder.environments.featured import Featured
from jupyterhub_binder.errors import (
    ConfigurationError,
    Conflict,
    InvalidInput,
    NotAllowed,
    NotFound,
    UpstreamUnavailable,
)
from jupyterhub_binder.model import Commit, EnvironmentState, UpdateMode, User
from jupyterhub_binder.model.admin import SERVICE, Action, RuleKind
from jupyterhub_binder.model.featured import HUB_OWNER
from jupyterhub_binder.model.sharing import Right, Subject, SubjectKind
from jupyterhub_binder.repositories.fetcher import Fetcher, Peek
from jupyterhub_binder.repositories.git import Git
from jupyterhub_binder.utils.time import utc_now
from tests.kit.parts import ADMIN, ALICE, BOB
from tests.kit.pictures import png
from tests.kit.waiting import until_it_comes

CAROL = User("carol", groups=("course",))
COURSE = Subject(SubjectKind.GROUP, "course")
EVERYONE = Subject(SubjectKind.EVERYONE)


async def gallery_of(service, user):
    return [each.environment.id for each in await service.gallery.list(user)]


async def test_featured_for_everyone_anybody_sees_and_launches_it(service):
    environment = await service.create()
    await service.finished(environment.latest.build.id)
    await service.gallery.put(ADMIN, environment.id, EVERYONE, "Start here.")
    (seen,) = await service.gallery.list(BOB)
    assert (seen.entry.text, seen.environment.right) == ("Start here.", Right.LAUNCH)
    # It is in the list only once it is used.
    assert not (await service.environments.list(BOB, gallery=True)).items
    assert (await service.environments.list(BOB)).total == 1
    spec = await service.launch_specs.prepare_start(BOB, environment.id)
    assert spec.image
    assert (await service.environments.list(BOB, gallery=True)).total == 1
    (own,) = await service.gallery.list(ALICE)
    assert own.environment.right is Right.OWN


async def test_featured_for_a_group_nobody_else_sees_it(service):
    environment = await service.create()
    await service.gallery.put(ADMIN, environment.id, COURSE)
    assert await gallery_of(service, CAROL) == [environment.id]
    assert not await gallery_of(service, BOB)
    assert not await gallery_of(service, User("carol"))
    with pytest.raises(NotFound):
        await service.environments.get(BOB, environment.id)


async def test_only_administrators_change_it(service):
    environment = await service.create()
    for person in (ALICE, BOB):
        with pytest.raises(NotAllowed):
            await service.gallery.put(person, environment.id, EVERYONE)
        with pytest.raises(NotAllowed):
            await service.gallery.remove(person, environment.id)
        with pytest.raises(NotAllowed):
            await service.gallery.list_all(person)
    with pytest.raises(InvalidInput, match="for everyone or for a group"):
        await service.gallery.put(ADMIN, environment.id, Subject(SubjectKind.USER, "bob"))
    with pytest.raises(InvalidInput, match="at most 300"):
        await service.gallery.put(ADMIN, environment.id, EVERYONE, "x" * 301)
    assert not await service.gallery.list_all(ADMIN)
    page = await service.admin.audit.list(action=Action.ENVIRONMENT_FEATURE)
    assert not page.items


async def test_the_end_takes_only_the_share_that_came_with_it(service):
    environment = await service.create()
    store = service.store
    await service.gallery.put(ADMIN, environment.id, COURSE)
    await service.gallery.put(ADMIN, environment.id, EVERYONE)
    (share,) = await store.list_shares(environment.id)
    assert (share.subject, share.by) == (EVERYONE, "root")
    await service.gallery.remove(ADMIN, environment.id)
    assert not await store.list_shares(environment.id)
    await service.sharing.put(ALICE, environment.id, [(EVERYONE, Right.LAUNCH)])
    await service.gallery.put(ADMIN, environment.id, EVERYONE)
    await service.gallery.remove(ADMIN, environment.id)
    assert len(await store.list_shares(environment.id)) == 1
    page = await service.admin.audit.list(action=Action.ENVIRONMENT_FEATURE)
    assert [entry.detail.get("ended") for entry in page.items] == [True, None, True, None, None]


async def test_it_ends_with_its_share_and_with_its_environment(service):
    environment = await service.create()
    await service.gallery.put(ADMIN, environment.id, EVERYONE, "Text")
    # Another share, and more rights, change nothing.
    wanted = [(EVERYONE, Right.MANAGE), (COURSE, Right.LAUNCH)]
    await service.sharing.put(ALICE, environment.id, wanted)
    assert await gallery_of(service, BOB) == [environment.id]
    await service.sharing.put(ALICE, environment.id, [(COURSE, Right.LAUNCH)])
    assert not await gallery_of(service, CAROL)
    assert not await service.gallery.list_all(ADMIN)
    await service.gallery.put(ADMIN, environment.id, EVERYONE)
    await service.environments.delete(ALICE, environment.id)
    assert not await gallery_of(service, BOB)


# --- From the configuration -----------------------------------------------------------------------


class ReadmeFetcher(Fetcher):
    """Gives the README and a picture without a host."""

    text = "# Course\n\n![](sky.png)\n\nThe notebooks of the course.\n"

    @asynccontextmanager
    async def peek(self, resolved, *_):
        from pathlib import Path
        from tempfile import TemporaryDirectory

        with TemporaryDirectory() as folder:
            (Path(folder) / "README.md").write_text(self.text)
            (Path(folder) / "sky.png").write_bytes(png(32, 16))
            yield Peek(Path(folder), Commit(resolved.resolved_ref, "", utc_now()))


def configured(service, *items, fetcher=None):
    return Featured(
        store=service.store,
        gallery=service.gallery,
        environments_service=service.environments,
        launch_specs=service.launch_specs,
        providers=service.providers,
        fetcher=fetcher or ReadmeFetcher(git=Git()),
        builds=service.builds,
        rules=service.admin.rules,
        environments=list(items),
    )


COURSES = ("https://github.com/org/one/tree/main", "https://github.com/org/two/tree/main")


async def test_a_site_starts_with_what_its_configuration_lists(service):
    course = {"url": COURSES[1], "name": "Astronomy", "text": "Look up.", "group": "course"}
    part = configured(service, COURSES[0], course)
    await part.start()

    async def complete():
        found = await service.gallery.list(CAROL)
        ready = [each.environment.status is EnvironmentState.READY for each in found]
        return len(found) == 2 and all(ready) and all(each.entry.picture for each in found)

    await until_it_comes(complete)
    await part.stop()
    first, second = await service.gallery.list(CAROL)
    assert (first.environment.name, first.entry.text) == ("one", "The notebooks of the course.")
    assert (second.environment.name, second.entry.text) == ("Astronomy", "Look up.")
    assert await gallery_of(service, BOB) == [first.environment.id]
    assert first.environment.owner == HUB_OWNER
    assert first.environment.updates is UpdateMode.AUTO
    picture = await service.gallery.fetch_picture(BOB, first.environment.id)
    assert (picture.media_type, picture.data) == ("image/png", png(32, 16))
    with pytest.raises(NotFound):
        await service.gallery.fetch_picture(BOB, second.environment.id)
    with pytest.raises(Conflict, match=r"Featured\.environments"):
        await service.gallery.remove(ADMIN, first.environment.id)
    created = await service.admin.audit.list(action=Action.ENVIRONMENT_CREATE)
    assert {entry.actor for entry in created.items} == {SERVICE}


async def test_a_changed_configuration_changes_no_environment_that_stays(service):
    part = configured(service, *COURSES)
    await _check(part)
    before = {each.entry.link: each.environment.id for each in await service.gallery.list(BOB)}
    await _check(configured(service, COURSES[1], {"url": COURSES[0], "text": "Another text."}))
    found = await service.gallery.list(BOB)
    assert {each.entry.link: each.environment.id for each in found} == before
    assert [each.entry.text for each in found][1] == "Another text."
    await _check(configured(service, COURSES[1]))
    assert await gallery_of(service, BOB) == [before[COURSES[1]]]
    kept = await service.environments.list(ADMIN, owner=HUB_OWNER)
    assert kept.total == 1


async def _check(part):
    part._links = ()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(part, "_keep", part.check)
        await part.start()
        await part.check()
    await part.stop()


async def test_the_hub_own_environments_have_no_limit_and_their_builds_have(service):
    service.environments.max_per_user = 1
    service.builds.max_active_per_user = 1
    links = [f"https://github.com/org/r{number}/tree/main" for number in range(4)]
    part = configured(service, *links)
    await part.start()

    async def built():
        found = await service.gallery.list(BOB)
        return len(found) == 4 and all(each.environment.current for each in found)

    await until_it_comes(built)
    await part.stop()


@pytest.mark.parametrize(
    ("item", "why"),
    [
        ("not a link", "Featured.environments: 'not a link': "),
        (7, "write a link, or a dictionary of texts"),
        ({"url": COURSES[0], "grup": "x"}, "'grup' is no key of it"),
        ({"name": "x"}, "the url is missing"),
        ({"url": COURSES[0], "text": "x" * 301}, "at most 300"),
    ],
)
async def test_a_bad_item_stops_the_start_and_names_the_option(service, item, why):
    part = configured(service, item)
    with pytest.raises(ConfigurationError) as raised:
        await part.start()
    assert str(raised.value).startswith("Featured.environments: ")
    assert why in str(raised.value)
    with pytest.raises(ConfigurationError, match="there twice"):
        await configured(service, COURSES[0], COURSES[0]).start()


async def test_the_host_of_a_banned_repository_is_not_asked_for_its_readme(service):
    environment = await service.create()
    await service.gallery.put(ADMIN, environment.id, EVERYONE)
    rule = await service.admin.rules.add(ADMIN, RuleKind.BAN, "github.com/org/repo", "")
    part = configured(service)
    await _check(part)
    assert (await service.store.fetch_featured(environment.id)).read_ref == ""
    await service.admin.rules.remove(ADMIN, rule.id)
    await part.check()
    assert (await service.store.fetch_featured(environment.id)).text.startswith("The notebooks")


async def test_a_host_that_does_not_answer_delays_only_its_own(service, caplog, monkeypatch):
    resolve, asked = service.providers.resolve, []

    async def unreachable(spec, *, fresh=False):
        if spec.repo == "org/one":
            asked.append(spec)
            raise UpstreamUnavailable("github.com does not answer.")
        return await resolve(spec, fresh=fresh)

    monkeypatch.setattr(service.providers, "resolve", unreachable)
    part = configured(service, *COURSES)
    await _check(part)
    await part.check()
    once = len(asked)
    await part.check(thorough=False)  # as after each build that ends
    assert len(asked) == once
    (only,) = await service.gallery.list(BOB)
    assert only.entry.link == COURSES[1]
    assert caplog.text.count("github.com does not answer.") == 1
    monkeypatch.setattr(service.providers, "resolve", resolve)
    await part.check()
    assert len(await service.gallery.list(BOB)) == 2
