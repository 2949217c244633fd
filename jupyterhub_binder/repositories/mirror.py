"""Bare mirrors of git repositories, so that nothing is downloaded twice.

A mirror has the commits that were asked for, some history, and of their files those that were
needed. It may be deleted at any moment and is then made again. `Fetcher` sets its limits and says
when it is used; whoever uses one asks the host first whether it still serves the repository.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from traitlets import Int, Unicode
from traitlets.config import LoggingConfigurable

from jupyterhub_binder.repositories.git import Git
from jupyterhub_binder.utils.concurrency import Locks, SingleFlight
from jupyterhub_binder.utils.subprocess import ProcessFailed
from jupyterhub_binder.utils.trash import Trash
from jupyterhub_binder.utils.trees import copy_tree, try_to_remove, walk

MAX_COMMITS = 100
"""How much history a mirror fetches behind a commit."""

_MAX_ADOPTED_BYTES = 64 * 2**20
"""Larger checkouts are not copied, so that the first build does not wait."""

_MAX_PACKS = 60
"""A mirror with more of them is made again."""

_DAY = 86_400


@dataclass(frozen=True, slots=True)
class Mirror:
    """One repository's mirror."""

    git: Git
    folder: Path
    url: str
    max_bytes: int

    async def run(
        self, *args: str, ask_host: bool = False, stdin: str = "", index: Path | None = None
    ) -> str:
        """Run git in the mirror; with `ask_host`, missing files may be fetched."""
        return await self.git.run(
            f"--git-dir={self.folder}",
            *args,
            cwd=self.folder,
            url=self.url if ask_host else "",
            timeout_seconds=_DAY,  # whoever uses a mirror has a shorter limit
            max_file_bytes=self.max_bytes,
            env={"GIT_INDEX_FILE": str(index)} if index else None,
            stdin=stdin,
        )

    async def has(self, sha: str) -> bool:
        """Say whether the commit is here."""
        try:
            await self.run("cat-file", "-e", f"{sha}^{{commit}}")
        except ProcessFailed:
            return False
        return True

    async def ensure_commits(self, *shas: str) -> None:
        """Have commits with their folders and some history. Asks the host in any case."""
        missing = [sha for sha in shas if not await self.has(sha)]
        if not missing:
            await self.git.ls_remote(self.url, pattern="HEAD")
            return
        await self.run(
            *("fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head"),
            *(f"--depth={MAX_COMMITS + 1}", "--filter=blob:none", "--", "origin"),
            *(f"+{sha}:refs/keep/{sha}" for sha in missing),
            ask_host=True,
        )

    async def ensure_files(self, sha: str) -> None:
        """Have all files of a commit that is here."""
        listed = await self.run("rev-list", "--objects", "--missing=print", f"{sha}^{{tree}}")
        missing = [line[1:] for line in listed.splitlines() if line.startswith("?")]
        if not missing:
            return
        await self.run(
            *("-c", "fetch.negotiationAlgorithm=noop", "fetch", "--quiet", "--no-tags"),
            *("--no-recurse-submodules", "--no-write-fetch-head", "--filter=blob:none", "--stdin"),
            "origin",
            ask_host=True,
            stdin="".join(f"{name}\n" for name in missing),
        )


class Mirrors(LoggingConfigurable):
    """All mirrors, within a budget."""

    root = Unicode(
        help="Folder for the mirrors of repositories. Default: `mirrors` in the state folder."
    ).tag(config=True)

    budget_bytes = Int(
        5 * 2**30,
        min=0,
        help="""
        Disk budget for the mirrors of git repositories, in bytes. With a mirror, a new commit costs
        only the download of what changed, and the service can say what changed. The mirrors that
        were not used for the longest time are removed first. Default: 5 GiB. 0: no mirrors.
        """,
    ).tag(config=True)

    def __init__(self, *, git: Git, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.git = git
        self._locks: Locks[str] = Locks()
        self._flights: SingleFlight[tuple[str, ...], None] = SingleFlight()

    @property
    def enabled(self) -> bool:
        """Whether there are mirrors."""
        return bool(self.root and self.budget_bytes)

    def place(self, url: str) -> Path:
        """Return the folder of a repository's mirror. Nothing is shared between repositories."""
        return Path(self.root) / f"{hashlib.sha256(url.encode()).hexdigest()[:40]}.git"

    def find(self, url: str) -> Path | None:
        """Return the mirror's folder if there is one."""
        place = self.place(url)
        return place if self.enabled and (place / "config").is_file() else None

    def is_busy(self, url: str) -> bool:
        """Say whether a caller of `hold` would wait."""
        return self._locks[url].locked()

    async def once(self, url: str, *what: str, do: Callable[[], Awaitable[None]]) -> None:
        """Do something with a mirror once, however many ask at the same time."""
        await self._flights.do((url, *what), do)

    @asynccontextmanager
    async def hold(self, url: str, *, max_bytes: int) -> AsyncIterator[Mirror]:
        """Hold the mirror of a checked URL, made if needed. Nobody else uses it meanwhile."""
        async with self._locks[url]:
            place = self.place(url)
            await asyncio.to_thread(_ensure, place, url)
            yield Mirror(self.git, place, url, max_bytes)
            await asyncio.to_thread(self._settle, place)

    async def adopt(self, url: str, sha: str, checkout: Path) -> None:
        """Begin a mirror with what a fetch from the host brought, in place of a broken one.

        Never raises OSError.
        """
        if not self.enabled or self.is_busy(url):
            return
        async with self._locks[url]:
            try:
                await self.remove(url)
                await asyncio.to_thread(_adopt, self.place(url), url, sha, checkout / ".git")
            except OSError as error:
                self.log.warning("Can't begin the mirror of %s: %s", url, error)
                await self.remove(url)

    async def remove(self, url: str) -> None:
        """Remove a mirror. Idempotent; the next use makes it again."""
        await asyncio.to_thread(self._remove, self.place(url))

    def _remove(self, place: Path) -> None:
        trash = Trash(Path(self.root) / ".deleted")
        trash.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        trash.remove(place)

    async def start(self) -> None:
        """Remove what an earlier run left unfinished, and keep the budget."""
        if self.root:
            await asyncio.to_thread(self._sweep)

    async def stop(self) -> None:
        """Do nothing: a mirror may be left at any moment."""

    def _sweep(self) -> None:
        root = Path(self.root)
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        trash = Trash(root / ".deleted")
        trash.folder.mkdir(mode=0o700, exist_ok=True)
        for left in root.glob(".*.git.*"):
            trash.take(left)
        trash.empty_later()
        self.trim()

    def _settle(self, place: Path) -> None:
        """Note the use, and keep the budget."""
        if not place.is_dir():
            return
        os.utime(place)
        if sum(1 for _ in (place / "objects/pack").glob("*.pack")) > _MAX_PACKS:
            self._remove(place)
        self.trim()

    def trim(self) -> None:
        """Remove mirrors until they fit the budget. Blocks."""
        root = Path(self.root)
        sizes = {each: _size_of(each) for each in root.glob("*.git")}
        total = sum(sizes.values())
        # On a small disk, mirrors leave most of the room to others.
        fair = (shutil.disk_usage(root).free + total) // 4
        over = total - min(self.budget_bytes, fair)
        for place in sorted(sizes, key=_last_used):
            if over <= 0:
                return
            self._remove(place)
            over -= sizes[place]


def _last_used(place: Path) -> float:
    try:
        return place.stat().st_mtime
    except OSError:
        return 0.0


def _size_of(folder: Path) -> int:
    try:
        return sum(entry.status.st_size for entry in walk(folder) if not entry.is_folder)
    except OSError:  # being removed
        return 0


def _ensure(place: Path, url: str) -> None:
    if not (place / "config").is_file():
        _begin(place, url)


def _begin(place: Path, url: str, fill: Callable[[Path], None] = lambda _: None) -> None:
    """Make a bare repository by hand, which takes no process. It gets its name last."""
    made = place.with_name(f".{place.name}.{os.getpid()}")
    try_to_remove(made)
    made.mkdir(mode=0o700, parents=True)
    fill(made)
    for name in ("objects/pack", "objects/info", "refs/keep", "info"):
        (made / name).mkdir(parents=True, exist_ok=True)
    (made / "HEAD").write_text("ref: refs/heads/main\n")
    (made / "config").write_text(_CONFIG.format(url=_quoted(url)))
    try_to_remove(place)
    made.rename(place)


_CONFIG = """\
[core]
\trepositoryformatversion = 1
\tbare = true
[extensions]
\tpartialClone = origin
[remote "origin"]
\turl = {url}
\tpromisor = true
\tpartialCloneFilter = blob:none
[uploadpack]
\tallowAnySHA1InWant = true
"""


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _adopt(place: Path, url: str, sha: str, git_dir: Path) -> None:
    if _size_of(git_dir / "objects") > _MAX_ADOPTED_BYTES:
        return

    def fill(made: Path) -> None:
        copy_tree(git_dir / "objects", made / "objects")
        if (git_dir / "shallow").is_file():
            (made / "shallow").write_bytes((git_dir / "shallow").read_bytes())
        (made / "packed-refs").write_text(f"{sha} refs/keep/{sha}\n")

    _begin(place, url, fill)


def literal(paths: Sequence[str]) -> list[str]:
    """Return pathspecs without patterns."""
    return [f":(literal,top){path}" for path in paths]
