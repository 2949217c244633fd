"""Nothing that the service says acts on the terminal of whoever asks it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from jupyterhub_binder.cli import main
from tests.kit.cli_server import TOKEN, Service, serving

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x1b[1;1H\x9b2J\x9d0;owned\x9c\x1b[31m\u202e\r\n\x08\x85\u2028z"
OURS = re.compile(r"\x1b\[(?:[0-9;]*m|\??[0-9]*[hlKAG])")
"""Colours, and what redraws a line of progress."""
ACTS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service()
    service.add("eeeeeeeee3", "daylight", "bbbbbbbbb3", "failed")
    service.add_server("eeeeeeeee3", "second")
    service.launch_state = "failed"
    service.spoil = HOSTILE
    service.lines = [HOSTILE]
    with serving(service) as service.url:
        yield service


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize(
    "command",
    [
        *("list", "logs eeeeeeeee3", "launch eeeeeeeee3", "cancel bbbbbbbbb3", "doctor"),
        *("build https://example.org/broken --wait", "logs nosuchthing", "list --json"),
        *("show eeeeeeeee3", "show eeeeeeeee3 --json", "edit eeeeeeeee3 --path x"),
        *("share eeeeeeeee3", "share eeeeeeeee3 --with x", "copy eeeeeeeee3", "accept"),
        *("stop eeeeeeeee3", "delete eeeeeeeee3", "delete eeeeeeeee3 --yes", "restore nosuch"),
        *("admin rules", "admin audit", "admin use", "admin audit --json"),
        *("admin use --csv", "admin audit --lines"),
    ],
)
def test_no_command_prints_what_acts(
    service: Service, monkeypatch: pytest.MonkeyPatch, command: str, terminal: bool
) -> None:
    monkeypatch.setenv("JUPYTERHUB_BINDER_HUB", service.url)
    monkeypatch.setenv("JUPYTERHUB_BINDER_TOKEN", TOKEN)
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("TERM", "xterm-256color")
    words = command.split()
    if words[0] == "doctor":
        words += ["--hub", service.url]
    done = CliRunner().invoke(main, words)
    assert not isinstance(done.exception, Exception), done.exception
    shown = done.stdout + done.stderr
    assert shown
    assert not ACTS.findall(OURS.sub("", shown).replace("\r", "")), ascii(shown)
    if "--json" not in words:
        assert "owned" not in shown
