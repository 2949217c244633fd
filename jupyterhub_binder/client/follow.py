"""Follows builds and launches."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from jupyterhub_binder.client.client import BinderClient, Json
from jupyterhub_binder.utils.sse import ServerEvent


class Reporter:
    """Ignores events; subclasses show them."""

    def build(self, build: Json) -> None:
        """Show a state."""

    def line(self, event: Json) -> None:
        """Show a log line."""

    def launch(self, launch: Json) -> None:
        """Show a state."""

    def end(self) -> None:
        """Remove progress output."""


async def follow_build(
    client: BinderClient,
    build_id: str,
    reporter: Reporter,
    *,
    after: int = 0,
    until: int | None = None,
) -> Json:
    """Report a build until its end, or line `until`."""
    build: Json = {}
    async for event in _closing(client.watch_build(build_id, after=after), reporter):
        data = event.json()
        if event.event in ("build", "end"):
            build = data
            reporter.build(data)
        elif event.event == "message":
            reporter.line(data)
            if until is not None and data["seq"] >= until:
                break
    return build


async def follow_launch(client: BinderClient, launch: Json, reporter: Reporter) -> Json:
    """Report a launch until it has finished."""
    if launch["state"] in ("ready", "failed", "cancelled"):
        return launch
    async for event in _closing(client.watch_launch(launch["id"]), reporter):
        if event.event in ("launch", "end"):
            launch = event.json()
            reporter.launch(launch)
    return launch


async def _closing(
    events: AsyncGenerator[ServerEvent, None], reporter: Reporter
) -> AsyncGenerator[ServerEvent, None]:
    try:
        async with aclosing(events) as open_events:
            async for event in open_events:
                yield event
    finally:
        reporter.end()
