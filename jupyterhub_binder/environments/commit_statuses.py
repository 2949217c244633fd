"""Commit statuses: tells a hook's host what became of a commit, with the token that the hook has.

What is to be told is in the database, and its state is that of the build at the moment of sending: of
several states that come while a host is away, only the newest is sent, and a restart forgets none.
Builds never wait for this.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from traitlets.config import LoggingConfigurable

from jupyterhub_binder.builds.service import Builds
from jupyterhub_binder.environments.hooks import Hooks, HookToken, repository_of
from jupyterhub_binder.errors import BinderError, InvalidInput, UpstreamUnavailable
from jupyterhub_binder.model import Build, BuildRequest, BuildState, Environment, Link
from jupyterhub_binder.model.prebuild import CommitReport, CommitState, Hook
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.repositories.commit_statuses import (
    MAX_CONTEXT_CHARACTERS,
    MAX_DESCRIPTION_CHARACTERS,
    MAX_URL_CHARACTERS,
    CommitStatus,
    origin_of,
    send_status,
)
from jupyterhub_binder.repositories.links.binder import format_binder_link
from jupyterhub_binder.repositories.providers.registry import Providers
from jupyterhub_binder.repositories.urls import SHA
from jupyterhub_binder.store import Store
from jupyterhub_binder.utils.concurrency import TaskSet
from jupyterhub_binder.utils.redact import redactor
from jupyterhub_binder.utils.retry import Backoff
from jupyterhub_binder.utils.time import utc_now
from jupyterhub_binder.utils.validation import one_line

_AT_ONCE = 4
_ATTEMPTS = 4
_LONGEST_WAIT_SECONDS = 300.0
_SECONDS_IN_WORDS = 120
_NAME = "jupyterhub-binder"


@dataclass(frozen=True, slots=True)
class _Telling:
    """What is sent now."""

    hook: Hook
    token: HookToken
    repo_url: str
    status: CommitStatus


class CommitStatuses(LoggingConfigurable):
    """Sends the statuses of commits."""

    def __init__(
        self,
        *,
        store: Store,
        hooks: Hooks,
        builds: Builds,
        providers: Providers,
        first_wait_seconds: float = 5,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._store = store
        self._hooks = hooks
        self._providers = providers
        self._first_wait_seconds = first_wait_seconds
        self._tasks = TaskSet(self.log)
        self._telling: dict[str, asyncio.Task[None]] = {}
        self._due: set[str] = set()
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._disconnect = (builds.ended.connect(self._ended), hooks.token_set.connect(self._wake))

    async def start(self) -> None:
        """Send what a stop of the service has left."""
        for hook_id in await self._store.list_telling_hooks():
            self._wake(hook_id)

    async def stop(self) -> None:
        """Stop. Idempotent."""
        for disconnect in self._disconnect:
            disconnect()
        await self._tasks.close()

    async def want(self, environment_id: str, commit: str) -> None:
        """Let the hosts of an environment's hooks know what becomes of a commit."""
        environment = await self._store.fetch_environment(environment_id)
        if environment is None or not self._hooks.statuses or not SHA.fullmatch(commit):
            return
        requests = (environment.latest, environment.current)
        numbers = [each.number for each in requests if each and each.build.resolved_ref == commit]
        if numbers:
            context = _shortened(f"{_NAME}/{environment.name}", MAX_CONTEXT_CHARACTERS)
            found = await self._store.want_reports(environment_id, commit, numbers[0], context)
            for hook_id in found:
                self._wake(hook_id)

    def _ended(self, build: Build) -> None:
        self._tasks.spawn(self._follow(build.id), name=f"commit statuses of build {build.id}")

    async def _follow(self, build_id: str) -> None:
        for hook_id in await self._store.list_telling_hooks(build_id):
            self._wake(hook_id)

    def _wake(self, hook_id: str) -> None:
        self._due.add(hook_id)
        if hook_id not in self._telling:
            task = self._tasks.spawn(self._tell_all(hook_id), name=f"commit statuses of {hook_id}")
            self._telling[hook_id] = task

    async def _tell_all(self, hook_id: str) -> None:
        try:
            while hook_id in self._due and self._hooks.statuses:
                self._due.discard(hook_id)
                for report in await self._store.list_open_reports(hook_id):
                    await self._tell(report)
        finally:
            self._telling.pop(hook_id, None)

    async def _tell(self, report: CommitReport) -> None:
        """Send the state of one commit, with few retries."""
        backoff = Backoff(self._first_wait_seconds, max_seconds=_LONGEST_WAIT_SECONDS)
        for attempt in range(1, _ATTEMPTS + 1):
            telling = await self._prepare(report)
            if telling is None or telling.status.state is report.told:
                return
            try:
                await self._send(telling)
            except UpstreamUnavailable as error:
                await self._note(report, telling, error.message, last=attempt == _ATTEMPTS)
                if attempt < _ATTEMPTS:
                    await asyncio.sleep(_wait(error.detail, backoff))
            except BinderError as error:
                await self._note(report, telling, error.message, last=True)
                return
            else:
                await self._note(report, telling, None, last=True)
                return

    async def _send(self, telling: _Telling) -> None:
        async with self._turns:
            await send_status(
                self._providers.git,
                self._providers.downloads,
                telling.hook.host,
                telling.repo_url,
                telling.status,
                telling.token.token,
            )

    async def _note(
        self, report: CommitReport, telling: _Telling, message: Message | None, *, last: bool
    ) -> None:
        status = telling.status
        changes: dict[str, Any] = {"time": utc_now(), "message": message}
        if last:
            changes["told"] = status.state
            changes["done"] = status.state is not CommitState.PENDING
        await self._store.note_report(report.id, changes)
        said = message or "taken"
        self.log.info("Status %s of %s: %s", status.state, status.sha, said)

    async def _prepare(self, report: CommitReport) -> _Telling | None:
        """Return what to send now; None if the hook, its token or the build is gone."""
        hook = await self._store.fetch_hook(report.hook_id)
        token = self._hooks.open_token(hook) if hook else None
        environment = await self._store.fetch_environment(hook.environment_id) if hook else None
        if hook is None or token is None or environment is None or environment.deleted is not None:
            return None
        request = await self._store.fetch_request(environment.id, report.number)
        if request is None:
            return None
        repo_url = repository_of(environment)
        if not _is_for(token, repo_url):
            self.log.warning("The repository has another host. Removing the token of %s", hook.id)
            await self._store.delete_hook_token(hook.id)
            return None
        state, said = describe(request)
        status = CommitStatus(
            sha=report.sha,
            state=state,
            context=report.context,
            description=_shortened(said, MAX_DESCRIPTION_CHARACTERS),
            url=token.address + self._path(environment, request, state),
        )
        return _Telling(hook, token, repo_url, status)

    def _path(self, environment: Environment, request: BuildRequest, state: CommitState) -> str:
        """Return the page that a status leads to: the link of the environment, or the build."""
        build = f"builds/{request.build.id}"
        if state is not CommitState.SUCCESS:
            return build
        if environment.options:  # others' own environments would not be built like this one
            return f"environments/{environment.id}/launch"
        link = Link(
            environment.spec,
            environment.path,
            content_url=environment.content_url,
            content_ref=environment.content_ref,
        )
        try:
            path = format_binder_link(self._providers[environment.spec.provider], link)
        except InvalidInput:
            return build
        return path if len(path) < MAX_URL_CHARACTERS // 2 else build


def describe(request: BuildRequest) -> tuple[CommitState, str]:
    """Say in what state a build is, in English."""
    build = request.build
    if request.withdrawn is not None or build.state is BuildState.CANCELLED:
        return CommitState.ERROR, "Cancelled"
    if build.state is BuildState.PENDING:
        return CommitState.PENDING, "Waiting to be built"
    if build.state is BuildState.RUNNING:
        return CommitState.PENDING, "Building"
    if build.state is BuildState.FAILED:
        why = build.reason.message if build.reason else ""
        return CommitState.FAILURE, why or "The build failed"
    seconds = build.duration_seconds
    if seconds is None or build.finished is None or build.finished <= request.requested:
        return CommitState.SUCCESS, "Already built"
    if seconds <= _SECONDS_IN_WORDS:
        return CommitState.SUCCESS, f"Ready in {seconds:.0f} s"
    return CommitState.SUCCESS, f"Ready in {seconds / 60:.0f} min"


def _is_for(token: HookToken, repo_url: str) -> bool:
    try:
        return origin_of(repo_url) == token.origin
    except BinderError:
        return False


def _wait(detail: Mapping[str, Any], backoff: Backoff) -> float:
    """Return the seconds before another attempt: what the host asks for, but not for ever."""
    asked = detail.get("retry_after_seconds")
    wait = backoff.next_wait() or 0.0
    return wait if asked is None else min(max(float(asked), wait), _LONGEST_WAIT_SECONDS)


def _shortened(text: str, most: int) -> str:
    text = redactor.redact(one_line(text))
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"
