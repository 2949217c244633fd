"""axe-core on a page: what it finds, in lines that a failed test shows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from playwright.async_api import Page

AXE = "axe-core@4.14.1"

TAGS = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22a", "wcag22aa", "best-practice")

NOT_OURS = ("#lines .b-tx [style]",)
"""What a build printed in a colour of its own stays in that colour."""

COLOUR_RULES = ("color-contrast", "link-in-text-block")
"""What another colour scheme can change."""

RUN = """async ([notOurs, runOnly]) => {
  const found = await axe.run(
    { exclude: notOurs.map((selector) => [selector]) },
    { runOnly, resultTypes: ["violations"] },
  );
  return found.violations.flatMap(({ id, help, nodes }) =>
    nodes.map((node) => `${id} (${help}): ${node.target.join(" ")}: ${node.html.slice(0, 200)}`
      + (node.any[0] ? ` [${node.any[0].message}]` : "")));
}"""


async def violations(page: Page, folder: Path, *, rules: Sequence[str] | None = None) -> list[str]:
    """Return what axe-core finds on the page as it is now; by all rules, or by some."""
    if not await page.evaluate("() => 'axe' in window"):
        await page.evaluate((folder / "node_modules/axe-core/axe.min.js").read_text())
    only = {"type": "rule", "values": rules} if rules else {"type": "tag", "values": TAGS}
    answer: Any = await page.evaluate(RUN, [NOT_OURS, only])
    return answer
