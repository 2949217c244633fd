"""Commit statuses of what is built ahead: told to the right host, and holding up nothing."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from jupyterhub_binder.environments.commit_statuses import _wait
from jupyterhub_binder.environments.hooks import NewHook
from jupyterhub_binder.errors import InvalidInput, NotAllowed, NotFound
from jupyterhub_binder.model import Environment, Resolved, Spec
from jupyterhub_binder.model.admin import Action
from jupyterhub_binder.model.prebuild import CommitReport, CommitState, Hook, Outcome
from jupyterhub_binder.model.sharing import Right, Subject, SubjectKind
from jupyterhub_binder.store.commit_reports import MAX_REPORTS
from jupyterhub_binder.utils.retry import Backoff
from tests.environments.test_prebuilds import Ahead, begin
from tests.kit.parts import ADMIN, ALICE, BOB, Service
from tests.kit.status_host import TOKEN, Asked, StatusHost, serve_statuses
from tests.kit.upstream import follow
from tests.kit.waiting import until_it_comes

ADDRESS = "https://hub.example.org/services/binder/"


@dataclass
class Telling(Ahead):
    """A service that builds ahead from a host with an API."""

    host: StatusHost
    root: str = ""
    """Where the repositories are, if not at `host`."""

    async def armed(self, **where: Any) -> tuple[Environment, NewHook]:
        """Return a built environment of alice's whose hook has a token."""
        environment, made = await self.hooked(**where)
        await self.hooks.set_token(ALICE, environment.id, made.hook.id, TOKEN, address=ADDRESS)
        return environment, made

    async def push(self, made: NewHook) -> str:
        """Push, and look at the repository."""
        sha = self.following.host.push()
        await self.deliver(made, sha)
        await self.look()
        return sha

    async def told(self, count: int) -> list[Asked]:
        """Return what the host was told, once that is so much."""

        async def enough() -> Any:
            return self.host.asked[:] if len(self.host.asked) >= count else None

        return await until_it_comes(enough)

    async def last(self, environment: Environment) -> CommitReport:
        """Return the last report once nothing is under way."""

        async def settled() -> Any:
            return not self.statuses._telling and not len(self.statuses._tasks)

        await until_it_comes(settled)
        return (await self.hooks.reports(ALICE, environment.id))[0]

    async def hook(self, made: NewHook) -> Hook:
        found = await self.hooks.fetch(made.hook.id)
        assert found is not None
        return found


@pytest.fixture
async def telling(service: Service, tmp_path: Path) -> AsyncIterator[Telling]:
    async with serve_statuses(tmp_path / "tls") as host:
        git = service.providers.git
        git.private_hosts, git.ca_file = ["127.0.0.1"], str(host.certificate)
        answer = service.providers.resolve

        async def resolve(spec: Spec, *, fresh: bool = False) -> Resolved:
            url = f"{found.root or host.url}/{spec.repo}"
            return replace(await answer(spec), repo_url=url, clone_url=url)

        service.providers.resolve = resolve  # type: ignore[method-assign]
        following = follow(service)
        ahead = begin(service, tmp_path, following)
        found = Telling(following, ahead.hooks, ahead.prebuilds, ahead.statuses, host)
        yield found
        for part in (found.prebuilds, found.statuses, following.updates, following.upstreams):
            await part.stop()
        await service.providers.stop()


async def finish(telling: Telling, environment: Environment) -> str:
    """Wait for the newest build; return its id."""
    build_id = (await telling.now(environment)).latest.build.id
    await telling.service.finished(build_id)
    return build_id


async def test_a_push_is_pending_while_it_is_built_and_then_ready_with_a_link(telling: Telling):
    environment, made = await telling.armed()
    telling.service.backend.script = {"gate": "g"}
    sha = await telling.push(made)
    (pending,) = await telling.told(1)
    telling.service.backend.gate("g").open()
    build_id = await finish(telling, environment)
    _, ready = await telling.told(2)
    took = (await telling.now(environment)).latest.build.duration_seconds
    assert pending.path == ready.path == f"/api/v4/projects/org%2Frepo/statuses/{sha}"
    assert pending.headers["PRIVATE-TOKEN"] == ready.headers["PRIVATE-TOKEN"] == TOKEN
    assert pending.body["state"] == "pending"
    assert pending.body["target_url"] == f"{ADDRESS}builds/{build_id}"
    assert ready.body == {
        "state": "success",
        "name": "jupyterhub-binder/repo",
        "description": f"Ready in {took:.0f} s",
        "target_url": f"{ADDRESS}v2/gh/org/repo/main",
    }
    report = await telling.last(environment)
    assert (report.told, report.message, report.done) == (CommitState.SUCCESS, None, True)
    await telling.deliver(made, "again")
    await telling.look()
    await telling.last(environment)
    assert len(telling.host.asked) == 2  # the host knows it already


async def test_a_failure_says_why_and_leads_to_the_build(telling: Telling):
    environment, made = await telling.armed()
    telling.service.backend.script = {"fail_at": "building", "reason": "no numpy " * 40}
    await telling.push(made)
    build_id = await finish(telling, environment)

    async def failed() -> Any:
        return next((each for each in telling.host.asked if each.body["state"] == "failed"), None)

    body = (await until_it_comes(failed)).body
    assert body["description"].startswith("no numpy no numpy")
    assert len(body["description"]) <= 140
    assert body["target_url"] == f"{ADDRESS}builds/{build_id}"


async def test_a_cancelled_build_is_no_longer_pending(telling: Telling):
    environment, made = await telling.armed()
    telling.service.backend.script = {"gate": "g"}
    await telling.push(made)
    await telling.told(1)
    build_id = (await telling.now(environment)).latest.build.id
    await telling.service.environments.requests.cancel(ALICE, build_id)
    await telling.told(2)
    assert telling.host.states[-1] == ("canceled", "Cancelled")


async def test_the_status_follows_a_build_of_somebody_else(telling: Telling):
    environment, made = await telling.armed()
    telling.service.backend.script = {"gate": "g"}
    sha = telling.following.host.push()
    theirs = await telling.service.create(BOB)
    await telling.deliver(made, "one")
    await telling.look()
    shared = (await telling.now(environment)).latest.build
    assert (shared.id, shared.resolved_ref) == (theirs.latest.build.id, sha)
    await telling.told(1)
    telling.service.backend.gate("g").open()
    assert (await telling.told(2))[-1].body["description"].startswith("Ready in")


async def test_a_request_that_is_withdrawn_is_cancelled_even_if_others_get_the_build(
    telling: Telling,
):
    environment, made = await telling.armed()
    telling.service.backend.script = {"gate": "g"}
    await telling.push(made)
    await telling.told(1)
    theirs = await telling.service.create(BOB)
    build_id = (await telling.now(environment)).latest.build.id
    assert theirs.latest.build.id == build_id
    await telling.service.environments.requests.cancel(ALICE, build_id)
    telling.service.backend.gate("g").open()
    await telling.service.finished(build_id)
    await telling.told(2)
    assert telling.host.states[-1] == ("canceled", "Cancelled")


async def test_what_somebody_has_built_before_is_already_built(telling: Telling):
    environment, made = await telling.armed()
    telling.following.host.push()
    await telling.following.built(BOB)
    await telling.deliver(made, "one")
    await telling.look()
    assert await telling.outcomes(environment) == [(Outcome.BUILDING, 2)]
    await telling.told(1)
    assert telling.host.states == [("success", "Already built")]


async def test_each_of_several_commits_gets_its_last_state(telling: Telling):
    environment, made = await telling.armed()
    pushed = []
    for _ in range(2):
        pushed.append(await telling.push(made))
        await finish(telling, environment)

    async def both() -> Any:
        ready = [each.path for each in telling.host.asked if each.body["state"] == "success"]
        return ready if len(ready) == 2 else None

    assert [path.rpartition("/")[2] for path in await until_it_comes(both)] == pushed


async def test_after_a_failed_attempt_only_the_newest_state_is_sent(telling: Telling):
    environment, made = await telling.armed()
    telling.service.backend.script = {"gate": "g"}
    telling.host.gate = asyncio.Event()
    telling.host.answer(503)
    await telling.push(made)
    await telling.told(1)
    telling.service.backend.gate("g").open()
    await finish(telling, environment)  # a host that does not answer holds up no build
    telling.host.gate.set()
    await telling.last(environment)
    assert [state for state, _ in telling.host.states] == ["pending", "success"]


async def test_a_host_that_stays_away_is_asked_few_times(telling: Telling):
    environment, made = await telling.hooked()
    await telling.hooks.set_token(ALICE, environment.id, made.hook.id, TOKEN, address=ADDRESS)
    for _ in range(9):
        telling.host.answer(500)
    await telling.deliver(made, "one")
    await telling.look()
    report = await telling.last(environment)
    assert len(telling.host.asked) == 4
    assert report.message == "127.0.0.1 answered with an error (500)."
    telling.host.answers.clear()
    await telling.deliver(made, "two")
    await telling.look()
    assert (await telling.last(environment)).message is None  # the next check tries again


def test_a_wait_is_as_long_as_the_host_asks_within_limits():
    assert 2.5 <= _wait({"retry_after_seconds": None}, Backoff(5)) <= 5
    assert _wait({"retry_after_seconds": 17.0}, Backoff(5)) == 17
    assert _wait({"retry_after_seconds": 86_400.0}, Backoff(5)) == 300


async def test_a_refused_token_is_not_tried_again_and_a_new_one_is_at_once(telling: Telling):
    environment, made = await telling.armed()
    telling.host.answer(401)
    await telling.deliver(made, "one")
    await telling.look()
    report = await telling.last(environment)
    assert report.message == (
        "127.0.0.1 refused the token (401). It may have expired. Give a new one."
    )
    assert len(telling.host.asked) == 1
    await telling.hooks.set_token(
        ALICE, environment.id, made.hook.id, "another-token", address=ADDRESS
    )
    assert (await telling.told(2))[-1].headers["PRIVATE-TOKEN"] == "another-token"
    assert (await telling.last(environment)).message is None


async def test_a_build_that_ends_while_the_service_is_down_is_told_after_its_start(
    telling: Telling, tmp_path: Path
):
    environment, made = await telling.armed()
    telling.service.backend.script = {"gate": "g"}
    await telling.push(made)
    await telling.told(1)
    await telling.last(environment)
    await telling.statuses.stop()
    telling.service.backend.gate("g").open()
    await finish(telling, environment)
    again = begin(telling.service, tmp_path, telling.following)
    await again.statuses.start()
    await telling.told(2)
    assert telling.host.states[-1][0] == "success"
    await again.prebuilds.stop()
    await again.statuses.stop()


async def test_a_repository_at_another_host_ends_the_token(telling: Telling, tmp_path: Path):
    environment, made = await telling.armed()
    async with serve_statuses(tmp_path / "other") as other:
        telling.root = other.url
        await telling.push(made)
        await finish(telling, environment)

        async def gone() -> Any:
            return (await telling.hook(made)).token is None

        await until_it_comes(gone)
        assert other.asked == telling.host.asked == []


async def test_a_token_is_for_the_host_that_is_sealed_with_it(telling: Telling):
    _, made = await telling.armed()
    hook = await telling.hook(made)
    assert hook.token
    assert TOKEN not in f"{hook}"
    opened = telling.hooks.open_token(hook)
    assert opened is not None
    assert (opened.token, opened.origin) == (TOKEN, telling.host.url)
    assert TOKEN not in repr(opened)
    assert json.loads(opened.to_text())["origin"] == telling.host.url


async def test_only_the_owner_sets_a_token_and_sees_what_was_sent(telling: Telling):
    environment, made = await telling.hooked()
    share = [(Subject(SubjectKind.USER, "bob"), Right.MANAGE)]
    await telling.service.sharing.put(ALICE, environment.id, share)
    hooks, place = telling.hooks, (environment.id, made.hook.id)
    for attempt in (
        hooks.set_token(BOB, *place, TOKEN, address=ADDRESS),
        hooks.remove_token(BOB, *place),
        hooks.reports(BOB, environment.id),
        hooks.set_token(replace(ALICE, can_build=False), *place, TOKEN, address=ADDRESS),
    ):
        with pytest.raises(NotAllowed):
            await attempt
    others = await telling.following.built(BOB, repo="org/other")
    with pytest.raises(NotFound):
        await hooks.set_token(BOB, others.id, made.hook.id, TOKEN, address=ADDRESS)
    await hooks.set_token(ADMIN, *place, TOKEN, address=ADDRESS)


@pytest.mark.parametrize(
    "token", ["", "short", "two words of a token", "token-ü-token", "x" * 1001]
)
async def test_what_is_no_token_is_refused(telling: Telling, token: str):
    environment, made = await telling.hooked()
    with pytest.raises(InvalidInput) as refused:
        await telling.hooks.set_token(ALICE, environment.id, made.hook.id, token, address=ADDRESS)
    assert not token or token not in str(refused.value)


async def test_a_token_ends_with_its_hook_and_with_a_transfer(telling: Telling):
    environment, made = await telling.armed()
    await telling.push(made)
    await finish(telling, environment)
    await telling.last(environment)
    await telling.hooks.remove_token(ALICE, environment.id, made.hook.id)
    assert (await telling.hook(made)).token is None
    assert await telling.hooks.reports(ALICE, environment.id) == ()
    await telling.hooks.set_token(ALICE, environment.id, made.hook.id, TOKEN, address=ADDRESS)
    await telling.service.transfers.offer(ALICE, environment.id, "bob")
    await telling.service.transfers.accept(BOB, environment.id)
    database = telling.service.store._database
    for table in ("hooks", "commit_reports"):
        query = sa.text(f"select count(*) from {table}")
        assert await database.run(lambda c, query=query: c.scalar(query)) == 0


async def test_a_hub_can_do_without_statuses(telling: Telling):
    environment, made = await telling.armed()
    telling.hooks.statuses = False
    await telling.push(made)
    await finish(telling, environment)
    with pytest.raises(NotAllowed):
        await telling.hooks.set_token(ALICE, environment.id, made.hook.id, TOKEN, address=ADDRESS)
    assert telling.host.asked == []
    await telling.hooks.remove_token(ALICE, environment.id, made.hook.id)


async def test_the_audit_log_has_who_set_a_token_and_nothing_has_the_token(
    telling: Telling, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG)
    environment, made = await telling.armed()
    telling.host.answer(422, {"message": f"bad {TOKEN}"})
    await telling.push(made)
    await finish(telling, environment)
    assert TOKEN not in (await telling.last(environment)).__repr__()
    await telling.hooks.remove_token(ALICE, environment.id, made.hook.id)
    audit = telling.service.admin.audit
    await audit.stop()
    entries = [
        (await audit.list(action=action)).items[0]
        for action in (Action.HOOK_TOKEN_SET, Action.HOOK_TOKEN_REMOVE)
    ]
    assert [entry.actor for entry in entries] == ["alice", "alice"]
    assert TOKEN not in f"{entries}"
    assert TOKEN not in caplog.text


async def test_few_reports_are_kept(telling: Telling):
    environment, made = await telling.armed()
    store = telling.service.store
    for number in range(MAX_REPORTS + 5):
        await store.want_reports(environment.id, f"{number:040x}", 1, "course")
    assert len(await store.list_open_reports(made.hook.id)) == MAX_REPORTS
