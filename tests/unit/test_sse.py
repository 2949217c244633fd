"""The one parser of event streams: however the bytes are cut, the events are the same."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyterhub_binder.sse import EventParser, ServerEvent


def parse(*chunks: bytes, **options) -> list[ServerEvent]:
    parser = EventParser(**options)
    return [event for chunk in chunks for event in parser.feed(chunk)]


def data_of(*chunks: bytes, **options) -> list[str]:
    return [event.data for event in parse(*chunks, **options)]


FIELDS = st.sampled_from(
    [b"data: one", b"data:two", b"data", b"event: x", b"id: 7", b":a comment", b"retry: 5", b"",
     b"data: \xf0\x9f\x90\x99 \xe2\x94\x81", b"data: \xff bad", b"nonsense", b"data: \x00"]
)  # fmt: skip
ENDS = st.sampled_from([b"\n", b"\r", b"\r\n"])


@given(st.lists(st.tuples(FIELDS, ENDS), max_size=20), st.data())
def test_cutting_changes_nothing(lines, data):
    stream = b"".join(field + end for field, end in lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    pieces = [stream[a:b] for a, b in pairwise([0, *cuts, len(stream)])]
    assert parse(*pieces) == parse(stream)


@given(st.binary(max_size=300))
def test_any_bytes_are_read(stream):
    assert parse(*(bytes([byte]) for byte in stream)) == parse(stream)


def test_comments_and_empty_events_say_nothing():
    assert parse(b":keepalive\n\n\n\n: more\nevent: named\n\n") == []


def test_fields_are_those_of_the_standard():
    assert parse(b"\xef\xbb\xbfid: 3\nevent: log\ndata: a\ndata:  b\n\n") == [
        ServerEvent("log", "a\n b", "3")
    ]


def test_return_at_the_end_of_a_chunk_ends_its_line():
    assert data_of(b"data: a\r", b"\ndata: b\r", b"\r") == ["a\nb"]


def test_line_without_end_takes_no_memory_without_end():
    parser = EventParser(most_characters=1000)
    for _ in range(100):
        assert parser.feed(b"data: " + b"x" * 1000) == []
    assert len(parser.feed(b"\n\n")[0].data) < 1000
    assert [event.data for event in parser.feed(b"data: next\n\n")] == ["next"]


def test_event_of_too_many_lines_ends_where_it_ends():
    assert data_of(b"data: 12345\n" * 50, b"\n", b"data: z\n\n", most_characters=30)[1:] == ["z"]


def test_many_comments_leave_room_for_an_event():
    assert data_of(b": comment\n" * 100, b"data: a\n\n", most_characters=30) == ["a"]


@pytest.mark.parametrize("data", ["", "nonsense", "[1]", '"text"', "{", "NaN"])
def test_data_that_is_no_object_is_an_empty_one(data):
    assert ServerEvent("message", data, "").json() == {}
