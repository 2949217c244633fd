"""What the page on troubleshooting quotes from the program is what the program says."""

from __future__ import annotations

import re

import pytest

from tests.kit.docs import DOCS, ROOT

PAGE = (DOCS / "how-to" / "troubleshooting.md").read_text()
QUOTED = [
    text
    for cell in re.findall(r"^\| ([^|]+) \|", PAGE, re.MULTILINE)
    for text in re.findall(r"[`*]([A-Za-z][^`*]{12,})[`*]", cell)
]
OF_OTHERS = {"Permission denied"}
SOURCE = re.sub(
    r'"\s+f?"',
    "",
    "\n".join(path.read_text() for path in (ROOT / "jupyterhub_binder").rglob("*.py")),
)
VALUES = re.compile(r"127\.0\.0\.1:10101: Address already in use|'docker'")


@pytest.mark.parametrize("quoted", [text for text in QUOTED if text not in OF_OTHERS])
def test_program_says_what_the_page_quotes(quoted: str) -> None:
    for part in VALUES.split(quoted):
        assert part.strip() in SOURCE, part


def test_page_quotes_errors() -> None:
    assert len(QUOTED) > 8


def test_every_how_to_has_a_line_in_the_list() -> None:
    index = (DOCS / "how-to" / "index.md").read_text()
    for page in (DOCS / "how-to").glob("*.md"):
        if page.name != "index.md":
            assert re.search(rf"^\[.+\]\({page.name}\)\n: \S.+\.$", index, re.MULTILINE), page.name
