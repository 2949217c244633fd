"""What people read when the hub could not start a server."""

from __future__ import annotations

import pytest

from jupyterhub_binder.launches.run import explain_failure


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (
            "Spawn failed: Server at http://127.0.0.1:36249/user/dora/api didn't respond in 30 seconds",
            "Your server took longer than 30 seconds to start. Launch it again: the second start is "
            "usually faster.",
        ),
        ("Spawn failed: No space left", "No space left"),
        ("Spawn failed", "The server did not start."),
        ("", "The server did not start."),
    ],
)
def test_failure_of_a_start_is_said_without_internal_addresses(said: str, shown: str):
    assert explain_failure(said) == shown
