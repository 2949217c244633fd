"""What made-up repositories have newer, for the canned pages."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from jupyterhub_binder.model import Environment, Reason, Spec
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.model.upstream import (
    ChangedFile,
    Comparison,
    NewCommit,
    Newer,
    Upstream,
    UpstreamChange,
)

NOW = datetime.now(UTC)
SHA = "b81e00c4" * 5
_SUBJECTS = (
    "Fix plots of the <b>second</b> notebook",
    "Newer xarray, and scipy for the trend test",
    "Add the exercise about droughts and a very long subject line that goes on " + "and on " * 20,
    "Data of the stations in the north",
    "Typo",
    "Figures for the slides",
    "First exercise \u202egpj.exe",
)
_COMMITS = tuple(
    NewCommit(f"{number:x}" * 40, "Ada Lovelace", subject, NOW - timedelta(hours=7 * number + 1))
    for number, subject in enumerate(_SUBJECTS, 1)
)
_DIFF = (
    "--- a/requirements.txt",
    "+++ b/requirements.txt",
    "@@ -1,4 +1,5 @@",
    " numpy==2.1.3",
    "-xarray==2024.9.0",
    "+xarray==2024.10.0",
    "+scipy==1.14.1  # for <script>alert(1)</script> the trend test, " + "with a long remark " * 8,
    " pandas==2.2.3",
)


def newer(*, recipe: bool = True) -> Newer:
    """Return news of a repository, with a changed recipe or with files only."""
    comparison = Comparison(
        count=len(_COMMITS),
        commits=_COMMITS,
        file_count=61,
        files=tuple(f"notebooks/lesson-{number:02}.ipynb" for number in range(50)),
        recipe=(ChangedFile("requirements.txt", 2, 1),) if recipe else (),
        diff=_DIFF if recipe else (),
    )
    upstream = Upstream(Spec("gh", "uni-lab/climate-101"), SHA, NOW - timedelta(minutes=4))
    return Newer(upstream, UpstreamChange("key1", SHA, recipe, comparison), 41.0)


class CannedUpstreams:
    """Knows the same of every environment that was built."""

    def __init__(self) -> None:
        self.unknown = False
        """Whether no host answers."""

    async def look(self, environments: Iterable[Environment]) -> dict[str, Newer]:
        """Return news for every second environment."""
        if self.unknown:
            return {}
        return {
            each.id: newer(recipe=not each.id.endswith("8"))
            for each in environments
            if each.current is not None and each.id[-1] in "1489"
        }

    async def fetch_state(self, environment: Environment) -> Upstream | None:
        """Return what is known."""
        why = Message("%(host)s did not answer. Try again later.", host="github.com")
        reason = Reason("upstream_unavailable", why) if self.unknown else None
        return Upstream(environment.spec, reason=reason)

    def is_asking(self, environment: Environment) -> bool:
        """Ask nobody."""
        return False

    def ask_later(self, spec: Spec) -> None:
        """Ask nobody."""
