"""What a comparison takes apart of what git prints: no more than is shown."""

from __future__ import annotations

import tracemalloc
from dataclasses import dataclass

from jupyterhub_binder.repositories import compare


@dataclass
class Printed:
    """A mirror whose git prints this."""

    text: str

    async def run(self, *_: str, ask_host: bool = False) -> str:
        return self.text


async def peak_of(work) -> tuple[int, object]:
    tracemalloc.start()
    try:
        return_value = await work
        return tracemalloc.get_traced_memory()[1], return_value
    finally:
        tracemalloc.stop()


async def test_of_a_diff_of_a_million_lines_only_the_first_are_read():
    head = (
        "diff --git a/postBuild b/postBuild\nindex 1..2 100644\n--- a/postBuild\n+++ b/postBuild\n"
    )
    printed = Printed(head + "+xy\r\n" * 1_000_000)
    peak, diff = await peak_of(compare._diff(printed, "a", "b", ["postBuild"]))
    assert peak < 3 * len(printed.text)
    assert diff == ("--- a/postBuild", "+++ b/postBuild", *["+xy"] * 196)


async def test_of_a_subject_of_a_million_words_only_the_first_are_read():
    printed = Printed("\n".join(("c" * 40, "Ada", "1700000000", "word " * 1_000_000)) + "\0")
    peak, (commit,) = await peak_of(compare._list_commits(printed, "a", "b"))
    assert peak < 5 * len(printed.text)
    assert commit.subject.startswith("word word")
    assert len(commit.subject) <= 200
