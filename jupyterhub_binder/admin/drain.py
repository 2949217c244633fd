"""Draining: no build begins, the queue stays, every page says why."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from traitlets.config import LoggingConfigurable

from jupyterhub_binder.admin.audit import Audit
from jupyterhub_binder.model import User
from jupyterhub_binder.model.admin import Action, Drain
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.store import Store
from jupyterhub_binder.utils.signal import Signal
from jupyterhub_binder.utils.time import utc_now
from jupyterhub_binder.utils.validation import one_line

DEFAULT_MESSAGE = Message("This hub is about to be upgraded. Builds wait until that is done.")
"""What people read where the administrator wrote nothing."""
MAX_MESSAGE_CHARACTERS = 300


class Draining(LoggingConfigurable):
    """Whether builds begin; restored after a restart."""

    def __init__(self, *, store: Store, audit: Audit, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._store = store
        self._audit = audit
        self.state: Drain | None = None
        self.ended: Signal[[]] = Signal()
        """Sent when builds may begin again."""

    async def start(self) -> None:
        """Restore the state."""
        self.state = await self._store.fetch_drain()
        if self.state is not None:
            self.state = replace(self.state, message=_known(self.state.message))
            self.log.warning("New builds wait: builds are paused")

    async def begin(self, user: User, message: str = "") -> Drain:
        """Pause builds, or change the message."""
        text = _known(one_line(message)[:MAX_MESSAGE_CHARACTERS] or DEFAULT_MESSAGE)
        since = self.state.since if self.state else utc_now()
        drain = Drain(text, since, user.name)
        await self._store.put_drain(drain)
        self.state = drain
        self.log.info("Builds were paused by %s", user.name)
        await self._audit.record(user.name, Action.DRAIN_BEGIN, message=text)
        return drain

    async def end(self, user: User) -> None:
        """Resume builds. Idempotent."""
        if self.state is None:
            return
        await self._store.put_drain(None)
        self.state = None
        self.log.info("Builds were resumed by %s", user.name)
        await self._audit.record(user.name, Action.DRAIN_END)
        self.ended.send()


def _known(text: str) -> str:
    """Return our own sentence as the Message that it is, an administrator's as it stands."""
    return DEFAULT_MESSAGE if text == DEFAULT_MESSAGE else text
