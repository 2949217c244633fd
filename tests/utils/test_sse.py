"""Reading server-sent events, however a connection cuts them."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any, cast

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyterhub_binder.model import BuildEvent, Phase
from jupyterhub_binder.utils.retry import Backoff
from jupyterhub_binder.utils.sse import EventParser, ServerEvent, StreamEnded, follow_events
from jupyterhub_binder.utils.time import utc_now
from jupyterhub_binder.web.streams import encode_events, encode_named

STREAM = (
    "\ufeffretry: 2000\n\n"
    ": a heartbeat\n\n"
    'id: 1\ndata: {"message": "größer \u202e"}\n\n'
    "event: build\r\ndata: one\r\ndata:two\r\n\r\n"
    "id: 2\rdata\r\r"
    "event: lost\n\n"
    'event: end\ndata: {"state": "built"}\n\n'
    "data: never ended"
).encode()

EVENTS = [
    ServerEvent("message", '{"message": "größer \u202e"}', "1"),
    ServerEvent("build", "one\ntwo", "1"),
    ServerEvent("message", "", "2"),
    ServerEvent("end", '{"state": "built"}', "2"),
]


def read(*pieces: bytes) -> list[ServerEvent]:
    parser = EventParser()
    return [event for piece in pieces for event in parser.feed(piece)]


def test_a_stream_in_one_piece_gives_its_events() -> None:
    assert read(STREAM) == EVENTS


def test_a_stream_byte_by_byte_gives_the_same_events() -> None:
    assert read(*[STREAM[i : i + 1] for i in range(len(STREAM))]) == EVENTS


@pytest.mark.parametrize("seed", range(20))
def test_a_stream_cut_at_random_places_gives_the_same_events(seed: int) -> None:
    places = sorted(random.Random(seed).sample(range(len(STREAM)), 12))
    cuts = zip([0, *places], [*places, len(STREAM)], strict=True)
    assert read(*[STREAM[a:b] for a, b in cuts]) == EVENTS


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_no_bytes_make_it_fail(pieces: list[bytes]) -> None:
    assert read(*pieces) == read(b"".join(pieces))


@given(st.lists(st.text(max_size=40), max_size=10), st.sampled_from(["end", "build", "launch"]))
def test_what_the_service_sends_is_read_as_it_was_said(texts: list[str], name: str) -> None:
    lines = [BuildEvent(n, utc_now(), Phase.BUILDING, text) for n, text in enumerate(texts, 1)]
    sent = encode_events(lines) + encode_named(name, {"message": "".join(texts)})
    *events, last = read(sent)
    assert [(event.event, event.id) for event in events] == [
        ("message", str(line.seq)) for line in lines
    ]
    assert [event.json()["message"] for event in events] == texts
    assert (last.event, last.json()) == (name, {"message": "".join(texts)})


def test_a_line_of_ten_megabytes_costs_no_more_than_is_kept() -> None:
    parser = EventParser(max_characters=1000)
    piece = b"data: " + b"x" * 65_530
    found = [event for _ in range(160) for event in parser.feed(piece)]
    found += parser.feed(b"\n\ndata: next\n\n")
    assert [len(event.data) for event in found] == [994, 4]


def test_data_that_is_no_object_reads_as_an_empty_one() -> None:
    assert [ServerEvent("x", text, "").json() for text in ("", "[1]", "{", '{"a": 1}')] == [
        {},
        {},
        {},
        {"a": 1},
    ]


# --- Following ------------------------------------------------------------------------------------


class Broken(Exception):
    """A passing fault."""


class Refused(Exception):
    """A fault that no other attempt mends."""


class Host:
    """Answers each request with the next script: bytes to send, then an error to raise."""

    def __init__(self, *scripts: Sequence[bytes | Exception]) -> None:
        self._scripts = list(scripts)
        self.asked_after: list[str] = []
        self.open = 0

    @asynccontextmanager
    async def connect(self, last_id: str) -> AsyncIterator[aiohttp.ClientResponse]:
        self.asked_after.append(last_id)
        self.open += 1
        script = self._scripts.pop(0)
        try:
            if script and isinstance(script[0], Exception):
                raise script[0]
            yield cast("aiohttp.ClientResponse", _Response(script))
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Broken(str(error)) from error
        finally:
            self.open -= 1

    def follow(self, **options: Any) -> AsyncGenerator[ServerEvent, None]:
        backoff = Backoff(0.001, patience_seconds=options.pop("patience", 5))
        last = options.pop("last", "end")
        return follow_events(
            self.connect,
            is_last=lambda event: event.event == last,
            passing=Broken,
            backoff=backoff,
            **options,
        )


class _Response:
    def __init__(self, script: Sequence[bytes | Exception]) -> None:
        self.content = self
        self._script = script

    async def iter_any(self) -> AsyncIterator[bytes]:
        for piece in self._script:
            if isinstance(piece, Exception):
                raise piece
            yield piece


async def names(events: AsyncGenerator[ServerEvent, None]) -> list[str]:
    async with aclosing(events):
        return [event.data async for event in events]


END = b"event: end\ndata: end\n\n"


async def test_a_broken_stream_goes_on_after_the_last_id() -> None:
    host = Host(
        [b"id: 1\ndata: one\n\nid: 2\ndata: two\n\n", aiohttp.ClientPayloadError()],
        [Broken()],
        [b"event: build\ndata: no id\n\n", TimeoutError()],
        [b"id: 3\ndata: three\n\n" + END],
    )
    assert await names(host.follow(after="0")) == ["one", "two", "no id", "three", "end"]
    assert host.asked_after == ["0", "2", "2", "2"]
    assert host.open == 0


async def test_a_stream_that_ends_before_its_last_event_is_opened_again() -> None:
    host = Host([b"data: one\n\n"], [], [END])
    assert await names(host.follow()) == ["one", "end"]


async def test_what_follows_the_last_event_is_not_read() -> None:
    assert await names(Host([END + b"data: more\n\n"]).follow()) == ["end"]


async def test_a_refusal_ends_it_at_once() -> None:
    host = Host([Broken()], [Refused()], [END])
    with pytest.raises(Refused):
        await names(host.follow())
    assert len(host.asked_after) == 2


async def test_the_last_fault_is_raised_when_patience_is_over() -> None:
    host = Host([Broken("first")], [])
    with pytest.raises(Broken, match="first"):
        await names(host.follow(patience=0))
    with pytest.raises(Broken) as caught:
        await names(host.follow(patience=0))
    assert isinstance(caught.value.__cause__, StreamEnded)


async def test_each_event_restores_patience() -> None:
    drops = [[b"data: one\n\n", TimeoutError()]] * 20
    host = Host(*drops, [END])
    assert await names(host.follow(patience=0.0015)) == ["one"] * 20 + ["end"]


async def test_leaving_closes_the_connection() -> None:
    host = Host([b"data: one\n\n", b"data: two\n\n", END])
    async with aclosing(host.follow()) as events:
        async for _ in events:
            assert host.open == 1
            break
    assert host.open == 0
