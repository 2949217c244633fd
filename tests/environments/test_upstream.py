"""What is newer: asked once for all, never by a page, and seldom of a host that refuses."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from jupyterhub_binder.environments import upstream as upstream_module
from jupyterhub_binder.environments.upstream_words import describe
from jupyterhub_binder.errors import UpstreamUnavailable
from jupyterhub_binder.model import User
from jupyterhub_binder.model.admin import RuleKind
from jupyterhub_binder.model.upstream import (
    ChangedFile,
    Comparison,
    Newer,
    Upstream,
    UpstreamChange,
)
from jupyterhub_binder.utils.time import utc_now
from tests.kit.parts import ADMIN, ALICE, BOB, Service, build_named
from tests.kit.upstream import Following, follow


@pytest.fixture
async def following(service: Service) -> AsyncIterator[Following]:
    found = follow(service)
    yield found
    await found.updates.stop()
    await found.upstreams.stop()


async def test_nothing_is_newer_until_somebody_pushes(following):
    environment = await following.built()
    assert await following.look(environment) is None
    sha = following.host.push()
    assert await following.look(environment) is None  # asked a moment ago
    await following.let_time_pass(environment)
    newer = await following.look(environment)
    assert (newer.upstream.resolved_ref, newer.change.comparison.count) == (sha, 3)


async def test_a_hundred_followers_are_one_question(following):
    people = [User(f"person-{number}") for number in range(100)]
    first = await following.built(people[0])
    environments = [first, *[await following.service.create(person) for person in people[1:]]]
    assert {each.current.build.id for each in environments} == {first.current.build.id}
    before = following.host.asked.total()
    following.host.push()
    for environment in environments:
        await following.upstreams.look([environment])
    await following.upstreams.asked()
    assert following.host.asked.total() - before == 1
    assert len(following.changes.found) == 1
    assert len(await following.upstreams.look(environments)) == 100


async def test_a_page_never_waits_for_a_host(following):
    environment = await following.built()
    answer = asyncio.Event()

    async def resolve(spec, *, fresh=False):
        await answer.wait()
        raise UpstreamUnavailable("It does not answer.")

    following.service.providers.resolve = resolve
    assert await following.upstreams.look([environment]) == {}
    assert following.upstreams.is_asking(environment)
    answer.set()
    await following.upstreams.asked()


async def test_a_restart_asks_nothing_that_was_asked_lately(following):
    environment = await following.built()
    await following.look(environment)
    before = following.host.asked.total()
    now = utc_now()
    assert (
        await following.service.store.list_due_upstreams(
            now=now, used_since=now - timedelta(days=1), limit=10
        )
        == ()
    )
    again = follow(following.service)
    await again.look(environment)
    assert following.host.asked.total() == before


async def test_the_background_asks_for_what_was_used_and_the_longest_unasked_first(following):
    first, second = await following.built(repo="org/a"), await following.built(repo="org/b")
    await following.built(repo="org/c", ref="c" * 40)
    await following.look(first)
    await following.let_time_pass(first)
    store, now = following.service.store, utc_now()
    due = await store.list_due_upstreams(now=now, used_since=now - timedelta(days=1), limit=10)
    assert [spec.repo for spec in due] == ["org/b", "org/a"]
    assert not await store.list_due_upstreams(now=now, used_since=now, limit=10)
    assert second.current is not None


async def test_failures_make_the_questions_rarer_and_keep_what_is_known(following):
    environment = await following.built()
    sha = following.host.push()
    await following.look(environment)
    waits = []
    for _ in range(3):
        following.host.error = UpstreamUnavailable("It does not answer.")
        await following.let_time_pass(environment, 60 * 24 * 2)
        newer = await following.look(environment)
        assert newer.upstream.resolved_ref == sha
        assert newer.upstream.reason.message == "It does not answer."
        waits.append(newer.upstream.due - utc_now())
    assert waits[0] < waits[1] < waits[2]


@pytest.mark.parametrize(
    ("detail", "least"), [({"retry_after_seconds": 7200}, 7000), ({"rate_limited": True}, 3500)]
)
async def test_a_rate_limit_is_obeyed(following, detail, least):
    environment = await following.built()
    following.host.error = UpstreamUnavailable("Too many requests.", detail=detail)
    await following.look(environment)
    state = await following.upstreams.fetch_state(environment)
    assert (state.due - utc_now()).total_seconds() > least


async def test_the_host_of_a_banned_repository_is_not_asked(following):
    environment = await following.built()
    await following.service.admin.rules.add(ADMIN, RuleKind.BAN, "github.com/org/repo")
    before = following.host.asked.total()
    await following.look(environment)
    assert following.host.asked.total() == before


async def test_a_commit_and_who_wants_no_news_follow_nothing(following):
    commit = await following.built(ref=f"{0:040x}")
    never = await following.built(repo="org/never")
    never = await following.service.environments.update(ALICE, never.id, updates="never")
    unbuilt = await following.service.create(BOB, build=False, repo="org/unbuilt")
    before = following.host.asked.total()
    assert await following.upstreams.look([commit, never, unbuilt]) == {}
    await following.upstreams.asked()
    assert following.host.asked.total() == before


async def test_what_was_known_before_an_update_says_nothing_about_it(following):
    environment = await following.built()
    following.host.push()
    await following.look(environment)
    following.host.push()
    updated = await following.service.environments.build(ALICE, environment.id)
    await following.service.finished(updated.latest.build.id)
    now = await following.service.environments.get(ALICE, environment.id)
    assert await following.upstreams.look([now]) == {}


@pytest.mark.parametrize(
    ("comparison", "needs_build", "words"),
    [
        (Comparison(3), False, "3 new commits · only files changed, no build needed"),
        (
            Comparison(3, recipe=(ChangedFile("requirements.txt", 2, 1),)),
            True,
            "3 new commits · requirements.txt: +2 \N{MINUS SIGN}1 · rebuild about 40 s",
        ),
        (
            Comparison(1, recipe=(ChangedFile("apt.txt", None, None),)),
            False,
            "1 new commit · apt.txt changed · its image exists, no build needed",
        ),
        (
            Comparison(100, more=True),
            True,
            "more than 100 new commits · rebuild about 40 s",
        ),
        (
            Comparison(2, rewritten=True),
            True,
            "2 other commits, because the history was rewritten · rebuild about 40 s",
        ),
        (Comparison(), True, "newer version available · rebuild about 40 s"),
    ],
)
def test_what_is_newer_is_said_in_one_line(comparison, needs_build, words):
    build = build_named("one")
    change = UpstreamChange(build.base_key, "2" * 40, needs_build, comparison)
    assert str(describe(Newer(Upstream(build.spec), change, 41.0))) == words


async def test_a_slow_comparison_ends_so_that_others_have_their_turn(following, monkeypatch):
    environment = await following.built()
    sha = following.host.push()
    monkeypatch.setattr(upstream_module, "_MAX_COMPARING_SECONDS", 0)
    monkeypatch.setattr(following.changes, "find", lambda *_: asyncio.Event().wait())
    async with asyncio.timeout(20):
        asked = await following.upstreams.ask(environment.spec)
    assert asked.resolved_ref == sha
