"""Mirrors: what they save, what they say, and that nothing depends on them."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from jupyterhub_binder.errors import FetchFailed, RepositoryNotFound
from jupyterhub_binder.model import Resolved, Spec
from jupyterhub_binder.repositories.fetcher import Fetcher
from jupyterhub_binder.repositories.git import Git
from jupyterhub_binder.repositories.mirror import MAX_COMMITS, Mirrors
from jupyterhub_binder.repositories.providers.registry import Providers
from jupyterhub_binder.repositories.recipe import read_recipe
from tests.kit.git_server import GitRepo, GitServer

FILES = {"requirements.txt": "numpy==2.0.0\n", "a.txt": "1\n", "data/b.txt": "2\n"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitServer]:
    with GitServer.running(tmp_path_factory.mktemp("git")) as server:
        yield server


@pytest.fixture
def mirrors(tmp_path: Path) -> Mirrors:
    git = Git(protocols=["https", "http"], private_hosts=["127.0.0.1"])
    (tmp_path / "mirrors").mkdir()
    return Mirrors(git=git, root=str(tmp_path / "mirrors"))


@pytest.fixture
def fetcher(mirrors: Mirrors) -> Fetcher:
    return Fetcher(git=mirrors.git, mirrors=mirrors, watch_seconds=0.02, free_bytes=0)


@pytest.fixture
def repo(server: GitServer, request: pytest.FixtureRequest) -> GitRepo:
    return server.make_repo(f"org/{abs(hash(request.node.name))}", FILES)


async def resolve(fetcher: Fetcher, repo: GitRepo, ref: str = "main") -> Resolved:
    return await Providers(git=fetcher.git).resolve(Spec("git", repo.url, ref), fresh=True)


async def checkout(fetcher: Fetcher, repo: GitRepo, into: Path, ref: str = "main") -> Path:
    await fetcher.checkout(await resolve(fetcher, repo, ref), into)
    return into


def asked(server: GitServer, repo: GitRepo, what: str = "upload-pack") -> int:
    path = f"/{repo.name}.git/"
    return sum(path in line and line.startswith("POST") for line in server.requests)


async def test_a_second_commit_is_fetched_through_the_mirror(fetcher, repo, tmp_path, mirrors):
    await checkout(fetcher, repo, tmp_path / "one")
    assert mirrors.find(repo.url)
    repo.commit({"a.txt": "changed\n", "new.txt": "new\n"}, "Second")
    made = await checkout(fetcher, repo, tmp_path / "two")
    assert (made / "a.txt").read_text() == "changed\n"
    assert (made / "data/b.txt").read_text() == "2\n"
    assert (made / "new.txt").read_text() == "new\n"
    git = ("-C", str(made), "-c", "safe.directory=*")
    assert repo.git(*git, "status", "--porcelain", "--branch") == "## main...origin/main"
    assert repo.git(*git, "rev-list", "--count", "HEAD") == "1"
    assert repo.git(*git, "remote", "get-url", "origin") == repo.url
    repo.git(*git, "fsck", "--strict")


async def test_a_commit_that_is_here_is_only_asked_for(fetcher, repo, server, tmp_path):
    await checkout(fetcher, repo, tmp_path / "one")
    resolved = await resolve(fetcher, repo)
    before = asked(server, repo)
    await fetcher.checkout(resolved, tmp_path / "two")
    assert asked(server, repo) == before + 1  # the list of refs
    assert (tmp_path / "two/a.txt").read_text() == "1\n"


async def test_a_repository_that_is_gone_is_not_served_by_its_mirror(
    fetcher, repo, tmp_path, mirrors
):
    await checkout(fetcher, repo, tmp_path / "one")
    resolved = await resolve(fetcher, repo)
    repo.git_dir.rename(repo.git_dir.with_suffix(".private"))
    with pytest.raises(RepositoryNotFound):
        await fetcher.checkout(resolved, tmp_path / "two")
    with pytest.raises(RepositoryNotFound):
        async with fetcher.peek(resolved):
            pass
    assert mirrors.find(repo.url) is None


async def test_a_mirror_has_nothing_of_another_repository(fetcher, repo, server, tmp_path, mirrors):
    other = server.make_repo(f"{repo.name}-other", {"secret.txt": "s"})
    await checkout(fetcher, repo, tmp_path / "one")
    await checkout(fetcher, other, tmp_path / "two")
    stolen = Resolved(**{**vars_of(await resolve(fetcher, repo)), "resolved_ref": other.head})
    with pytest.raises(FetchFailed):
        await fetcher.checkout(stolen, tmp_path / "three")


def vars_of(resolved: Resolved) -> dict[str, object]:
    return {name: getattr(resolved, name) for name in Resolved.__dataclass_fields__}


@pytest.mark.parametrize("damage", ["gone", "no objects", "no config", "rubbish"])
async def test_a_broken_mirror_is_made_again(fetcher, repo, tmp_path, mirrors, damage):
    await checkout(fetcher, repo, tmp_path / "one")
    place = mirrors.find(repo.url)
    if damage == "gone":
        shutil.rmtree(place)
    elif damage == "no objects":
        shutil.rmtree(place / "objects")
    elif damage == "no config":
        (place / "config").unlink()
    else:
        for file in (place / "objects").rglob("*"):
            if file.is_file():
                file.chmod(0o600)
                file.write_bytes(b"rubbish")
    repo.commit({"a.txt": "again\n"})
    made = await checkout(fetcher, repo, tmp_path / "two")
    assert (made / "a.txt").read_text() == "again\n"
    third = await checkout(fetcher, repo, tmp_path / "three")
    assert (third / "a.txt").read_text() == "again\n"


async def test_many_fetches_of_one_commit_ask_the_host_once(fetcher, repo, server, tmp_path):
    await checkout(fetcher, repo, tmp_path / "first")
    repo.commit({"a.txt": "2\n"})
    resolved = await resolve(fetcher, repo)
    before = asked(server, repo)
    await asyncio.gather(*(fetcher.checkout(resolved, tmp_path / f"{n}") for n in range(8)))
    assert asked(server, repo) - before <= 4  # refs and commits, then refs and files
    assert {(tmp_path / f"{n}/a.txt").read_text() for n in range(8)} == {"2\n"}


async def test_the_recipe_of_a_commit_comes_through_the_mirror(fetcher, repo, tmp_path):
    await checkout(fetcher, repo, tmp_path / "one")
    repo.commit({"requirements.txt": "-r more/extra.txt\n", "more/extra.txt": "pandas\n"})
    async with fetcher.peek(await resolve(fetcher, repo)) as peek:
        recipe = await asyncio.to_thread(read_recipe, peek.path)
        assert peek.commit.sha == repo.head
        assert not (peek.path / "a.txt").exists()
    assert recipe.packages == ("pandas",)
    async with fetcher.peek(await resolve(fetcher, repo, repo.commits[0])) as peek:
        assert (await asyncio.to_thread(read_recipe, peek.path)).packages == ("numpy==2.0.0",)


async def test_a_comparison_counts_commits_and_lines(fetcher, repo, tmp_path):
    await checkout(fetcher, repo, tmp_path / "one")
    old = repo.head
    repo.commit({"a.txt": "2\n"}, "Text <b>only</b>")
    repo.commit({"requirements.txt": "numpy==2.1.0\npandas==2.2.3\n"}, "Newer packages")
    repo.commit({"data/b.txt": None}, "Remove data")
    found = await fetcher.compare(await resolve(fetcher, repo), old, ["requirements.txt"])
    assert (found.count, found.more, found.rewritten) == (3, False, False)
    assert [commit.subject for commit in found.commits] == [
        "Remove data",
        "Newer packages",
        "Text <b>only</b>",
    ]
    assert (found.commits[0].author, found.commits[0].sha) == ("Ada", repo.head)
    assert found.files == ("a.txt", "data/b.txt", "requirements.txt")
    (changed,) = found.recipe
    assert (changed.path, changed.added, changed.removed) == ("requirements.txt", 2, 1)
    assert "+pandas==2.2.3" in found.diff


async def test_a_rewritten_history_is_said(fetcher, repo, tmp_path):
    await checkout(fetcher, repo, tmp_path / "one")
    old = repo.head
    repo.git("commit", "--quiet", "--amend", "--message", "Another first commit")
    found = await fetcher.compare(await resolve(fetcher, repo), old, [])
    assert (found.count, found.more, found.rewritten) == (1, False, True)


async def test_a_long_history_is_cut(fetcher, repo, tmp_path):
    old = repo.head
    for number in range(MAX_COMMITS + 5):
        repo.git("commit", "--quiet", "--allow-empty", "--message", f"{number}")
    found = await fetcher.compare(await resolve(fetcher, repo), old, [])
    assert (found.count, found.more, found.rewritten) == (MAX_COMMITS, True, False)


async def test_mirrors_keep_their_budget(fetcher, server, repo, tmp_path, mirrors):
    noise = random.Random(1).randbytes(60_000)
    other = server.make_repo(f"{repo.name}-large", {"large.txt": noise})
    await checkout(fetcher, repo, tmp_path / "one")
    await checkout(fetcher, other, tmp_path / "two")
    mirrors.budget_bytes = 20_000
    await checkout(fetcher, repo, tmp_path / "three")
    assert mirrors.find(other.url) is None


async def test_without_a_budget_there_is_no_mirror(fetcher, repo, tmp_path, mirrors):
    mirrors.budget_bytes = 0
    await checkout(fetcher, repo, tmp_path / "one")
    await checkout(fetcher, repo, tmp_path / "two")
    assert list(Path(mirrors.root).glob("*.git")) == []


@pytest.mark.parametrize("filters", [True, False])
async def test_a_host_that_serves_no_commits_by_sha_is_fetched_as_before(
    fetcher, server, tmp_path, filters
):
    repo = server.make_repo(f"old/{filters}", FILES, any_sha=False, filters=filters)
    first = repo.head
    repo.commit({"a.txt": "2\n"})
    repo.commit({"a.txt": "3\n"})
    await checkout(fetcher, repo, tmp_path / "one", repo.commits[1])
    made = await checkout(fetcher, repo, tmp_path / "two", first)
    assert (made / "a.txt").read_text() == "1\n"


async def test_a_commits_notebooks_are_listed_without_asking_the_host(
    fetcher, repo, server, tmp_path, mirrors
):
    repo.commit({"README.md": "x", "week 1/intro.ipynb": "{}"})
    resolved = await resolve(fetcher, repo)
    assert await fetcher.list_files(resolved) is None
    await fetcher.checkout(resolved, tmp_path / "one")
    repo.git_dir.rename(repo.git_dir.with_suffix(".away"))
    before = len(server.requests)
    found = await fetcher.list_files(resolved)
    assert found.find() == ("README.md", "week 1/intro.ipynb")
    unknown = Resolved(**{**vars_of(resolved), "resolved_ref": "1" * 40})
    assert await fetcher.list_files(unknown) is None
    shutil.rmtree(mirrors.find(repo.url) / "objects")
    assert await fetcher.list_files(resolved) is None
    assert len(server.requests) == before
