"""What a client of BinderHub finds here: `/build/<provider>/<spec>` and `/api/repoproviders`.

A build that is asked for this way belongs to an environment of the person who asks, so that
it is in their list afterwards. `/versions` and `/health` are `api.info`'s, and fit too.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, cast

from jupyterhub_binder.buildlog import EventBatch
from jupyterhub_binder.errors import BinderError
from jupyterhub_binder.model import Build, BuildState, Environment, LaunchState, Link
from jupyterhub_binder.slugs import server_name
from jupyterhub_binder.web.api.common import Handler
from jupyterhub_binder.web.base import APIHandler
from jupyterhub_binder.web.compat_events import (
    describe_provider,
    encode_end,
    encode_event,
    encode_lines,
    encode_waiting,
)
from jupyterhub_binder.web.errors import Problem, XSRFRefused
from jupyterhub_binder.web.events import EventsHandler

_LINGER_SECONDS = 60.0
"""How long a stream stays open after its end: an EventSource that is closed asks again, and so
would begin another build; a well-behaved client closes it itself."""


class BuildStream(EventsHandler, Handler):
    """A build for a client of BinderHub, and a launch unless it wants the build alone."""

    preamble = b""

    async def prepare(self) -> None:
        """Ask for a token in the header or the XSRF token: this GET starts something."""
        await super().prepare()
        if not await self._is_known_by_token():
            self._require_xsrf()

    async def _is_known_by_token(self) -> bool:
        """Say whether a token that was sent says who asks, and not the browser's cookie.

        Anybody's page can add one that nobody has. The hub was asked a moment ago: its answer is
        remembered.
        """
        sent = self.hub_auth.get_token(self, in_cookie=False)
        if not sent:
            return False
        session_id = self.hub_auth.get_session_id(self)
        found = self.hub_auth.user_for_token(sent, session_id=session_id, sync=False)
        return await found is not None

    def _require_xsrf(self) -> None:
        sent = self.get_query_argument("_xsrf", "") or self.request.headers.get("X-XSRFToken", "")
        if not hmac.compare_digest(sent.encode("utf-8", "replace"), self.xsrf_token or b""):
            raise XSRFRefused("Send the XSRF token, or a token in the Authorization header.")

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Write the error as an event with status 200: an EventSource sees nothing else."""
        problem: Problem = kwargs["problem"]
        self.set_status(200)
        self.set_header("Content-Type", "text/event-stream; charset=UTF-8")
        self.set_header("Cache-Control", "no-cache, no-transform")
        self.finish(encode_event("failed", problem.message, status_code=problem.status))

    async def get(self) -> None:
        """Keep an environment of the repository, have it built, and tell how that goes."""
        prefix, spec = self._spec()
        link = Link(self.services.providers.parse_spec(prefix, spec))
        environment = await self.services.environments.ensure(self.me, link)
        only = self.get_query_argument("build_only", "").lower() == "true"
        await self.send_events(self._story(environment, launch=not only), _as_it_is)

    def _spec(self) -> tuple[str, str]:
        """Return provider and spec as they were sent: in the path, ``%2F`` is no slash."""
        path = self.request.path.removeprefix(f"{self.services.base_url}build/")
        prefix, _, spec = path.partition("/")
        return prefix, spec.rstrip("/")

    async def _story(self, environment: Environment, *, launch: bool) -> AsyncIterator[bytes]:
        assert environment.latest is not None
        build = environment.latest.build
        found = build.state is BuildState.BUILT
        if not found:
            async for data in self._lines(build):
                yield data
            build = await self.services.builds.fetch_build(build.id)
        if not build.state.finished:
            return  # the service stops
        yield encode_end(build, found=found, launch=launch)
        if build.state is BuildState.BUILT and not launch:
            return
        if build.state is BuildState.BUILT:
            async for data in self._launch(environment, build):
                yield data
        await asyncio.sleep(_LINGER_SECONDS)

    async def _lines(self, build: Build) -> AsyncIterator[bytes]:
        watching = cast(
            "AsyncGenerator[EventBatch | Build, None]", self.services.builds.watch(build.id)
        )
        async with aclosing(watching) as items:
            async for item in items:
                if isinstance(item, EventBatch):
                    yield item.encoded(encode_lines)
                elif item.state is BuildState.PENDING:
                    standing = await self.services.builds.standing(item)
                    yield encode_waiting(standing.queue_position)

    async def _launch(self, environment: Environment, build: Build) -> AsyncIterator[bytes]:
        yield encode_event("launching", "Launching server...")
        launches = self.services.launches
        name = server_name(environment.name) if self.services.named_servers else ""
        try:
            # Its clients can ask nobody: a server of another build is better than none.
            launch = await launches.create(
                self.me, self.token, environment.id, server_name=name, any_build=True
            )
            async for now in launches.watch(self.me, launch.id):
                launch = now
                if launch.message and not launch.state.finished:
                    yield encode_event("launching", launch.message)
        except BinderError as error:
            yield encode_event("failed", error.message, status_code=error.status)
            return
        if launch.state is not LaunchState.READY:
            reason = launch.reason.message if launch.reason else "The server did not start."
            yield encode_event("failed", reason)
            return
        url = f"{self._origin}{launch.url}"
        yield encode_event(
            "ready",
            f"server running at {url}",
            url=url,
            token="",
            **self._about(environment, build),
        )

    @property
    def _origin(self) -> str:
        return f"{self.request.protocol}://{self.request.host}"

    def _about(self, environment: Environment, build: Build) -> dict[str, Any]:
        """Return what BinderHub says of a server's repository."""
        known = self.services.starts.addresses(environment, build.resolved_ref)
        return {
            "image": build.image,
            "repo_url": build.repo_url,
            "binder_ref_url": known.get("ref_url", build.repo_url),
            "binder_launch_host": f"{self._origin}{self.services.base_url}",
            "binder_request": known.get("request", ""),
            "binder_persistent_request": known.get("persistent_request", ""),
        }


async def _as_it_is(data: bytes) -> bytes:
    return data


class RepoProviders(APIHandler):
    """The kinds of repositories that can be built."""

    async def prepare(self) -> None:
        """Ask the hub nothing: it is no secret."""

    def get(self) -> None:
        """Answer with them, in the order of the pages."""
        self.finish_json([describe_provider(provider) for provider in self.services.providers])


COMPAT_ROUTES: tuple[tuple[str, type[Any]], ...] = (
    (r"build/[^/]+/.+", BuildStream),
    (r"api/repoproviders", RepoProviders),
)
"""Patterns below the service's prefix."""
