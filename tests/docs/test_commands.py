"""Commands of the docs, copied by the button, are what the page shows, and a shell takes them."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.kit.docs import DOCS, Block, command_blocks, copied, pages

pytestmark = pytest.mark.node

BLOCKS = [
    block
    for page in pages()
    for block in command_blocks(page.read_text(), str(page.relative_to(DOCS.parent)))
]


@pytest.fixture(scope="module")
def generated(docs_reference) -> list[Block]:
    """Return the blocks of the pages that are made of the code."""
    made = ("configuration", "rest", "commands", "chart")
    return [
        block for name in made for block in command_blocks(getattr(docs_reference, name)(), name)
    ]


@pytest.fixture(scope="module")
def by_block(generated: list[Block]) -> dict[Block, str]:
    blocks = [*BLOCKS, *generated]
    return dict(zip(blocks, copied(blocks), strict=True))


def shown(block: Block) -> str:
    """Return a block's commands without the prompt and what they print."""
    lines: list[str] = []
    end = ""
    for line in block.text.splitlines():
        if end or (lines and lines[-1].endswith("\\")):
            lines.append(line)
        elif line.startswith("$ ") or not line.strip():
            lines.append(line.removeprefix("$ "))
        if end and line == end:
            end = ""
        elif here := re.search(r"<<-?'?(\w+)'?$", line):
            end = here[1]
    return "\n".join(lines)


def test_button_copies_every_command_that_a_page_shows(by_block: dict[Block, str]) -> None:
    assert len(by_block) > 60
    for block, text in by_block.items():
        if block.language == "console":
            assert block.text.startswith("$ "), f"{block} has no prompt"
            assert text.rstrip("\n") == shown(block).rstrip("\n"), block


def test_shell_takes_what_the_button_copies(by_block: dict[Block, str]) -> None:
    for block, text in by_block.items():
        done = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, ""), f"{block}\n{text}"


def test_no_placeholder_is_a_redirection_of_the_shell(by_block: dict[Block, str]) -> None:
    for block, text in by_block.items():
        assert not re.search(r"<[a-z][a-z ]*>", text), f"{block}\n{text}"
