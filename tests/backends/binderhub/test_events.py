"""What BinderHub's events mean, without a network."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyterhub_binder.backends.binderhub.events import BuildFailure, EventReader, Ready, readable
from jupyterhub_binder.model import Line, Phase

COMMAND_FAILED = "Error during build: Command '['docker', 'x']' returned non-zero exit status 1."


def read(*events: object) -> list[object]:
    reader = EventReader()
    found: list[object] = []
    for event in events:
        found += reader.read(event if isinstance(event, str) else json.dumps(event))
    return found


def building(message: str) -> dict[str, str]:
    return {"phase": "building", "message": message}


def lines(*messages: str) -> list[str]:
    found = read(*map(building, messages), {"phase": "failed", "message": "over"})
    return [line.text for line in found if isinstance(line, Line)]


def test_event_with_many_lines_is_many_lines():
    assert lines("one\ntwo\n\nfour\n") == ["one", "two", "", "four"]


def test_parts_of_a_line_are_one_line():
    assert lines("Step 1/5 : FROM x", "\n", "a", "b", "c\nd\n") == ["Step 1/5 : FROM x", "abc", "d"]


def test_line_without_an_end_is_shown_when_the_build_ends():
    assert lines("the end") == ["the end"]


def test_line_without_an_end_is_shown_when_the_phase_changes():
    found = read({"phase": "fetching", "message": "a"}, building("b\n"))
    assert found == [Line(Phase.FETCHING, "a"), Line(Phase.BUILDING, "b")]


def test_colours_stay():
    assert lines("\x1b[91mto stderr\n\x1b[0m") == ["\x1b[91mto stderr", "\x1b[0m"]


def test_progress_stays_provisional():
    assert lines("1%\r", "2%\r", "3%\r", "done\n") == ["1%\r", "2%\r", "done"]


def test_missing_and_unknown_phases_are_the_last_one():
    found = read(
        {"phase": "waiting", "message": "w\n"},
        {"message": "m\n"},
        building("b\n"),
        {"phase": "unknown", "message": "u\n"},
        {"message": "n\n"},
    )
    assert [line.phase for line in found] == ["waiting", "waiting", *["building"] * 3]


@pytest.mark.parametrize("phase", ["ready", "READY", "built"])
def test_success_is_ready_or_built(phase):
    assert read({"phase": phase, "imageName": "r/n:t"}) == [Ready("r/n:t")]


def test_ready_of_a_launch_names_the_image_too():
    assert read({"phase": "ready", "url": "http://x/", "token": "t", "image": "r/n:t"}) == [
        Ready("r/n:t")
    ]


@pytest.mark.parametrize("image", [None, "", 7, "a b", "-rf", "x\n", "A" * 600, "é"])
def test_success_without_a_valid_image_is_a_failure(image):
    (failure,) = read({"phase": "ready", "imageName": image})
    assert isinstance(failure, BuildFailure)
    assert "valid image name" in failure.message


def test_stack_traces_are_never_shown():
    found = read({"phase": "failed", "message": "it broke", "exc_info": "File /srv/secret"})
    assert found == [BuildFailure("it broke")]


def test_failure_through_a_command_leaves_the_words_to_the_log():
    found = read(
        building("#6 12.3 ERROR: No matching distribution found for nope\n"),
        {"phase": "failed", "message": COMMAND_FAILED},
    )
    assert found[-1] == BuildFailure("")


def test_failure_in_binderhubs_own_words_has_those():
    found = read(
        building("ERROR: No matching distribution found for nope\n"),
        {"phase": "failed", "message": "Error during build: the disk is full"},
    )
    assert found[-1] == BuildFailure("the disk is full")


def test_failure_without_words_says_so():
    found = read(building("fatal: not a repository\n"), {"phase": "failed"})
    assert found[-1] == BuildFailure("", worded=False)


def test_failure_is_one_line():
    (failure,) = read({"phase": "failed", "message": "a\n\x1b[31mb\x1b[0m\r\n\n"})
    assert failure == BuildFailure("a b")


def test_refusal_has_its_status():
    assert read({"phase": "failed", "status_code": 429, "message": "Rate"}) == [
        BuildFailure("Rate", 429)
    ]


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ('{"aux": {"ID": "sha256:abc"}}', "Made sha256:abc\n"),
        ('{"aux": {"Tag": "t", "Digest": "sha256:def", "Size": 9}}', "Pushed sha256:def\n"),
        ('{"aux": {}}', ""),
        ('{"status": "Pulling", "progressDetail": {}, "id": "3"}', "Pulling\n"),
        ('{"stream": "Step 1/2"}', "Step 1/2"),
        ('{"error": "denied", "errorDetail": {}}', "denied\n"),
        ('{"name": "what a build printed"}\n', '{"name": "what a build printed"}\n'),
        ("{}", "{}"),
        ("{not json", "{not json"),
        ("[1]", "[1]"),
    ],
)
def test_json_of_docker_is_made_readable(message, shown):
    assert readable(message) == shown


@pytest.mark.parametrize("data", ["", "null", "[]", "7", '"x"', "{", "[" * 100_000])
def test_what_is_no_event_does_no_harm(data):
    read(data, {"phase": 7, "message": ["x"], "status_code": "y"}, {"message": {}})


def test_lone_surrogates_become_text():
    (line,) = read('{"message": "a\\ud800b\\n"}')
    assert line.text.encode()


def test_huge_line_is_broken():
    found = lines("x" * 1_000_000 + "\n")
    assert "".join(found) == "x" * 1_000_000
    assert max(map(len, found)) <= 20_000


@given(st.lists(st.text(max_size=30), max_size=8), st.data())
def test_cutting_messages_changes_no_line(texts, data):
    whole = "".join(f"{text}\n" for text in texts if not text.lstrip().startswith("{"))
    places = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    edges = [0, *places, len(whole)]
    pieces = [whole[a:b] for a, b in itertools.pairwise(edges)]
    if "\r" not in whole and not any(piece.lstrip().startswith("{") for piece in pieces):
        assert lines(*pieces) == lines(whole)


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists, max_leaves=5))
def test_any_value_in_any_place_is_read(value):
    for key in ("phase", "message", "imageName", "status_code", "exc_info"):
        read({"phase": "ready", "message": "m", key: value})
        read({"phase": "failed", "message": "m", key: value})
