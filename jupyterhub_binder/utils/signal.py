"""Signals: callbacks for events."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Generic, ParamSpec

P = ParamSpec("P")

log = logging.getLogger("jupyterhub_binder.signals")


class Signal(Generic[P]):
    """Calls its callbacks in order, in the sender's thread; logs their exceptions."""

    def __init__(self) -> None:
        self._callbacks: dict[object, Callable[P, object]] = {}

    def connect(self, callback: Callable[P, object]) -> Callable[[], None]:
        """Call `callback` at each `send`; return an idempotent disconnect function."""
        connection = object()
        self._callbacks[connection] = callback

        def disconnect() -> None:
            self._callbacks.pop(connection, None)

        return disconnect

    def send(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Call all connected callbacks."""
        for callback in tuple(self._callbacks.values()):
            try:
                callback(*args, **kwargs)
            except Exception:
                log.exception("%r failed", callback)
