"""Checkouts and peeks of real repositories, and attacks that must come to nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from jupyterhub_binder.errors import FetchFailed, NotAllowed, RepositoryNotFound
from jupyterhub_binder.model import Resolved, Spec
from jupyterhub_binder.repositories.fetcher import Fetcher
from jupyterhub_binder.repositories.git import Git
from jupyterhub_binder.repositories.providers.registry import Providers
from jupyterhub_binder.utils.subprocess import ProcessFailed
from tests.kit.git_server import GitRepo, GitServer, Symlink


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitServer]:
    with GitServer.running(tmp_path_factory.mktemp("git")) as server:
        yield server


@pytest.fixture
def git() -> Git:
    return Git(protocols=["https", "http"], private_hosts=["127.0.0.1"])


@pytest.fixture
def fetcher(git: Git, tmp_path: Path) -> Fetcher:
    (tmp_path / "peeks").mkdir()
    return Fetcher(
        git=git, watch_seconds=0.02, free_bytes=0, temporary_root=str(tmp_path / "peeks")
    )


@pytest.fixture
def into(tmp_path: Path) -> Path:
    return tmp_path / "checkouts" / "one"


async def resolve(fetcher: Fetcher, repo: GitRepo, ref: str = "HEAD") -> Resolved:
    return await Providers(git=fetcher.git).resolve(Spec("git", repo.url, ref))


async def fetch(fetcher: Fetcher, repo: GitRepo, into: Path, ref: str = "HEAD") -> list[str]:
    lines: list[str] = []
    await fetcher.checkout(await resolve(fetcher, repo, ref), into, on_line=lines.append)
    return lines


def git_in(repo: GitRepo, folder: Path, *args: str) -> str:
    return repo.git("-C", str(folder), "-c", "safe.directory=*", *args)


# --- What is brought ------------------------------------------------------------------------------


async def test_checkout_brings_the_tree_its_commit_and_a_shallow_git(
    fetcher: Fetcher, server: GitServer, into: Path
):
    repo = server.make_repo("ok/plain", {"README.md": "hi", "src/a.py": "1", "run.sh": "#!/bin/sh"})
    repo.commit({"src/a.py": "2"}, "Größe ändern\n\nbody")
    resolved = await resolve(fetcher, repo, "main")
    lines: list[str] = []
    commit = await fetcher.checkout(resolved, into, on_line=lines.append)
    assert (commit.sha, commit.subject) == (repo.head, "Größe ändern")
    assert commit.time == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert (into / "src/a.py").read_text() == "2"
    assert os.access(into / "run.sh", os.X_OK)
    assert lines  # what git says; that a fetch begins is said by who asks for it
    assert not [line for line in lines if line.startswith("Fetching")]
    assert git_in(repo, into, "status", "--porcelain", "--branch") == "## main...origin/main"
    assert git_in(repo, into, "rev-list", "--count", "HEAD") == "1"
    assert git_in(repo, into, "remote", "get-url", "origin") == repo.url
    repo.commit({"src/a.py": "3"})
    git_in(repo, into, "pull", "--quiet")  # the person can go on from here
    assert (into / "src/a.py").read_text() == "3"


@pytest.mark.parametrize("ref", ["HEAD", "v1", "feature/a", "sha", "refs/pull/1/head"])
async def test_checkout_brings_every_kind_of_ref(
    fetcher: Fetcher, server: GitServer, into: Path, ref: str
):
    repo = server.make_repo(f"refs/{ref.replace('/', '-')}", {"a": "1"})
    repo.tag("v1", annotated=True)
    repo.branch("feature/a")
    repo.git("update-ref", "refs/pull/1/head", "HEAD")
    first = repo.head
    if ref == "sha":
        repo.commit({"a": "2"})
    wanted = first if ref == "sha" else ref
    await fetch(fetcher, repo, into, wanted)
    assert git_in(repo, into, "rev-parse", "HEAD") == first


async def test_a_server_that_gives_no_sha_is_fetched_whole(
    fetcher: Fetcher, server: GitServer, into: Path
):
    repo = server.make_repo("old/server", {"a": "1"}, any_sha=False, filters=False)
    repo.commit({"a": "2"})
    repo.commit({"a": "3"})
    lines = await fetch(fetcher, repo, into, repo.commits[1])
    assert (into / "a").read_text() == "2"
    assert any("all branches" in line for line in lines)
    async with fetcher.peek(await resolve(fetcher, repo, repo.commits[0])) as peek:
        assert peek.commit.sha == repo.commits[0]


@pytest.mark.parametrize("any_sha", [True, False])
async def test_a_sha_that_does_not_exist_is_said_to_be_missing(
    fetcher: Fetcher, server: GitServer, into: Path, any_sha: bool
):
    repo = server.make_repo(f"missing/{any_sha}", {"a": "1"}, any_sha=any_sha)
    with pytest.raises(FetchFailed, match="has no commit") as caught:
        await fetch(fetcher, repo, into, "d" * 40)
    assert caught.value.error_code == "ref_not_found"
    assert not into.exists()


async def test_a_repository_that_vanished_leaves_nothing(
    fetcher: Fetcher, server: GitServer, into: Path
):
    repo = server.make_repo("gone/soon", {"a": "1"})
    resolved = await resolve(fetcher, repo)
    repo.git_dir.rename(repo.git_dir.with_name("elsewhere"))
    with pytest.raises(RepositoryNotFound):
        await fetcher.checkout(resolved, into)
    assert not into.exists()


async def test_a_folder_that_is_there_already_is_left_alone(
    fetcher: Fetcher, server: GitServer, into: Path
):
    repo = server.make_repo("ok/there", {"a": "1"})
    into.mkdir(parents=True)
    (into / "precious").touch()
    with pytest.raises(FileExistsError):
        await fetch(fetcher, repo, into)
    assert (into / "precious").exists()


async def test_peek_brings_configuration_files_alone(fetcher: Fetcher, server: GitServer):
    big = os.urandom(300_000)
    repo = server.make_repo(
        "ok/peek",
        {
            "environment.yml": "a",
            "requirements.txt": "b",
            "binder/postBuild": "#!/bin/sh",
            "binder/data/big.bin": big,
            "data/big.bin": big,
            "data/requirements.txt": "no",
            "notes.ipynb": "{}",
            "apt.txt": Symlink("/etc/shadow"),
        },
    )
    async with fetcher.peek(await resolve(fetcher, repo)) as peek:
        found = {
            path.relative_to(peek.path).as_posix()
            for path in peek.path.rglob("*")
            if ".git" not in path.parts and not path.is_dir()
        }
        size = sum(p.lstat().st_size for p in (peek.path / ".git").rglob("*"))
        assert peek.commit.sha == repo.head
    assert found == {"environment.yml", "requirements.txt", "binder/postBuild", "apt.txt"}
    assert size < len(big)
    assert not peek.path.exists()
    assert not any(Path(fetcher.temporary_root).iterdir())


@pytest.mark.parametrize(
    "files", [{"a.md": "limit for configuration files"}, {"requirements.txt": "x"}]
)
async def test_peek_works_where_there_is_nothing_and_without_filters(
    fetcher: Fetcher, server: GitServer, files: dict[str, str]
):
    repo = server.make_repo(f"peek/{len(files.get('a.md', 'x'))}", files, filters=False)
    async with fetcher.peek(await resolve(fetcher, repo)) as peek:
        assert (peek.path / "requirements.txt").exists() == ("requirements.txt" in files)


async def test_a_big_repository_costs_a_peek_little(fetcher: Fetcher, server: GitServer):
    files = {f"data/{n % 20}/{n}.txt": f"{n}" * 50 for n in range(600)}
    repo = server.make_repo("big/many", {**files, "requirements.txt": "numpy"})
    resolved = await resolve(fetcher, repo)
    server.requests.clear()
    async with fetcher.peek(resolved) as peek:
        assert (peek.path / "requirements.txt").read_text() == "numpy"
    assert sum("POST" in line for line in server.requests) <= 4


# --- Attacks: code ----------------------------------------------------------------------------------


async def test_attributes_of_a_repository_run_no_filter(
    fetcher: Fetcher, server: GitServer, into: Path, tmp_path: Path, monkeypatch
):
    """Not even one that the machine's own configuration defines."""
    marker = tmp_path / "marker"
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(
        f'[filter "evil"]\n\tsmudge = touch {marker}\n'
        f"[core]\n\tfsmonitor = touch {marker}\n[post]\n[alias]\n\tcheckout = !touch {marker}\n"
    )
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(home / ".gitconfig"))
    repo = server.make_repo(
        "attack/filter", {".gitattributes": "* filter=evil\n", "a": "1", ".gitconfig": "[x]"}
    )
    await fetch(fetcher, repo, into)
    assert (into / "a").read_text() == "1"
    assert not marker.exists()


async def test_hooks_never_run(
    fetcher: Fetcher, server: GitServer, into: Path, tmp_path: Path, monkeypatch
):
    marker = tmp_path / "marker"
    hooks = tmp_path / "template/hooks"
    hooks.mkdir(parents=True)
    for name in ("post-checkout", "reference-transaction", "post-index-change"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {marker}\n")
        (hooks / name).chmod(0o755)
    monkeypatch.setenv("GIT_TEMPLATE_DIR", str(tmp_path / "template"))
    repo = server.make_repo("attack/hooks", {"hooks/post-checkout": f"#!/bin/sh\ntouch {marker}\n"})
    await fetch(fetcher, repo, into)
    assert not marker.exists()
    assert not (into / ".git/hooks").exists()


async def test_lfs_files_stay_pointers(
    fetcher: Fetcher, server: GitServer, into: Path, tmp_path: Path, monkeypatch
):
    """A git-lfs on the machine is not asked, so it asks no other host."""
    marker = tmp_path / "marker"
    (tmp_path / "bin").mkdir()
    lfs = tmp_path / "bin/git-lfs"
    lfs.write_text(f"#!/bin/sh\ntouch {marker}\ncat\n")
    lfs.chmod(0o755)
    installed = tmp_path / "gitconfig"
    installed.write_text('[filter "lfs"]\n\tsmudge = git-lfs smudge -- %f\n\trequired = true\n')
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(installed))
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"
    repo = server.make_repo(
        "attack/lfs",
        {
            ".gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n",
            ".lfsconfig": "[lfs]\n\turl = http://127.0.0.1:9/\n",
        },
    )
    repo.commit({"big.bin": pointer})
    await fetch(fetcher, repo, into)
    assert (into / "big.bin").read_text() == pointer
    assert not marker.exists()


async def test_submodules_are_not_fetched(
    fetcher: Fetcher, server: GitServer, into: Path, tmp_path: Path
):
    secret = server.make_repo("attack/secret", {"secret": "x"})
    modules = f'[submodule "s"]\n\tpath = s\n\turl = file://{secret.git_dir}\n\tupdate = !touch {tmp_path}/marker\n'
    repo = server.make_repo("attack/submodule", {".gitmodules": modules})
    repo.git("update-index", "--add", "--cacheinfo", f"160000,{secret.head},s")
    repo.git("commit", "--quiet", "--message", "submodule")
    await fetch(fetcher, repo, into)
    assert not list((into / "s").iterdir())
    assert not (into / ".git/modules").exists()
    assert not (tmp_path / "marker").exists()


@pytest.fixture
def whole(fetcher: Fetcher) -> Fetcher:
    """A fetcher whose admin allows submodules."""
    fetcher.submodules = True
    return fetcher


async def test_submodules_are_fetched_at_their_commits_if_the_admin_allows(
    whole: Fetcher, server: GitServer, into: Path
):
    inner = server.make_repo("sub/inner", {"inner.txt": "1"})
    middle = server.make_repo(
        "sub/middle", {"requirements.txt": "cowsay\n", "out": Symlink("../x")}
    )
    middle.add_submodule("deep/inner", "../inner", inner.head)
    repo = server.make_repo(
        "sub/outer", {"requirements.txt": "-r lib/requirements.txt\n-e ./lib\n"}
    )
    repo.add_submodule("lib", middle.url, middle.head)
    middle.commit({"requirements.txt": "newer\n"})
    said = await fetch(whole, repo, into)
    assert (into / "lib/requirements.txt").read_text() == "cowsay\n"
    assert (into / "lib/deep/inner/inner.txt").read_text() == "1"
    assert not (into / "lib/out").is_symlink()
    assert [line for line in said if line.startswith("Fetching the submodule 'lib' from http")]
    resolved = await resolve(whole, repo)
    async with whole.peek(resolved) as peek:
        seen = whole.read_recipe(peek.path, resolved)
    assert seen == whole.read_recipe(into, resolved)
    assert (seen.packages, seen.submodules, seen.problems) == (("cowsay",), (), ())


@pytest.mark.parametrize(
    "url",
    ["file:///etc", "ssh://git@-oProxyCommand=x/y", "--upload-pack=touch x",
     "ext::sh -c touch", "http://127.0.0.1:9/banned", "https://[x/y", ""],
)  # fmt: skip
async def test_a_submodule_from_elsewhere_is_left_out_and_said(
    whole: Fetcher, server: GitServer, into: Path, url: str
):
    whole.may_fetch = lambda remote: not remote.endswith("banned")
    name = f"sub/refused{abs(hash(url))}"
    repo = server.make_repo(name, {"requirements.txt": "cowsay\n"})
    repo.add_submodule("lib", url, repo.head)
    said = await fetch(whole, repo, into)
    assert not list((into / "lib").iterdir())
    assert [line for line in said if line.startswith("Skipped the submodule 'lib':")]
    assert whole.read_recipe(into, await resolve(whole, repo)).submodules == ("lib",)


async def test_submodules_that_contain_each_other_come_to_an_end(
    whole: Fetcher, server: GitServer, into: Path
):
    repo = server.make_repo("sub/self", {"a": "1"})
    for _ in range(8):
        repo.add_submodule("again", "./../self", repo.head)
    said = await fetch(whole, repo, into)
    assert [line for line in said if "contain each other" in line]
    assert (into / "again/again/again/again/a").exists()
    assert not list((into / "again/again/again/again/again").iterdir())


@pytest.mark.parametrize(
    ("url", "why"),
    [("../nosuch", "There is no"), ("http://10.0.0.1/x", "10.0.0.1 is not on the public internet")],
)
async def test_a_submodule_that_can_not_be_fetched_ends_the_fetch_with_its_name(
    whole: Fetcher, server: GitServer, into: Path, url: str, why: str
):
    repo = server.make_repo(f"sub/gone{len(url)}", {"a": "1"})
    repo.add_submodule("lib", url, repo.head)
    with pytest.raises(FetchFailed, match=f"The submodule lib can't be fetched: {why}"):
        await fetch(whole, repo, into)
    assert not into.exists()


async def test_a_host_that_limits_requests_for_a_submodule_is_known_as_such(
    whole: Fetcher, server: GitServer, into: Path
):
    """Those who see it do not ask again at once."""
    repo = server.make_repo("sub/limited", {"a": "1"})
    repo.add_submodule("lib", "../busy", repo.head)

    def refuse(request: BaseHTTPRequestHandler) -> bool:
        busy = request.path.startswith("/sub/busy")
        if busy:
            request.send_error(429)
        return busy

    server.hook = refuse
    with pytest.raises(FetchFailed, match="The submodule lib can't be fetched") as failed:
        await fetch(whole, repo, into)
    assert failed.value.detail["rate_limited"]


async def test_submodules_count_against_the_size_of_the_repository(
    whole: Fetcher, server: GitServer, into: Path
):
    big = server.make_repo("sub/big", {"big": os.urandom(2**17)})
    repo = server.make_repo("sub/small", {"a": "1"})
    repo.add_submodule("lib", "../big", big.head)
    whole.max_bytes = 2**17
    with pytest.raises(FetchFailed, match="is larger than"):
        await fetch(whole, repo, into)
    assert not into.exists()


async def test_a_tree_cannot_write_into_git_or_above(
    fetcher: Fetcher, server: GitServer, into: Path
):
    repo = server.make_repo("attack/tree", {"a": "1"})
    blob = repo.git("hash-object", "-w", "--stdin", stdin="evil")
    hooks = repo.git("mktree", stdin=f"100755 blob {blob}\tpost-checkout\n")
    inner = repo.git("mktree", stdin=f"040000 tree {hooks}\thooks\n")
    for name in (".git", ".GIT", "git~1", "..", ".gi\u200ct"):
        line = f"40000 {name}\0".encode() + bytes.fromhex(inner)
        path = repo.work / "tree.bin"
        path.write_bytes(line)
        tree = repo.git("hash-object", "-t", "tree", "-w", "--literally", str(path))
        path.unlink()
        evil = repo.git("commit-tree", tree, "-m", "evil")
        repo.git("update-ref", "refs/heads/evil", evil)
        with pytest.raises(FetchFailed):
            await fetch(fetcher, repo, into, "evil")
        assert not into.exists()


# --- Attacks: links out of the checkout ---------------------------------------------------------------


async def test_links_that_lead_out_are_left_out(fetcher: Fetcher, server: GitServer, into: Path):
    repo = server.make_repo(
        "attack/links",
        {
            "ok.txt": "fine",
            "inside": Symlink("ok.txt"),
            "sub/up": Symlink("../ok.txt"),
            "folder": Symlink("sub"),
            "dangling": Symlink("nowhere"),
            "apt.txt": Symlink("/etc/shadow"),
            "binder/requirements.txt": Symlink("../../../../../../../../etc/passwd"),
            "etc": Symlink("/etc"),
            "chain": Symlink("etc/passwd"),
            "loop": Symlink("loop"),
            "config": Symlink(".git/config"),
            "back": Symlink(f"../{into.name}/ok.txt"),
            "absolute": Symlink(f"{into}/ok.txt"),
        },
    )
    lines = await fetch(fetcher, repo, into)
    links = {p.relative_to(into).as_posix() for p in into.rglob("*") if p.is_symlink()}
    assert links == {"inside", "sub/up", "folder", "dangling"}
    assert sum("Skipped" in line for line in lines) == 8
    assert not list((into / "binder").glob("*"))


# --- Attacks: time, size and disk ----------------------------------------------------------------------


@pytest.mark.parametrize("path", ["d/" * 1100 + "f", ("n" * 200 + "/") * 8 + "f", "d/" * 101 + "f"])
async def test_a_repository_of_too_many_folders_inside_each_other_is_refused(
    fetcher: Fetcher, server: GitServer, into: Path, path: str
):
    repo = server.make_repo(f"attack/deep{len(path)}", {"README.md": "x"})
    blob = repo.git("rev-parse", "HEAD:README.md")
    repo.git("update-index", "--add", "--cacheinfo", f"100644,{blob},{path}")
    repo.git("commit", "--quiet", "--message", "Deep")
    with pytest.raises(FetchFailed, match="nested folders") as caught:
        await fetch(fetcher, repo, into)
    assert caught.value.error_code == "repository_too_large"
    assert not into.exists()


@pytest.mark.parametrize("count", [1, 30])
async def test_a_repository_that_is_too_large_is_refused_and_removed(
    fetcher: Fetcher, server: GitServer, into: Path, count: int
):
    """One file that is too large, or many that are together."""
    files = {f"{n}.bin": os.urandom(3_000_000 // count) for n in range(count)}
    repo = server.make_repo(f"attack/large{count}", files)
    fetcher.max_bytes = 1_000_000
    with pytest.raises(FetchFailed, match="larger than") as caught:
        await fetch(fetcher, repo, into)
    assert caught.value.error_code == "repository_too_large"
    assert not into.exists()


async def test_a_small_pack_that_unfolds_into_a_huge_file_is_refused(
    fetcher: Fetcher, server: GitServer, into: Path
):
    repo = server.make_repo("attack/bomb", {"zeros.bin": bytes(20_000_000)})
    fetcher.max_bytes = 5_000_000
    with pytest.raises(FetchFailed):
        await fetch(fetcher, repo, into)
    assert not into.exists()


async def test_a_tree_of_very_many_files_is_refused(
    fetcher: Fetcher, server: GitServer, into: Path
):
    repo = server.make_repo("attack/many", {"a": "1"})
    tree = repo.git("rev-parse", "HEAD^{tree}")
    for _ in range(6):  # ten to the power of six files out of seven objects
        tree = repo.git("mktree", stdin="".join(f"040000 tree {tree}\td{n}\n" for n in range(10)))
    repo.git("update-ref", "refs/heads/many", repo.git("commit-tree", tree, "-m", "many"))
    fetcher.max_files = 1000
    started = time.monotonic()
    with pytest.raises(FetchFailed, match="more than 1000 files"):
        await fetch(fetcher, repo, into, "many")
    assert time.monotonic() - started < 10
    assert not into.exists()


@pytest.mark.parametrize("endless", [b"", b"x" * 4096])
async def test_a_server_that_never_ends_is_given_up(
    fetcher: Fetcher, server: GitServer, into: Path, endless: bytes
):
    """Silent, or sending for ever: either way there is an end, and nothing is left."""
    repo = server.make_repo(f"attack/endless{len(endless)}", {"a": "1"})
    resolved = await resolve(fetcher, repo)
    gone = asyncio.Event()
    loop = asyncio.get_running_loop()

    def drip(handler):
        handler.send_response(200)
        handler.send_header("Content-Type", "application/x-git-upload-pack-advertisement")
        handler.end_headers()
        try:
            while True:
                handler.wfile.write(b"0010" + endless[:12] if endless else b"")
                handler.wfile.flush()
                if not endless:
                    handler.connection.settimeout(10)
                    if not handler.rfile.read(1):
                        break
        except OSError:
            pass
        loop.call_soon_threadsafe(gone.set)
        return True

    server.hook = drip
    fetcher.fetch_seconds = 3  # enough for git to connect on a busy machine
    try:
        with pytest.raises(Exception) as caught:
            await fetcher.checkout(resolved, into)
    finally:
        server.hook = None
    assert not into.exists()
    if not endless:
        assert isinstance(caught.value, FetchFailed)
        assert caught.value.error_code == "fetch_too_slow"
    await asyncio.wait_for(gone.wait(), 10)  # git is gone, and its connection with it


async def test_a_full_disk_is_told_before_it_is_full(
    fetcher: Fetcher, server: GitServer, into: Path
):
    repo = server.make_repo("attack/disk", {"a": "1"})
    fetcher.free_bytes = 2**60
    with pytest.raises(FetchFailed, match="disk") as caught:
        await fetch(fetcher, repo, into)
    assert caught.value.error_code == "disk_full"
    with pytest.raises(FetchFailed):
        async with fetcher.peek(await resolve(fetcher, repo)):
            pass
    assert not any(Path(fetcher.temporary_root).iterdir())


async def test_a_cancelled_fetch_leaves_nothing(fetcher: Fetcher, server: GitServer, into: Path):
    repo = server.make_repo("attack/cancel", {"a": "1"})
    resolved = await resolve(fetcher, repo)
    asked, go_on = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def hold(handler):
        loop.call_soon_threadsafe(asked.set)
        handler.connection.settimeout(10)
        with contextlib.suppress(OSError):
            handler.rfile.read(1)
        loop.call_soon_threadsafe(go_on.set)
        return True

    server.hook = hold
    try:
        task = asyncio.create_task(fetcher.checkout(resolved, into))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    finally:
        server.hook = None
    assert not into.exists()
    await asyncio.wait_for(go_on.wait(), 10)


# --- Attacks: other hosts -------------------------------------------------------------------------------


async def test_a_resolved_address_is_checked_again_at_the_fetch(
    server: GitServer, fetcher: Fetcher, into: Path
):
    repo = server.make_repo("attack/address", {"a": "1"})
    resolved = await resolve(fetcher, repo)
    strict = Fetcher(git=Git(protocols=["https", "http"]), free_bytes=0)
    with pytest.raises(NotAllowed):
        await strict.checkout(resolved, into)
    with pytest.raises(NotAllowed):
        await strict.checkout(replace(resolved, clone_url=repo.file_url), into)
    assert not into.exists()


async def test_a_redirect_during_the_fetch_is_not_followed(
    fetcher: Fetcher, server: GitServer, into: Path
):
    repo = server.make_repo("attack/redirect", {"a": "1"})
    target = server.make_repo("attack/target", {"a": "1"})
    resolved = await resolve(fetcher, repo)

    def redirect(handler):
        if handler.path.startswith("/attack/target"):
            return False
        handler.send_response(302)
        handler.send_header("Location", target.url + handler.path.partition(".git")[2])
        handler.end_headers()
        return True

    server.hook = redirect
    server.requests.clear()
    try:
        with pytest.raises(RepositoryNotFound, match="moved"):
            await fetcher.checkout(resolved, into)
    finally:
        server.hook = None
    assert not any("target" in line for line in server.requests)


@pytest.mark.parametrize(
    "date", ["253402300800 +0000", "99999999999999 +0000", "1700000000 +9999", "1700000000 +2400"]
)
async def test_commit_of_a_time_that_cannot_be_is_fetched(
    fetcher: Fetcher, server: GitServer, into: Path, date: str
):
    repo = server.make_repo(f"odd/time-{date.replace(' +', '-')}", {"README.md": "hi"})
    tree = repo.git("rev-parse", "HEAD^{tree}").strip()
    text = f"tree {tree}\nauthor x <y> {date}\ncommitter x <y> {date}\n\nodd\n"
    sha = repo.git("hash-object", "-t", "commit", "-w", "--literally", "--stdin", stdin=text)
    repo.git("update-ref", "refs/heads/odd", sha.strip())
    commit = await fetcher.checkout(await resolve(fetcher, repo, "odd"), into)
    assert commit.time.year in (1970, 2023)


async def test_looks_at_many_repositories_wait_for_each_other(
    git: Git, server: GitServer, tmp_path
):
    fetcher = Fetcher(git=git, free_bytes=0, temporary_root=str(tmp_path), peeks_at_once=2)
    resolved = await resolve(fetcher, server.make_repo("many/one", {"README.md": "hi"}))
    open_now, most = 0, 0

    async def look() -> None:
        nonlocal open_now, most
        async with fetcher.peek(resolved):
            open_now += 1
            most = max(most, open_now)
            await asyncio.sleep(0)
            open_now -= 1

    await asyncio.gather(*(look() for _ in range(6)))
    assert most <= 2


async def test_a_long_chain_of_folders_in_a_requirement_is_not_looked_for(
    fetcher: Fetcher, server: GitServer
):
    lines = "".join(f"-r {number}/{'a/' * 900}b.txt\n" for number in range(40))
    repo = server.make_repo("include/deep", {"requirements.txt": lines})
    async with fetcher.peek(await resolve(fetcher, repo)) as peek:
        assert (peek.path / "requirements.txt").exists()


async def test_a_command_without_a_checked_address_asks_no_host(
    git: Git, server: GitServer, tmp_path: Path
):
    """Git fetches missing objects by itself, from wherever the host's name leads by then."""
    repo = server.make_repo("lazy/trees", {"a/b": "1"})
    (tmp_path / "lazy").mkdir()

    async def run(*args: str, url: str = "") -> str:
        return await git.run(*args, cwd=tmp_path / "lazy", url=url)

    await run("init", "--quiet")
    await run("remote", "add", "origin", repo.url)
    await run("fetch", "--filter=tree:0", "--depth=1", "--", "origin", repo.head, url=repo.url)
    server.requests.clear()
    with pytest.raises(ProcessFailed):
        await run("ls-tree", "-r", repo.head)
    assert not server.requests
    assert "a/b" in await run("ls-tree", "-r", repo.head, url=repo.url)
