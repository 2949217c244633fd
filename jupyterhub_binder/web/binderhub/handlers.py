"""`/build/<provider>/<spec>` and `/api/repoproviders` for BinderHub's clients.

Each build belongs to an environment in the person's list.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from typing import Any, cast
from urllib.parse import urljoin

from jupyterhub_binder.builds.log import EventBatch
from jupyterhub_binder.errors import BinderError, Conflict, InvalidInput
from jupyterhub_binder.model import Build, BuildState, Environment, Launch, LaunchState, Link
from jupyterhub_binder.utils.names import server_name
from jupyterhub_binder.web.api.common import Handler
from jupyterhub_binder.web.binderhub.events import (
    describe_provider,
    encode_end,
    encode_event,
    encode_lines,
    encode_waiting,
)
from jupyterhub_binder.web.errors import Problem, XSRFRefused
from jupyterhub_binder.web.handlers import APIHandler
from jupyterhub_binder.web.streams import EventsHandler

_LINGER_SECONDS = 60.0
"""How long a page's ended stream stays open for the page to close.

An EventSource that the server closes connects again, which would start another build.
"""

_MAX_SERVERS = 99


class BuildStreamHandler(EventsHandler, Handler):
    """Builds, and launches unless the client declines."""

    preamble = b""

    async def prepare(self) -> None:
        """Require a token or the XSRF token, because this GET starts a build."""
        await super().prepare()
        if self.request.headers.get("Accept", "").partition(";")[0] != "text/event-stream":
            raise InvalidInput("Missing Accept header: text/event-stream")
        self._is_program = await self._is_known_by_token()
        if not self._is_program:
            self._require_xsrf()

    async def _is_known_by_token(self) -> bool:
        """Say whether the token, not the cookie, authenticates.

        Any site can send an invalid token together with the cookie. The hub's answer is cached.
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
        """Write errors as events with status 200, because EventSources ignore other statuses."""
        problem: Problem = kwargs["problem"]
        self.set_status(200)
        self.set_header("Content-Type", "text/event-stream; charset=UTF-8")
        self.set_header("Cache-Control", "no-cache, no-transform")
        self.finish(encode_event("failed", problem.message, status_code=problem.status))

    async def get(self) -> None:
        """Create an environment if needed, build it and stream."""
        prefix, spec = self._spec()
        link = Link(self.services.providers.parse_spec(prefix, spec))
        environment = await self.services.environments.ensure(self.me, link)
        only = self.get_query_argument("build_only", "").lower() == "true"
        await self.send_events(self._story(environment, launch=not only), _as_it_is)

    def _spec(self) -> tuple[str, str]:
        """Return provider and spec with ``%2F`` kept."""
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
            return  # the service is stopping
        yield encode_end(build, found=found, launch=launch)
        if build.state is BuildState.BUILT and not launch:
            return
        if build.state is BuildState.BUILT:
            async for data in self._launch(environment, build):
                yield data
        if not self._is_program:
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
                    progress = await self.services.builds.progress(item)
                    yield encode_waiting(progress.queue_position)

    async def _launch(self, environment: Environment, build: Build) -> AsyncIterator[bytes]:
        yield encode_event("launching", "Launching server...")
        try:
            launch = await self._create_launch(environment)
            async for now in self.services.launches.watch(self.me, launch.id):
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
        url = urljoin(self._origin, launch.url or "")
        yield encode_event(
            "ready",
            f"server running at {url}",
            url=url,
            token="",
            **self._about(environment, build),
        )

    async def _create_launch(self, environment: Environment) -> Launch:
        """Launch in the environment's own server, or under the first free name.

        These clients can't show a choice, so a server of another build is kept.
        """
        launches = self.services.launches
        servers = await launches.servers(self.me, self.token)
        mine = [each.name for each in servers if each.environment_id == environment.id]
        *others, last = mine[:1] or self._server_names(environment)
        for name in others:
            with suppress(Conflict):
                return await self._create_at(environment, name)
        return await self._create_at(environment, last)

    async def _create_at(self, environment: Environment, server_name: str) -> Launch:
        return await self.services.launches.create(
            self.me,
            self.token,
            environment.id,
            server_name=server_name,
            origin=self.launch_origin,
            any_build=True,
        )

    def _server_names(self, environment: Environment) -> list[str]:
        """Return names to try: two refs of one repository are environments of one name."""
        if not self.services.named_servers:
            return [""]
        name = server_name(environment.name)
        stem = name[:27].rstrip("-")
        return [name, *(f"{stem}-{number}" for number in range(2, _MAX_SERVERS + 1))]

    @property
    def _origin(self) -> str:
        return f"{self.request.protocol}://{self.request.host}"

    def _about(self, environment: Environment, build: Build) -> dict[str, Any]:
        """Return BinderHub's description of a server's repository."""
        known = self.services.launch_specs.addresses(environment, build.resolved_ref)
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


class RepoProvidersHandler(APIHandler):
    """The enabled repository providers."""

    async def prepare(self) -> None:
        """Skip authentication: the list is public."""

    def get(self) -> None:
        """Send the list in the pages' order."""
        self.finish_json([describe_provider(provider) for provider in self.services.providers])


COMPAT_ROUTES: tuple[tuple[str, type[Any]], ...] = (
    (r"build/[^/]+/.+", BuildStreamHandler),
    (r"api/repoproviders", RepoProvidersHandler),
)
"""Patterns below the service's prefix."""
