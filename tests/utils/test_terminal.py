"""Strangers' text on terminals, and the client's small pure parts."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyterhub_binder.client.client import find_service_url
from jupyterhub_binder.errors import InvalidInput
from jupyterhub_binder.utils.terminal import OneLineFormatter, ago, coloured, duration, plain
from jupyterhub_binder.utils.units import format_bytes


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;title\x07name", "name"),
        ("\x1b]8;;https://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("a\x1b[2Jb\x1b[1;1Hc", "abc"),
        ("\x9b31mred", "red"),
        ("one\ntwo\rthree\x00", "onetwothree"),
        ("\u202egnp.exe", "gnp.exe"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("tab\tstays", "tab\tstays"),
        ("\x1bP1$rdcs\x1b\\x", "x"),
        ("unfinished \x1b]0;title", "unfinished "),
    ],
)
def test_plain_text_cannot_act_on_a_terminal(text: str, shown: str) -> None:
    assert plain(text) == shown


def test_log_line_keeps_its_colours_and_ends_them() -> None:
    assert coloured("\x1b[1;32mok\x1b[2K") == "\x1b[1;32mok\x1b[0m"
    assert coloured("no colour") == "no colour"


@given(st.text())
def test_no_text_smuggles_a_control_character(text: str) -> None:
    assert not any((ord(c) < 32 and c != "\t") or 127 <= ord(c) < 160 for c in plain(text))
    left = coloured(text).replace("\x1b", "", coloured(text).count("\x1b["))
    assert "\x1b" not in left


@pytest.mark.parametrize(
    ("pasted", "service"),
    [
        ("https://hub.example.org", "https://hub.example.org/services/binder/"),
        ("hub.example.org:8000/", "http://hub.example.org:8000/services/binder/"),
        ("https://x.org/jupyter/hub/home?a=b#c", "https://x.org/jupyter/services/binder/"),
        ("https://x.org/user/ada/lab/tree", "https://x.org/services/binder/"),
        ("https://x.org/services/other/builds/1", "https://x.org/services/other/"),
    ],
)
def test_any_page_of_a_hub_leads_to_the_service(pasted: str, service: str) -> None:
    assert find_service_url(pasted) == service


def test_what_is_no_address_is_refused() -> None:
    with pytest.raises(InvalidInput):
        find_service_url("ftp://x.org")


def test_durations_times_and_sizes_read_as_people_say_them() -> None:
    assert [duration(s) for s in (None, 8.2, 84, 7800)] == ["", "8 s", "1:24", "2:10:00"]
    assert [format_bytes(n) for n in (13, 3_400, 414_000_000, 5e12)] == [
        "13 bytes",
        "3.4 kB",
        "414.0 MB",
        "5.0 TB",
    ]
    now = datetime(2026, 1, 3, tzinfo=UTC)
    assert ago("2026-01-01T00:00:00Z", now=now) == "2 days ago"
    assert ago("2026-01-02T23:59:30Z", now=now) == "just now"
    assert ago("nonsense") == ago(None) == ""


def test_a_message_of_a_log_is_one_line_that_acts_on_no_terminal():
    hostile = "remote: hi\n[I 2026 hub] all is well\x1b[2J\x9b2J\r"
    record = logging.LogRecord("x", logging.INFO, "", 1, "git said: %s", (hostile,), None)
    line = OneLineFormatter("%(message)s").format(record)
    assert line == r"git said: remote: hi\n[I 2026 hub] all is well\x1b[2J\x9b2J\r"
