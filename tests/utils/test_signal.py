"""Signals: many callbacks, and one that fails does not stop the others."""

from __future__ import annotations

import logging

import pytest

from jupyterhub_binder.utils.signal import Signal


def test_all_callbacks_are_called_in_the_order_in_which_they_connected() -> None:
    signal: Signal[[int]] = Signal()
    heard: list[tuple[str, int]] = []
    signal.connect(lambda number: heard.append(("first", number)))
    signal.connect(lambda number: heard.append(("second", number)))
    signal.send(7)
    assert heard == [("first", 7), ("second", 7)]


def test_a_disconnected_callback_is_not_called() -> None:
    signal: Signal[[int]] = Signal()
    heard: list[int] = []
    disconnect = signal.connect(heard.append)
    signal.connect(heard.append)
    disconnect()
    disconnect()
    signal.send(1)
    assert heard == [1]


def test_a_callback_may_disconnect_itself_while_it_is_called() -> None:
    signal: Signal[[]] = Signal()
    heard: list[str] = []

    def once() -> None:
        heard.append("once")
        disconnect()

    disconnect = signal.connect(once)
    signal.connect(lambda: heard.append("always"))
    signal.send()
    signal.send()
    assert heard == ["once", "always", "always"]


def test_a_callback_that_raises_is_logged_and_does_not_stop_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    signal: Signal[[]] = Signal()
    heard: list[str] = []

    def fail() -> None:
        raise ValueError("no")

    signal.connect(fail)
    signal.connect(lambda: heard.append("told"))
    with caplog.at_level(logging.ERROR):
        signal.send()
    assert heard == ["told"]
    assert "ValueError: no" in caplog.text
