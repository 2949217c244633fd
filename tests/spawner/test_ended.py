"""What is said of a server that ended at once."""

from __future__ import annotations

import time
from collections.abc import Generator

import pytest

from jupyterhub_binder.spawner.ended import explain_end, read_end


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("jupyterhub-binder: jupyterhub-singleuser: not found", "no jupyterhub-singleuser"),
        ("sh: 1: exec: jupyterhub-singleuser: not found\n", "no jupyterhub-singleuser"),
        ('exec: "sh": executable file not found in $PATH: unknown', "no shell"),
        ("Running as root is not recommended. Use --allow-root to bypass.", "runs as root"),
        ("container has runAsNonRoot and image will run as root (pod: x)", "runs as root"),
        ("one\nModuleNotFoundError: No module named 'x'.\n\n", "No module named 'x'"),
        (f"{'x' * 999}\n", f"{'x' * 300}"),
        (" \n", "without a word"),
    ],
)
def test_last_words_become_a_reason(said: str, why: str) -> None:
    assert why in explain_end(said)
    assert not explain_end(said).endswith(".")


@pytest.mark.parametrize("said", ["jupyterhub-singleuser ", "no such file "])
def test_no_last_words_hold_the_hub(said: str) -> None:
    began = time.process_time()
    explain_end(said * 15_000)
    assert time.process_time() - began < 0.5


def test_a_line_without_end_is_read_in_part() -> None:
    read = 0

    def parts() -> Generator[bytes, None, None]:
        nonlocal read
        while True:
            read += 1
            yield b"x" * 1000

    assert len(read_end(parts(), keep=2500, give_up=50_000)) == 2500
    assert read == 50


def test_last_words_that_come_one_by_one_are_whole() -> None:
    words = (bytes([each]) for each in b"a" * 100 + b"the end")
    assert read_end(words, keep=9, give_up=50_000) == b"aathe end"
