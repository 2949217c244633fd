"""Routes of builds: one build, its log as it grows, its log as text, its cancelling."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import cast

from jupyterhub_binder.buildlog import EventBatch
from jupyterhub_binder.model import Build, BuildEvent, BuildRequest, Environment
from jupyterhub_binder.web.api.common import Handler
from jupyterhub_binder.web.events import EventsHandler, encode_events, encode_named
from jupyterhub_binder.web.parse import json_object
from jupyterhub_binder.web.render import JSON, Renderer

_LOG_LINES = 5000
_ESCAPES = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])"
    r"|\x9b[0-?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]"
)


class _BuildHandler(Handler):
    """A route of one build, as the person who asks may see it."""

    async def find(self, build_id: str) -> tuple[Build, Environment | None, BuildRequest | None]:
        """Return a build with the person's environment. Raises NotFound."""
        return await self.services.environments.request_of(self.me, build_id)

    async def as_json(
        self, build: Build, environment: Environment | None, request: BuildRequest | None
    ) -> JSON:
        """Return the build's JSON as it stands now."""
        standings = {build.id: await self.services.builds.standing(build)}
        renderer = Renderer(self.services.base_url, self.format_spec, standings)
        return renderer.build(build, user=self.me, environment=environment, request=request)


class OneBuild(_BuildHandler):
    """One build."""

    async def get(self, build_id: str) -> None:
        """Answer with it."""
        self.finish_json(await self.as_json(*await self.find(build_id)))


class BuildEvents(EventsHandler, _BuildHandler):
    """A build as it goes on: its lines, its state whenever that changes, its end."""

    async def get(self, build_id: str) -> None:
        """Stream what comes after the event that the client saw last."""
        _, environment, request = await self.find(build_id)

        async def encode(item: EventBatch | Build | _End) -> bytes:
            if isinstance(item, EventBatch):
                return item.encoded(encode_events)
            name, build = ("end", item.build) if isinstance(item, _End) else ("build", item)
            return encode_named(name, await self.as_json(build, environment, request))

        watching = self.services.builds.watch(build_id, after=self.last_event_id())
        await self.send_events(_until_end(watching), encode)


@dataclass(frozen=True, slots=True)
class _End:
    """Follows a finished build's last line."""

    build: Build


async def _until_end(
    watching: AsyncIterator[EventBatch | Build],
) -> AsyncIterator[EventBatch | Build | _End]:
    """Add the end to what a watcher sees; there is none if it was the service that stopped."""
    build = None
    async with aclosing(cast("AsyncGenerator[EventBatch | Build, None]", watching)) as items:
        async for item in items:
            if isinstance(item, Build):
                build = item
            yield item
    if build is not None and build.state.finished:
        yield _End(build)


class BuildLog(_BuildHandler):
    """A build's log as plain text."""

    async def get(self, build_id: str) -> None:
        """Answer with the lines there are, without colours and overwritten progress."""
        await self.find(build_id)
        self.set_header("Content-Type", "text/plain; charset=UTF-8")
        self.set_header("Cache-Control", "no-store")
        if self.get_query_argument("download", None) is not None:
            self.set_header("Content-Disposition", f'attachment; filename="build-{build_id}.log"')
        after = 0
        while events := await self.services.builds.fetch_log(
            build_id, after=after, limit=_LOG_LINES
        ):
            self.write(plain_text(events))
            await self.flush()
            after = events[-1].seq


def plain_text(events: tuple[BuildEvent, ...]) -> str:
    """Return lines as a file has them: no terminal escapes, no line that another replaced."""
    last = len(events) - 1
    kept = [e.message for i, e in enumerate(events) if i == last or not e.message.endswith("\r")]
    return "".join(f"{_ESCAPES.sub('', line)}\n" for line in kept)


class CancelBuild(_BuildHandler):
    """The end of a person's wish for a build."""

    async def post(self, build_id: str) -> None:
        """Withdraw the wish; the build ends when nobody else wants it."""
        json_object(self.request, ())
        await self.find(build_id)
        await self.services.builds.cancel(build_id, user=self.me)
        self.finish_json(await self.as_json(*await self.find(build_id)))
