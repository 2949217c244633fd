"""Routes of builds: state, log and cancelling."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import cast

from jupyterhub_binder.builds.log import EventBatch
from jupyterhub_binder.errors import NotFound
from jupyterhub_binder.model import Build, BuildEvent, BuildRequest, Environment
from jupyterhub_binder.utils.text import CONTROL, without_escapes
from jupyterhub_binder.utils.wire import to_json
from jupyterhub_binder.web.api.common import Handler
from jupyterhub_binder.web.api.operation import SSE, operation
from jupyterhub_binder.web.api.render import Renderer
from jupyterhub_binder.web.api.shapes.builds import BuildJSON, DownloadQuery, LogQuery
from jupyterhub_binder.web.streams import EventsHandler, encode_events, encode_named

_LOG_LINES = 5000


class _BuildBase(Handler):
    """A route of one build that the person may see."""

    async def find(self, build_id: str) -> tuple[Build, Environment | None, BuildRequest | None]:
        """Return a build with the person's environment. Raises NotFound."""
        return await self.services.environments.requests.of_build(self.me, build_id)

    async def render_build(
        self, build: Build, environment: Environment | None, request: BuildRequest | None
    ) -> BuildJSON:
        """Render a build with its current progress."""
        progress_by_id = {build.id: await self.services.builds.progress(build)}
        renderer = Renderer(self.services.base_url, self.format_spec, progress_by_id)
        return renderer.build(build, user=self.me, environment=environment, request=request)


class BuildHandler(_BuildBase):
    """One build."""

    @operation("get_build")
    async def get(self, build_id: str) -> BuildJSON:
        """Get a build."""
        return await self.render_build(*await self.find(build_id))


class BuildEventsHandler(EventsHandler, _BuildBase):
    """Events of a build: log lines, state changes and the end."""

    @operation("follow_build", media=SSE, errors=(400, 429))
    async def get(self, build_id: str, *, query: LogQuery) -> None:
        """Follow a build's log and state.

        The answer is a stream of server-sent events. A log line has no event name, the id `seq`,
        and a `BuildEvent` as data. A `build` event has a `Build`, sent when its state or queue
        position changes. The `end` event has the finished `Build` and is the last; close the
        connection then. The stream ends without it when you may no longer see the build. A comment
        is sent every 15 seconds. To continue after a dropped connection, send `Last-Event-ID` or
        `after`.
        """
        rights = self.services.store.rights_version
        self._build_id = build_id
        _, environment, request = await self.find(build_id)

        async def encode(item: EventBatch | Build | _End) -> bytes:
            if isinstance(item, EventBatch):
                return item.encoded(encode_events)
            name, build = ("end", item.build) if isinstance(item, _End) else ("build", item)
            return encode_named(name, to_json(await self.render_build(build, environment, request)))

        watching = self.services.builds.watch(build_id, after=self.last_event_id(query.after))
        await self.send_events(_until_end(self._while_seen(watching, build_id, rights)), encode)

    async def require_right(self) -> None:
        """Raise NotFound for somebody who has left the group, or is no admin any more."""
        await self.find(self._build_id)

    async def _while_seen(
        self, watching: AsyncIterator[EventBatch | Build], build_id: str, rights: int
    ) -> AsyncIterator[EventBatch | Build]:
        """End when the person may no longer see the build."""
        async with aclosing(cast("AsyncGenerator[EventBatch | Build, None]", watching)) as items:
            async for item in items:
                if (now := self.services.store.rights_version) != rights:
                    rights = now
                    with suppress(NotFound):
                        await self.find(build_id)
                        yield item
                        continue
                    return
                yield item


@dataclass(frozen=True, slots=True)
class _End:
    """Follows a finished build's last line."""

    build: Build


async def _until_end(
    watching: AsyncIterator[EventBatch | Build],
) -> AsyncIterator[EventBatch | Build | _End]:
    """Add the end event, unless the service is stopping."""
    build = None
    async with aclosing(cast("AsyncGenerator[EventBatch | Build, None]", watching)) as items:
        async for item in items:
            if isinstance(item, Build):
                build = item
            yield item
    if build is not None and build.state.finished:
        yield _End(build)


class BuildLogHandler(_BuildBase):
    """A build's log as plain text."""

    @operation("get_log", media="text/plain")
    async def get(self, build_id: str, *, query: DownloadQuery) -> None:
        """Get a build's log as plain text, without colours and overwritten progress."""
        await self.find(build_id)
        self.set_header("Content-Type", "text/plain; charset=UTF-8")
        self.set_header("Cache-Control", "no-store")
        if query.download is not None:
            self.set_header("Content-Disposition", f'attachment; filename="build-{build_id}.log"')
        after = 0
        while events := await self.services.builds.fetch_log(
            build_id, after=after, limit=_LOG_LINES
        ):
            self.write(plain_text(events))
            await self.flush()
            after = events[-1].seq


def plain_text(events: tuple[BuildEvent, ...]) -> str:
    """Return lines without terminal escapes and overwritten progress."""
    last = len(events) - 1
    kept = [e.message for i, e in enumerate(events) if i == last or not e.message.endswith("\r")]
    return "".join(f"{CONTROL.sub('', without_escapes(line))}\n" for line in kept)


class CancelBuildHandler(_BuildBase):
    """Cancels a person's request for a build."""

    @operation("cancel_build", errors=(409,))
    async def post(self, build_id: str) -> BuildJSON:
        """Cancel your request for a build. The build ends if nobody else is waiting for it."""
        await self.services.environments.requests.cancel(self.me, build_id)
        return await self.render_build(*await self.find(build_id))
