"""Reports launches that succeeded: to the archive, and at once to who listens.

The person is in no report.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Any

from traitlets import Unicode
from traitlets.config import Config, LoggingConfigurable

from jupyterhub_binder.errors import BinderError, InvalidInput
from jupyterhub_binder.maintenance.archive.files import PROVIDERS, SCHEMA, describe
from jupyterhub_binder.model import Environment, Launch
from jupyterhub_binder.model.launch_events import LaunchEvent, LaunchOrigin
from jupyterhub_binder.repositories.providers.registry import Providers
from jupyterhub_binder.utils.concurrency import TaskSet
from jupyterhub_binder.utils.time import utc_now

if TYPE_CHECKING:
    from jupyter_events import EventLogger

_SCHEMA_FILE = Path(__file__).with_name("launch_event.yaml")
SCHEMA_ID = f"https://{SCHEMA}"


class LaunchReports(LoggingConfigurable):
    """What is said about a launch that succeeded."""

    origin = Unicode(
        help="""
        The name of this hub in reports of launches, such as ``hub.example.org``. Set it if people
        reach the hub under several names. Default: the hub's public host, else the host of each
        request.
        """,
    ).tag(config=True)

    def __init__(
        self,
        *,
        providers: Providers,
        is_public: Callable[[LaunchEvent], Awaitable[bool]],
        keeps: bool,
        default_origin: str = "",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._providers = providers
        self._is_public = is_public
        self._keeps = keeps
        self._default_origin = default_origin
        self._tasks = TaskSet(self.log)
        self._sending = asyncio.Lock()
        self._events = self._open_events()

    def _open_events(self) -> EventLogger | None:
        cls = event_logger_class(self.config)
        if cls is None:
            return None
        events = cls(parent=self)
        if not events.handlers:
            return None
        events.register_event_schema(_SCHEMA_FILE)
        return events

    async def start(self) -> None:
        """Do nothing: launches begin the work."""

    async def stop(self) -> None:
        """Stop. Idempotent."""
        await self._tasks.close()

    @property
    def keeps(self) -> bool:
        """Whether reports are stored for the archive."""
        return self._keeps

    def describe(
        self, launch: Launch, environment: Environment, asked: LaunchOrigin
    ) -> LaunchEvent | None:
        """Return a launch's report; None if nobody wants one, or its provider is unknown to all."""
        current = environment.current
        wanted = self._keeps or self._events is not None
        if not wanted or current is None or environment.spec.provider not in PROVIDERS:
            return None
        build = current.build
        try:
            spec = self._providers[build.spec.provider].format_spec(environment.spec)
        except InvalidInput:  # of a provider that the hub no longer has
            return None
        return LaunchEvent(
            launch_id=launch.id,
            time=launch.finished or utc_now(),
            provider=build.spec.provider,
            spec=spec,
            resolved_ref=build.resolved_ref,
            clone_url=build.clone_url,
            repo_url=build.repo_url,
            origin=LaunchOrigin(
                self.origin or self._default_origin or asked.host, asked.request_origin
            ),
        )

    def tell(self, event: LaunchEvent) -> None:
        """Send an event to the handlers, soon."""
        if self._events is not None:
            telling = self._tell(self._events, event)
            self._tasks.spawn(telling, name=f"report of launch {event.launch_id}")

    async def _tell(self, events: EventLogger, event: LaunchEvent) -> None:
        try:
            public = await self._is_public(event)
        except BinderError as error:
            self.log.warning("The launch of %s is not reported: %s", event.repo_url, error.message)
            return
        if public:
            async with self._sending:  # handlers may block
                await asyncio.to_thread(_emit, events, event)


def _emit(events: EventLogger, event: LaunchEvent) -> None:
    # jupyter-events adds a "Z", whatever the time zone.
    at = event.time.astimezone(UTC).replace(tzinfo=None)
    events.emit(schema_id=SCHEMA_ID, data=describe(event), timestamp_override=at)


def event_logger_class(config: Config) -> type[EventLogger] | None:
    """Return the class that sends events if it is configured; its import takes a second."""
    if not config.get("EventLogger"):
        return None
    from jupyter_events import EventLogger

    return EventLogger
