"""One build at one BinderHub, followed to its end over as many connections as it takes.

A connection that breaks says nothing about the build: on Kubernetes it goes on, and who
connects again joins it. How long that is tried is the caller's `patience_seconds`, which begin
anew when a connection has brought the build on, or held: a greeting is neither.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import aclosing

from jupyterhub_binder.backends.binderhub_client import BinderHubClient, ConnectionLost, Refused
from jupyterhub_binder.backends.binderhub_events import EventReader, Failure, Ready
from jupyterhub_binder.errors import BuildFailed
from jupyterhub_binder.model import Line, Phase
from jupyterhub_binder.sse import ServerEvent

_SECOND_WORDS_SECONDS = 2.0
"""How long a failure without words waits for one with words."""
_LONGEST_WAIT_SECONDS = 30.0
_ORDER = tuple(Phase)
_LOST_SIGHT = "Unhandled error watching for build events"
"""How BinderHub says that it lost sight of a build, which may well go on."""


class HostDown(Exception):
    """A BinderHub did not come back within the patience one has. Words for people."""

    def __init__(self, message: str, *, heard: bool) -> None:
        super().__init__(message)
        self.heard = heard
        """Whether it had told of the build before; a greeting tells nothing."""


async def follow(
    client: BinderHubClient, spec: str, *, patience_seconds: float, first_wait_seconds: float = 1.0
) -> AsyncGenerator[Line | Ready, None]:
    """Yield a build's lines, at last its Ready.

    Raises BuildFailed with BinderHub's words, Refused, and HostDown when no connection has
    been of use for `patience_seconds`. Closing it drops the connection.
    """
    follower = _Follower(client, spec)
    loop = asyncio.get_running_loop()
    lost_at: float | None = None
    wait_seconds = first_wait_seconds
    lasting_seconds = min(patience_seconds, _LONGEST_WAIT_SECONDS)
    while True:
        try:
            async with aclosing(follower.connect()) as outputs:
                async for output in outputs:
                    yield output
                    if isinstance(output, Ready):
                        return
        except ConnectionLost as lost:
            if lost_at is None or follower.was_of_use(lost, lasting_seconds):
                lost_at, wait_seconds = loop.time(), first_wait_seconds
                yield Line(follower.phase, f"{_sentence(lost)}. {follower.what_now}")
            if loop.time() - lost_at + wait_seconds > patience_seconds:
                raise HostDown(str(lost), heard=follower.heard) from lost
        await asyncio.sleep(wait_seconds * random.uniform(0.5, 1.0))  # noqa: S311 - spreads clients
        wait_seconds = min(wait_seconds * 2, _LONGEST_WAIT_SECONDS)


def _sentence(error: Exception) -> str:
    text = str(error)
    return text[:1].upper() + text[1:]


class _Follower:
    """What is known of the build, whatever becomes of a connection."""

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
        """Whether anything was heard of the build yet."""
        return self._furthest is not Phase.WAITING

    def was_of_use(self, lost: ConnectionLost, lasting_seconds: float) -> bool:
        """Say whether the connection that was lost brought the build on, or held for a while."""
        if self._spoke_at is None:
            return False
        lasted = asyncio.get_running_loop().time() - self._spoke_at - lost.silent_seconds
        return self._got_further or lasted > lasting_seconds

    @property
    def what_now(self) -> str:
        if self.heard:
            return "Connecting again; lines in between may be missing, or come twice."
        return "Trying again."

    async def connect(self) -> AsyncGenerator[Line | Ready, None]:
        """Yield what one connection says. Raises ConnectionLost when it breaks before the end."""
        reader = EventReader()
        self._spoke_at, self._got_further = None, False
        async with aclosing(self._client.stream(self._spec)) as events:
            async for event in events:
                for said in reader.read(event.data):
                    if isinstance(said, Failure):
                        failure, lines = await _in_words(said, events, reader)
                        for line in lines:
                            yield line
                        raise _verdict(failure)
                    self._note(reader.phase)
                    yield said
        raise ConnectionLost(f"{self._client.remote.name} ended the log before the build's end")

    def _note(self, phase: Phase) -> None:
        """Note that the build has said something."""
        self.phase = phase
        if self._spoke_at is None:
            self._spoke_at = asyncio.get_running_loop().time()
        if _ORDER.index(phase) > _ORDER.index(self._furthest):
            self._furthest, self._got_further = phase, True


async def _in_words(
    failure: Failure, events: AsyncGenerator[ServerEvent, None], reader: EventReader
) -> tuple[Failure, list[Line]]:
    """Wait a moment for a second failure that says why, and for the last lines before it."""
    lines: list[Line] = []
    if failure.worded:
        return failure, lines
    try:
        async with asyncio.timeout(_SECOND_WORDS_SECONDS):
            async for event in events:
                for said in reader.read(event.data):
                    if isinstance(said, Line):
                        lines.append(said)
                    elif isinstance(said, Failure) and said.worded:
                        return said, lines
    except (TimeoutError, ConnectionLost):
        pass
    return failure, lines


def _verdict(failure: Failure) -> Exception:
    """Return what a failure means, to be raised."""
    text = failure.message
    if failure.status is not None:
        return Refused(_WHY_REFUSED.get(failure.status, text or f"status {failure.status}"))
    if text.startswith(_LOST_SIGHT):
        return ConnectionLost("BinderHub lost sight of the build")
    if not text:
        text = "BinderHub says that the build failed, and not why: see the last lines of its log."
    return BuildFailed(text)


_WHY_REFUSED = {
    429: "BinderHub takes no more builds from this service for now: it counts those who are "
    "strangers to it. Its administrator gives the service a token, or the secret of its build "
    "tokens",
}
