"""Terminal codes and other things that are no text, in what a program said."""

from __future__ import annotations

import time

import pytest

from jupyterhub_binder.utils.text import storable, without_escapes


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ("\x1b[91mUsing Python 3.11\x1b[0m\x1b[91m", "Using Python 3.11"),
        ("\x1b[1;38;5;9mred\x1b[m", "red"),
        ("\x1b]0;a title\x07after", "after"),
        ("\x1b]8;;https://example.org\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bMup", "up"),
        ("50 %\r", "50 %\r"),
        ("nothing", "nothing"),
        ("", ""),
    ],
)
def test_codes_are_taken_out(said, text):
    assert without_escapes(said) == text


@pytest.mark.parametrize("part", ["\x1b[", "\x1b]", "\x1b[0", "\x1b"])
def test_no_text_takes_long(part):
    begun = time.process_time()
    without_escapes(part * (16_384 // len(part)))
    assert time.process_time() - begun < 0.1


def test_what_no_store_takes_is_shown_by_what_stands_for_it():
    assert storable("a\0b\a\ud800\U0001f600\r\n\t\x1b[m\b") == "a␀b␇\ufffd\U0001f600\r\n\t\x1b[m\b"
