"""Follows one build on one BinderHub, reconnecting as needed.

A build on Kubernetes outlives its connection, and the next one joins it. A connection renews the
patience if it lasted or brought a new phase; a greeting does not count.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing

from jupyterhub_binder.backends.binderhub.client import (
    BinderHubClient,
    BinderHubRefused,
    ConnectionLost,
)
from jupyterhub_binder.backends.binderhub.events import BuildFailure, EventReader, Ready
from jupyterhub_binder.errors import BuildFailed
from jupyterhub_binder.model import Line, Phase
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.utils.retry import Backoff
from jupyterhub_binder.utils.sse import ServerEvent
from jupyterhub_binder.utils.sse import follow as follow_connections

_SECOND_WORDS_SECONDS = 2.0
"""How long a failure without a reason waits for one with a reason."""
_MAX_WAIT_SECONDS = 30.0
_ORDER = tuple(Phase)
_LOST_SIGHT = "Unhandled error watching for build events"
"""BinderHub's message when it loses sight of a build that may continue."""


class HostDown(Exception):
    """A BinderHub did not come back in time. The message is for people."""

    def __init__(self, message: Message, *, heard: bool) -> None:
        super().__init__(str(message))
        self.message = message
        self.heard = heard
        """Whether it had reported on the build; a greeting does not count."""


async def follow(
    client: BinderHubClient, spec: str, *, patience_seconds: float, first_wait_seconds: float = 1.0
) -> AsyncGenerator[Line | Ready, None]:
    """Yield a build's lines, then Ready.

    Raises BuildFailed, BinderHubRefused, or HostDown after `patience_seconds` without a connection.
    Closing the generator drops the connection.
    """
    follower = _Follower(client, spec)
    backoff = Backoff(
        first_wait_seconds, max_seconds=_MAX_WAIT_SECONDS, patience_seconds=patience_seconds
    )
    lasting_seconds = min(patience_seconds, _MAX_WAIT_SECONDS)
    first_loss = True

    def on_lost(lost: ConnectionLost) -> Iterable[Line]:
        nonlocal first_loss
        if first_loss or follower.was_of_use(lost, lasting_seconds):
            first_loss = False
            backoff.reset()
            yield Line(follower.phase, f"{_sentence(lost)}. {follower.what_now}")

    outputs = follow_connections(
        follower.connect, passing=ConnectionLost, backoff=backoff, on_lost=on_lost
    )
    try:
        async with aclosing(outputs):
            async for output in outputs:
                yield output
    except ConnectionLost as lost:
        raise HostDown(lost.message, heard=follower.heard) from lost


def _sentence(error: Exception) -> str:
    text = str(error)
    return text[:1].upper() + text[1:]


class _Follower:
    """The build's state, across connections."""

    def __init__(self, client: BinderHubClient, spec: str) -> None:
        self._client = client
        self._spec = spec
        self.phase = Phase.WAITING
        self._furthest = Phase.WAITING
        # Of the last connection:
        self._spoke_at: float | None = None
        self._got_further = False

    @property
    def heard(self) -> bool:
        """Whether the build has reported anything."""
        return self._furthest is not Phase.WAITING

    def was_of_use(self, lost: ConnectionLost, lasting_seconds: float) -> bool:
        """Whether the last connection made progress or lasted."""
        if self._spoke_at is None:
            return False
        lasted = asyncio.get_running_loop().time() - self._spoke_at - lost.silent_seconds
        return self._got_further or lasted > lasting_seconds

    @property
    def what_now(self) -> str:
        if self.heard:
            return "Connecting again. Some lines may be missing or appear twice."
        return "Trying again."

    async def connect(self) -> AsyncGenerator[Line | Ready, None]:
        """Yield the items of one connection. Raises ConnectionLost."""
        reader = EventReader()
        self._spoke_at, self._got_further = None, False
        async with aclosing(self._client.stream(self._spec)) as events:
            async for event in events:
                for said in reader.read(event.data):
                    if isinstance(said, BuildFailure):
                        failure, lines = await _in_words(said, events, reader)
                        for line in lines:
                            yield line
                        raise _verdict(failure)
                    self._note(reader.phase)
                    yield said
                    if isinstance(said, Ready):
                        return
        raise ConnectionLost(
            Message(
                "%(hub)s ended the log before the end of the build", hub=self._client.remote.name
            )
        )

    def _note(self, phase: Phase) -> None:
        """Note that the build reported something."""
        self.phase = phase
        if self._spoke_at is None:
            self._spoke_at = asyncio.get_running_loop().time()
        if _ORDER.index(phase) > _ORDER.index(self._furthest):
            self._furthest, self._got_further = phase, True


async def _in_words(
    failure: BuildFailure, events: AsyncGenerator[ServerEvent, None], reader: EventReader
) -> tuple[BuildFailure, list[Line]]:
    """Wait briefly for a second failure with a reason, and for the lines before it."""
    lines: list[Line] = []
    if failure.worded:
        return failure, lines
    try:
        async with asyncio.timeout(_SECOND_WORDS_SECONDS):
            async for event in events:
                for said in reader.read(event.data):
                    if isinstance(said, Line):
                        lines.append(said)
                    elif isinstance(said, BuildFailure) and said.worded:
                        return said, lines
    except (TimeoutError, ConnectionLost):
        pass
    return failure, lines


def _verdict(failure: BuildFailure) -> Exception:
    """Return the exception for a failure."""
    text = failure.message
    if failure.status is not None:
        return BinderHubRefused(
            _WHY_REFUSED.get(failure.status) or Message.verbatim(text or f"status {failure.status}")
        )
    if text.startswith(_LOST_SIGHT):
        return ConnectionLost(Message("BinderHub lost sight of the build"))
    if not text:
        return BuildFailed("BinderHub could not build the image.")
    return BuildFailed(Message.verbatim(text))


_WHY_REFUSED = {
    429: Message(
        "BinderHub limits builds from services that it does not know, and this service has "
        "reached the limit. Give the service a token of BinderHub's hub, or the secret of "
        "BinderHub's build tokens"
    ),
}
