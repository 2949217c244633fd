"""Messages: English as text, and the template with its values for other languages."""

from __future__ import annotations

import copy
import json

import pytest

from jupyterhub_binder.errors import NotFound
from jupyterhub_binder.model.text import MAX_DEPTH, MAX_VALUES, Message, all_of, any_of


def test_a_message_is_its_english_sentence():
    message = Message("%(host)s has no %(what)s.", host="a.org", what=Message("file %(n)s", n=3))
    assert message == "a.org has no file 3."
    assert (message.text, message.values["host"]) == ("%(host)s has no %(what)s.", "a.org")


def test_a_count_chooses_the_form():
    said = [
        Message.counted("one file", "%(num)s files in %(path)s", n, path="a") for n in (1, 2000)
    ]
    assert said == ["one file", "2,000 files in a"]


@pytest.mark.parametrize("text", ["100 % of it", "%(x)s", "%s", ""])
def test_a_strangers_text_is_never_a_template(text: str):
    assert Message.verbatim(text) == text
    assert NotFound("It says %(why)s", why=text).message == f"It says {text}"


def test_an_error_is_its_sentence_and_keeps_its_values():
    error = NotFound("No %(what)s here.", what="cat", code="no_cat", detail={"field": "name"})
    assert str(error) == error.message == "No cat here."
    assert (error.error_code, error.detail) == ("no_cat", {"field": "name"})
    assert error.message.values == {"what": "cat"}


def test_lists_are_said_in_words():
    assert [any_of(["a", "b", "c"]), all_of(["a", "b"]), any_of(["a"]), all_of([])] == [
        "a, b or c",
        "a and b",
        "a",
        "",
    ]


MESSAGE = Message(
    "%(path)s: %(why)s",
    path="\ud800\x00",
    why=Message.counted("one", "%(num)s of %(name)s", 5, name=None),
)


@pytest.mark.parametrize(
    "again",
    [
        copy.deepcopy(MESSAGE),
        Message.from_json(json.loads(json.dumps(MESSAGE.to_json()))),
    ],
    ids=["copied", "as JSON"],
)
def test_a_message_survives(again: Message):
    assert (again, again.text, again.values) == (MESSAGE, MESSAGE.text, MESSAGE.values)
    assert again.to_json() == MESSAGE.to_json()


def test_texts_among_the_values_can_be_changed_all_at_once():
    clean = MESSAGE.map(lambda text: text.encode("utf-8", "replace").decode().replace("\0", "0"))
    assert clean == "?0: 5 of None"
    assert clean.text == MESSAGE.text


def nested(depth: int) -> object:
    return {"text": "%(x)s", "values": {"x": nested(depth - 1) if depth else "x"}}


@pytest.mark.parametrize(
    "stored",
    [
        None,
        "text",
        [],
        {"text": "x"},
        {"text": 1, "values": {}},
        {"text": "x", "values": []},
        {"text": "x", "many": None, "values": {}},
        {"text": "x", "many": "y", "values": {}},
        {"text": "%(x)s", "values": {"y": 1}},
        {"text": "%(x", "values": {"x": 1}},
        {"text": "%(x)s", "values": {"x": ["a"]}},
        {"text": "x", "values": dict.fromkeys(map(str, range(MAX_VALUES + 1)), 1)},
        nested(MAX_DEPTH),
    ],
)
def test_what_is_no_message_is_read_as_none(stored: object):
    assert Message.from_json(stored) is None


def test_a_message_as_deep_as_may_be_is_read():
    assert Message.from_json(nested(MAX_DEPTH - 1)) == "x"
