"""A build uses the image of an earlier one with the same recipe."""

from dataclasses import replace
from datetime import timedelta

import pytest

from jupyterhub_binder.backends.fake import FakeBackend
from jupyterhub_binder.environments.upstream_changes import UpstreamChanges
from jupyterhub_binder.errors import NotAllowed
from jupyterhub_binder.model import Build, BuildState, User
from jupyterhub_binder.model.admin import RuleKind
from jupyterhub_binder.utils.time import utc_now
from tests.kit.checkouts import DictFetcher
from tests.kit.parts import ADMIN, ALICE, BOB, MakeService, Service

PINNED = {"requirements.txt": "numpy==2.0.0\n", "index.ipynb": "{}"}


@pytest.fixture
async def reusing(make_service: MakeService, monkeypatch: pytest.MonkeyPatch) -> Service:
    """A service whose images contain nothing of their repository."""
    monkeypatch.setattr(FakeBackend, "needs_checkout", True)
    fetcher = DictFetcher(
        {
            "org/repo@main": PINNED,
            "org/repo@next": {**PINNED, "index.ipynb": "changed"},
            "org/repo@other": {"requirements.txt": "numpy==2.1.0\n"},
            "else/where@other": {"requirements.txt": "numpy==2.1.0\n"},
            "else/where@main": {**PINNED, "README.md": "Another repository"},
        }
    )
    service = await make_service(fetcher=fetcher)
    service.backend.script = {"self_contained": True}
    return service


async def build(service: Service, user: User = ALICE, **where: str) -> Build:
    environment = await service.create(user, **where)
    return await service.finished(environment.latest.build.id)


@pytest.mark.parametrize(
    "where", [{"ref": "next"}, {"repo": "else/where"}], ids=["branch", "repository"]
)
async def test_the_same_recipe_uses_the_image_that_is_there(reusing, where):
    first = await build(reusing)
    second = await build(reusing, BOB, **where)
    assert second.state is BuildState.BUILT
    assert (second.image, second.image_key) == (first.image, first.key)
    assert second.packages_from == first.packages_from
    assert reusing.backend.begun == [first.id]
    lines = [line.message for line in await reusing.lines(second.id)]
    assert (
        f"The recipe is the same as in build {first.id}; its image is used. No build was needed."
        in lines
    )


async def test_files_that_their_host_no_longer_gives_away_are_given_to_nobody_else(reusing):
    first = await build(reusing)
    reusing.builds._fetcher.gone.add("org/repo")
    second = await build(reusing, BOB, repo="else/where")
    assert (second.state, second.reused_key) == (BuildState.BUILT, None)
    assert reusing.backend.begun == [first.id, second.id]


async def test_a_changed_recipe_is_built(reusing):
    first = await build(reusing)
    second = await build(reusing, ref="other")
    assert second.reused_key is None
    assert second.image != first.image


async def test_an_image_with_files_of_its_repository_is_never_shared(reusing):
    reusing.backend.script = {"self_contained": False}
    first, second = await build(reusing), await build(reusing, ref="next")
    assert reusing.backend.begun == [first.id, second.id]
    assert second.recipe_digest is None


async def test_a_forced_build_reuses_nothing_and_is_reused_itself(reusing):
    environment = await reusing.create()
    await reusing.finished(environment.latest.build.id)
    forced = await reusing.environments.build(ALICE, environment.id, force=True)
    made = await reusing.finished(forced.latest.build.id)
    assert made.reused_key is None
    assert (await build(reusing, ref="next")).image == made.image


async def test_open_versions_are_chosen_again_after_some_days(reusing):
    reusing.backend.script = {"self_contained": True, "open_versions": True}
    first = await build(reusing)
    assert (await build(reusing, ref="next")).image == first.image
    await reusing.store.update_build(first.id, {"packages_from": utc_now() - timedelta(days=8)})
    third = await build(reusing, repo="else/where")
    assert third.reused_key is None
    said = "".join(line.message for line in await reusing.lines(third.id))
    assert "Versions are chosen again." in said


async def test_pinned_versions_are_reused_however_old(reusing):
    first = await build(reusing)
    await reusing.store.update_build(first.id, {"packages_from": utc_now() - timedelta(days=800)})
    assert (await build(reusing, ref="next")).image == first.image


async def test_without_days_nothing_is_reused(reusing):
    reusing.builds.reuse_days = 0
    first, second = await build(reusing), await build(reusing, ref="next")
    assert second.image != first.image


async def test_a_removed_image_is_made_again(reusing):
    first = await build(reusing)
    await reusing.backend.delete_image(first.image)
    second = await build(reusing, ref="next")
    assert second.reused_key is None
    assert await reusing.backend.find_image(second.key) == second.image


async def test_an_environment_starts_from_a_reused_image_and_gets_its_own_files(reusing):
    await build(reusing)
    environment = await reusing.create(BOB, repo="else/where")
    build_ = await reusing.finished(environment.latest.build.id)
    spec = await reusing.launch_specs.launch_spec(BOB, environment.id)
    assert spec.image == build_.image
    assert spec.content_key == build_.key
    chosen = await reusing.environments.requests.choose(BOB, environment.id, 1)
    assert chosen.current.build.id == build_.id


async def test_a_reused_image_counts_once_and_is_kept_while_anybody_needs_it(reusing):
    first = await reusing.create()
    made = await reusing.finished(first.latest.build.id)
    await build(reusing, BOB, repo="else/where")
    await reusing.environments.delete(ALICE, first.id)
    await reusing.environments.purge(deleted_before=utc_now() + timedelta(days=1))
    (use,) = await reusing.store.list_image_uses("fake")
    assert (use.image, use.needed, use.size_bytes) == (made.image, True, made.size_bytes)


async def test_clean_up_keeps_an_image_that_a_running_build_may_use(reusing):
    first = await build(reusing)
    reusing.backend.script = {"self_contained": True, "gate": "g"}
    environment = await reusing.create(BOB, ref="next")
    await reusing.finished(environment.latest.build.id)
    assert not await reusing.store.is_wanted(first.image)
    forced = await reusing.environments.build(BOB, environment.id, force=True)
    await reusing.backend.gate("g").reached.wait()
    assert await reusing.store.is_wanted(first.image)
    reusing.backend.gate("g").open()
    await reusing.finished(forced.latest.build.id)


async def test_a_banned_repository_gets_no_image_of_others(reusing):
    await build(reusing)
    await reusing.admin.rules.add(ADMIN, RuleKind.BAN, "github.com/else/where")
    with pytest.raises(NotAllowed):
        await reusing.create(BOB, repo="else/where")


async def test_durations_do_not_count_builds_that_were_not_needed(reusing):
    await build(reusing)
    await build(reusing, repo="else/where")
    assert len(await reusing.store.list_durations(None, backend="fake")) == 1


async def needs_build(service: Service, changes: UpstreamChanges, earlier: Build, ref: str) -> bool:
    """Say what a page says of a newer commit, asked for the first time or again."""
    resolved = await service.providers.resolve(replace(earlier.spec, ref=ref))
    place = (earlier.base_key, resolved.resolved_ref)
    known = (await service.store.list_upstream_changes([place])).get(place)
    if known is None:
        return (await changes.find(earlier, resolved)).needs_build
    return (await changes.check_again(earlier, resolved, known)).needs_build


async def test_a_page_promises_an_image_only_while_a_build_would_use_it(reusing):
    fetcher = reusing.builds._fetcher
    changes = UpstreamChanges(
        store=reusing.store, backend=reusing.backend, builds=reusing.builds, fetcher=fetcher
    )
    theirs = await build(reusing)
    mine = await build(reusing, BOB, repo="else/where", ref="other")
    assert not await needs_build(reusing, changes, mine, "main")
    fetcher.gone.add("org/repo")
    assert await needs_build(reusing, changes, mine, "main")
    fetcher.gone.clear()
    assert not await needs_build(reusing, changes, mine, "main")
    await reusing.backend.delete_image(theirs.image)
    changes._digests.clear()  # as after a restart
    assert await needs_build(reusing, changes, mine, "main")
