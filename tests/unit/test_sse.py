"""Reading server-sent events, however a connection cuts them."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyterhub_binder.clock import utc_now
from jupyterhub_binder.model import BuildEvent, Phase
from jupyterhub_binder.sse import EventParser, ServerEvent
from jupyterhub_binder.web.events import encode_events, encode_named

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
    parser = EventParser(most_characters=1000)
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
