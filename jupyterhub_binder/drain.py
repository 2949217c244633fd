"""Draining before an upgrade: no build begins, the queue stays, and everybody reads why.

What is switched on stays so over a restart, until an administrator ends it. `builds` asks
before it begins a build, `web` shows the message.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from traitlets.config import LoggingConfigurable

from jupyterhub_binder.audit import Audit
from jupyterhub_binder.clock import utc_now
from jupyterhub_binder.inputs import one_line
from jupyterhub_binder.model import User
from jupyterhub_binder.oversight import Action, Drain
from jupyterhub_binder.store import Store

DEFAULT_MESSAGE = "This hub is about to be upgraded. Builds wait until that is done."
MOST_MESSAGE_CHARACTERS = 300


class Draining(LoggingConfigurable):
    """Whether builds begin."""

    def __init__(self, *, store: Store, audit: Audit, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._store = store
        self._audit = audit
        self.state: Drain | None = None
        """None while builds begin as usual."""
        self.when_ended: Callable[[], None] = lambda: None
        """Called when builds may begin again."""

    async def start(self) -> None:
        """Go on draining if an earlier run of the service did."""
        self.state = await self._store.fetch_drain()
        if self.state is not None:
            self.log.warning("Builds do not begin: the service is being drained")

    async def begin(self, user: User, message: str = "") -> Drain:
        """Pause builds; called again it changes the message."""
        text = one_line(message)[:MOST_MESSAGE_CHARACTERS] or DEFAULT_MESSAGE
        since = self.state.since if self.state else utc_now()
        drain = Drain(text, since, user.name)
        await self._store.put_drain(drain)
        self.state = drain
        self.log.info("The service is being drained, as %s wants", user.name)
        await self._audit.record(user.name, Action.DRAIN_BEGIN, message=text)
        return drain

    async def end(self, user: User) -> None:
        """Resume builds; doing so twice is success."""
        if self.state is None:
            return
        await self._store.put_drain(None)
        self.state = None
        self.log.info("Builds were resumed by %s", user.name)
        await self._audit.record(user.name, Action.DRAIN_END)
        self.when_ended()
