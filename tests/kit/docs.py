"""The command blocks of the documentation, as its copy button copies them."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import find_node

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
_SHELLS = ("console", "bash", "sh", "shell")
_BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A block of commands."""

    page: str
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}: {self.text.partition(chr(10))[0][:50]}"


def pages() -> list[Path]:
    """Return the pages that somebody wrote, without those that are made of the code."""
    more = [ROOT / name for name in ("README.md", "CONTRIBUTING.md")]
    found = [*more, *DOCS.rglob("*.md"), *(ROOT / "helm").rglob("*.md")]
    return [page for page in found if "generated" not in page.parts]


def command_blocks(text: str, page: str) -> list[Block]:
    """Return the blocks of commands of a page."""
    return [
        Block(page, language, textwrap.dedent(block))
        for _, language, block in _BLOCK.findall(text)
        if language in _SHELLS
    ]


def copied(blocks: list[Block]) -> list[str]:
    """Return what the real button copies, with the settings of the documentation."""
    button = pytest.importorskip("sphinx_copybutton")
    functions = Path(button.__file__).parent / "_static" / "copybutton_funcs.js"
    conf = runpy.run_path(str(DOCS / "conf.py"))
    settings = [
        conf["copybutton_prompt_text"],
        *(False, True, True, True),  # the defaults of the settings between
        conf.get("copybutton_line_continuation_character", ""),
        conf.get("copybutton_here_doc_delimiter", ""),
    ]
    script = (
        f"{functions.read_text()}\n"
        "const [settings, texts] = JSON.parse(await new Response(process.stdin).text());\n"
        "console.log(JSON.stringify(texts.map((text) => formatCopyText(text, ...settings))));"
    )
    node = find_node()
    assert node is not None
    done = subprocess.run(
        [node, "--input-type=module", "-e", script],
        input=json.dumps([settings, [block.text for block in blocks]]),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)
