"""A folder of the home kept in step with a real repository on a real server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from jupyterhub_binder.singleuser import content, gitsync
from jupyterhub_binder.spawner.command import CONTENT_VARIABLE, RUN_CONTENT, content_script
from tests.kit.git_server import GitRepo, GitServer, Symlink
from tests.kit.waiting import wait_until

pytestmark = pytest.mark.slow

SHOW = "import json, os; print(json.dumps(dict(os.environ)))"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitServer]:
    with GitServer.running(tmp_path_factory.mktemp("git")) as server:
        yield server


@pytest.fixture
def upstream(server: GitServer, request: pytest.FixtureRequest) -> GitRepo:
    name = f"org/course{abs(hash(request.node.nodeid))}"
    return server.make_repo(
        name,
        {
            "README.md": "one\ntwo\nthree\nfour\nfive\nsix\nseven\neight\n",
            "data/table.csv": "a,b\n1,2\n",
            "run.sh": "#!/bin/sh\n",
            "old.txt": "old\n",
        },
    )


class Person:
    """A home, and what its servers' starts do in it."""

    def __init__(self, home: Path, upstream: GitRepo) -> None:
        self.home = home
        self.upstream = upstream
        self.folder = home / "course"
        home.mkdir()

    def command(self, *, mode: str = "sync", ref: str = "HEAD", options: tuple[str, ...] = ()):
        return [
            *(sys.executable, "-I", "-c", RUN_CONTENT, "--to=course", f"--mode={mode}"),
            *(f"--origin={self.upstream.url}", f"--url={self.upstream.url}", f"--follow={ref}"),
            *(*options, "--", sys.executable, "-c", SHOW),
        ]

    @property
    def env(self) -> dict[str, str]:
        return {
            "HOME": str(self.home),
            "PATH": os.environ["PATH"],
            CONTENT_VARIABLE: content_script(),
        }

    def start(self, *, url: str = "", **kwargs) -> tuple[dict[str, str], str]:
        """Start a server; return its environment and its log."""
        command = self.command(**kwargs)
        if url:
            command = [f"--url={url}" if word.startswith("--url=") else word for word in command]
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout), done.stderr

    def git(self, *args: str) -> str:
        done = subprocess.run(
            ["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.org", *args],
            cwd=self.folder,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def read(self, path: str) -> str:
        return (self.folder / path).read_text()

    def write(self, path: str, text: str) -> None:
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / path).write_text(text)

    def names(self) -> set[str]:
        return {
            path.relative_to(self.folder).as_posix()
            for path in self.folder.rglob("*")
            if ".git" not in path.parts and (path.is_symlink() or not path.is_dir())
        }

    def aside(self, pattern: str) -> str:
        (found,) = self.folder.glob(pattern)
        return found.read_text()


@pytest.fixture
def ada(tmp_path: Path, upstream: GitRepo) -> Person:
    person = Person(tmp_path / "home", upstream)
    person.start()
    return person


def test_first_start_brings_the_files_and_the_next_one_nothing(ada: Person) -> None:
    assert ada.names() == {"README.md", "data/table.csv", "run.sh", "old.txt"}
    assert (ada.folder / "run.sh").stat().st_mode & 0o100
    assert ada.git("status", "--porcelain") == ""
    assert ada.git("rev-parse", "HEAD") == ada.upstream.head
    before = {p: p.stat().st_mtime_ns for p in ada.folder.glob("*") if p.name != ".git"}
    env, log = ada.start()
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert "JUPYTERHUB_BINDER_NOTICE" not in env
    assert CONTENT_VARIABLE not in env
    assert log == ""
    assert env["JUPYTERHUB_DEFAULT_URL"] == "/lab/tree/course"


def test_new_files_changes_and_deletions_come_where_nothing_was_touched(ada: Person) -> None:
    ada.upstream.commit(
        {"new/deep.txt": "new", "README.md": "changed", "old.txt": None, "run.sh": "no script"}
    )
    (ada.upstream.work / "run.sh").chmod(0o644)
    ada.upstream.commit()
    ada.start()
    assert ada.read("README.md") == "changed"
    assert ada.read("new/deep.txt") == "new"
    assert not (ada.folder / "run.sh").stat().st_mode & 0o100
    assert not (ada.folder / "old.txt").exists()
    assert ada.git("rev-parse", "HEAD") == ada.upstream.head
    assert ada.git("status", "--porcelain") == ""


def test_edits_of_other_lines_are_merged(ada: Person) -> None:
    ada.write("README.md", ada.read("README.md").replace("one", "mine"))
    ada.upstream.commit({"README.md": "one\ntwo\nthree\nfour\nfive\nsix\nseven\ntheirs\n"})
    _, log = ada.start()
    assert ada.read("README.md") == "mine\ntwo\nthree\nfour\nfive\nsix\nseven\ntheirs\n"
    assert log == ""
    assert ada.git("log", "-1", "--format=%an <%ae>", "HEAD^1") == (
        "jupyterhub-binder <jupyterhub-binder@localhost>"
    )
    assert ada.git("status", "--porcelain") == ""


def test_an_edit_of_the_same_lines_stays_and_upstreams_version_is_beside_it(ada: Person) -> None:
    ada.write("README.md", ada.read("README.md").replace("two", "mine"))
    theirs = ada.read("README.md").replace("mine", "theirs").replace("eight", "more")
    ada.upstream.commit({"README.md": theirs})
    env, log = ada.start()
    assert ada.read("README.md") == "one\nmine\nthree\nfour\nfive\nsix\nseven\nmore\n"
    assert ada.aside("README_upstream_*.md") == theirs
    assert "README.md: you and the repository changed the same" in ada.read(gitsync.NOTES)
    assert "README.md: you and the repository changed the same" in log
    assert gitsync.NOTES in env["JUPYTERHUB_BINDER_NOTICE"]
    ada.start()
    assert len(list(ada.folder.glob("README_upstream_*"))) == 1
    assert gitsync.NOTES not in ada.git("status", "--porcelain")


def test_deleted_files_come_back_as_upstream_has_them(ada: Person) -> None:
    ada.upstream.commit({"README.md": "new"})
    (ada.folder / "README.md").unlink()
    subprocess.run(["rm", "-r", str(ada.folder / "data")], check=True)
    ada.start()
    assert ada.read("README.md") == "new"
    assert ada.read("data/table.csv") == "a,b\n1,2\n"
    assert ada.git("rev-parse", "HEAD") == ada.upstream.head
    (ada.folder / "README.md").unlink()
    ada.start()
    assert ada.read("README.md") == "new"


def test_a_file_deleted_by_both_stays_away(ada: Person) -> None:
    (ada.folder / "old.txt").unlink()
    ada.upstream.commit({"old.txt": None, "new.txt": "new"})
    ada.start()
    assert "old.txt" not in ada.names()
    assert ada.read("new.txt") == "new"


def test_an_edited_file_that_upstream_deleted_stays(ada: Person) -> None:
    ada.write("old.txt", "mine")
    ada.upstream.commit({"old.txt": None})
    _, log = ada.start()
    assert ada.read("old.txt") == "mine"
    assert "old.txt: removed from the repository" in log


def test_an_untracked_file_in_the_way_is_renamed(ada: Person) -> None:
    ada.write("week2/notes.tar.gz", "mine")
    ada.write("same.txt", "same")
    ada.write("only.txt", "mine alone")
    ada.upstream.commit({"week2/notes.tar.gz": "theirs", "same.txt": "same"})
    _, log = ada.start()
    assert ada.read("week2/notes.tar.gz") == "theirs"
    assert ada.aside("week2/notes.tar_2*.gz") == "mine"
    assert ada.read("only.txt") == "mine alone"
    assert not list(ada.folder.glob("same_*"))
    assert "week2/notes.tar.gz: the repository now has a file of this name" in log


@pytest.mark.parametrize("edited", [False, True])
def test_a_file_becomes_a_folder(ada: Person, edited: bool) -> None:
    if edited:
        ada.write("old.txt", "mine")
    ada.upstream.commit({"old.txt": None})
    ada.upstream.commit({"old.txt/inside": "theirs"})
    ada.start()
    assert ada.read("old.txt/inside") == "theirs"
    assert [p.read_text() for p in ada.folder.glob("old_*")] == ["mine"] * edited


@pytest.mark.parametrize("edited", [False, True])
def test_a_folder_becomes_a_file(ada: Person, edited: bool) -> None:
    if edited:
        ada.write("data/table.csv", "mine")
    ada.upstream.commit({"data/table.csv": None})
    (ada.upstream.work / "data").rmdir()
    ada.upstream.commit({"data": "theirs"})
    ada.start()
    if edited:
        assert ada.read("data/table.csv") == "mine"
        assert ada.aside("data_upstream_*") == "theirs"
    else:
        assert ada.read("data") == "theirs"


def test_what_the_person_put_in_a_files_place_is_kept(ada: Person, tmp_path: Path) -> None:
    (tmp_path / "big").mkdir()
    (tmp_path / "big" / "table.csv").write_text("elsewhere")
    subprocess.run(["rm", "-r", str(ada.folder / "data")], check=True)
    (ada.folder / "data").symlink_to(tmp_path / "big")
    (ada.folder / "old.txt").unlink()
    ada.write("old.txt/mine", "mine")
    ada.upstream.commit({"data/table.csv": "new", "old.txt": "new"})
    ada.start()
    assert (tmp_path / "big" / "table.csv").read_text() == "elsewhere"
    assert ada.read("data/table.csv") == "new"
    (link,) = [p for p in ada.folder.glob("data_2*") if p.is_symlink()]
    assert link.readlink() == tmp_path / "big"
    assert ada.read("old.txt") == "new"
    assert ada.aside("old_2*.txt/mine") == "mine"


def test_links_modes_and_names_of_all_kinds_come(ada: Person) -> None:
    names = {"grün/ü 🙂.txt": "1", " leading": "2", "a\nb": "3", "README.MD": "4", '"q"': "5"}
    ada.upstream.commit({**names, "link": Symlink("data/table.csv"), "out": Symlink("/etc")})
    ada.start()
    for name, text in names.items():
        assert ada.read(name) == text
    assert (ada.folder / "link").readlink() == Path("data/table.csv")
    assert (ada.folder / "out").readlink() == Path("/etc")
    for name in names:
        (ada.folder / name).unlink()
    (ada.folder / "out").unlink()
    (ada.folder / "out").write_text("mine")
    ada.upstream.commit({"out": Symlink("/usr"), "link": Symlink("old.txt")})
    ada.start()
    assert {name: ada.read(name) for name in names} == names
    assert ada.read("out") == "mine"
    assert (ada.folder / "link").readlink() == Path("old.txt")
    (beside,) = ada.folder.glob("out_upstream_*")
    assert beside.readlink() == Path("/usr")


def test_an_edit_follows_a_file_that_upstream_renamed(ada: Person) -> None:
    ada.write("README.md", ada.read("README.md").replace("one", "mine"))
    ada.upstream.git("mv", "README.md", "index.md")
    ada.upstream.commit()
    _, log = ada.start()
    assert ada.read("index.md").startswith("mine\ntwo")
    assert "README.md" not in ada.names()
    assert "renamed it to index.md" in log


def test_a_notebook_stays_readable(ada: Person) -> None:
    notebook = '{"cells": [\n%s\n],\n"nbformat": 4}\n'
    ada.upstream.commit({"n.ipynb": notebook % '{"source": "one"}'})
    ada.start()
    ada.write("n.ipynb", notebook % '{"source": "one"},\n{"source": "mine"}')
    ada.upstream.commit({"n.ipynb": notebook % '{"source": "two"},\n\n{"source": "theirs"}'})
    ada.start()
    assert "mine" in ada.read("n.ipynb")
    json.loads(ada.read("n.ipynb"))
    assert "theirs" in ada.aside("n_upstream_*.ipynb")


def test_binary_and_large_files_are_the_persons_where_both_changed(
    ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada.upstream.commit({"a.bin": b"\0one"})
    ada.start()
    (ada.folder / "a.bin").write_bytes(b"\0mine")
    ada.upstream.commit({"a.bin": b"\0theirs"})
    ada.start()
    assert (ada.folder / "a.bin").read_bytes() == b"\0mine"
    assert ada.aside("a_upstream_*.bin") == "\0theirs"


def test_a_history_that_was_rewritten_brings_what_is_new(ada: Person) -> None:
    ada.upstream.commit({"README.md": "regretted", "secret.txt": "oops"})
    ada.start()
    ada.write("data/table.csv", "mine")
    ada.upstream.git("reset", "--hard", "HEAD~1")
    ada.upstream.commit({"README.md": "better"})
    ada.start()
    assert ada.read("README.md") == "better"
    assert "secret.txt" not in ada.names()
    assert ada.read("data/table.csv") == "mine"


def test_a_history_that_has_nothing_in_common_brings_what_is_new(ada: Person) -> None:
    ada.write("run.sh", "mine")
    ada.upstream.git("checkout", "--orphan", "fresh")
    ada.upstream.commit({"README.md": "fresh", "old.txt": None})
    ada.upstream.git("branch", "-M", "fresh", "main")
    _, log = ada.start()
    assert ada.read("README.md") == "fresh"
    assert ada.read("run.sh") == "mine"
    assert "old.txt" not in ada.names()
    assert log == ""
    ada.upstream.commit({"README.md": "fresher"})
    ada.start()
    assert ada.read("README.md") == "fresher"


def test_submodules_are_left_out(ada: Person) -> None:
    sha = "1" * 40
    ada.upstream.git("update-index", "--add", "--cacheinfo", f"160000,{sha},vendor/lib")
    ada.upstream.git("commit", "--quiet", "-m", "A submodule")
    ada.upstream.git("rm", "--cached", "-q", "vendor/lib")
    ada.upstream.git("reset", "-q", "HEAD")
    (ada.upstream.work / "README.md").write_text("new")
    ada.upstream.git("commit", "-q", "-m", "More", "README.md")
    _, log = ada.start()
    assert ada.read("README.md") == "new"
    assert not (ada.folder / "vendor" / "lib" / ".git").exists()
    assert log == ""
    ada.start()


# --- People who know git ----------------------------------------------------------------------------


def test_the_persons_own_commits_stay(ada: Person) -> None:
    ada.write("thesis.txt", "mine")
    ada.git("add", "thesis.txt")
    ada.git("commit", "-q", "-m", "My thesis")
    ada.write("staged.txt", "staged")
    ada.git("add", "staged.txt")
    ada.upstream.commit({"README.md": "new"})
    ada.start()
    assert ada.read("README.md") == "new"
    assert (ada.read("thesis.txt"), ada.read("staged.txt")) == ("mine", "staged")
    assert "My thesis" in ada.git("log", "--format=%s")


@pytest.mark.parametrize("where", ["branch", "detached"])
def test_a_branch_of_the_persons_own_is_left_alone(ada: Person, where: str) -> None:
    ada.git("switch", "-q", *(["-c", "mine"] if where == "branch" else ["--detach"]))
    ada.write("README.md", "mine")
    ada.upstream.commit({"README.md": "new", "new.txt": "new"})
    before = ada.git("rev-parse", "HEAD")
    env, _ = ada.start()
    assert ada.git("rev-parse", "HEAD") == before
    assert ada.read("README.md") == "mine"
    assert "new.txt" not in ada.names()
    assert "git switch main" in env["JUPYTERHUB_BINDER_NOTICE"]
    assert env["JUPYTERHUB_DEFAULT_URL"] == "/lab/tree/course"
    ada.git("switch", "-q", "main")
    ada.start()
    assert "new.txt" in ada.names()


def test_a_merge_of_the_persons_own_is_left_to_them(ada: Person) -> None:
    ada.git("switch", "-q", "-c", "mine")
    ada.write("README.md", "mine")
    ada.git("commit", "-aqm", "mine")
    ada.git("switch", "-q", "main")
    ada.write("README.md", "other")
    ada.git("commit", "-aqm", "other")
    with pytest.raises(AssertionError):
        ada.git("merge", "mine")
    conflicted = ada.read("README.md")
    ada.upstream.commit({"new.txt": "new"})
    env, _ = ada.start()
    assert "git merge --abort" in env["JUPYTERHUB_BINDER_NOTICE"]
    assert ada.read("README.md") == conflicted


def test_files_that_git_was_told_not_to_look_at_survive(ada: Person) -> None:
    ada.write("README.md", "mine")
    ada.write("old.txt", "mine")
    ada.git("update-index", "--skip-worktree", "README.md")
    ada.git("update-index", "--assume-unchanged", "old.txt")
    ada.upstream.commit({"README.md": "new", "old.txt": "new"})
    ada.start()
    assert (ada.read("README.md"), ada.read("old.txt")) == ("mine", "mine")


def test_hooks_do_not_run(ada: Person, tmp_path: Path) -> None:
    for name in ("post-merge", "pre-commit", "post-checkout", "reference-transaction"):
        ada.write(f".git/hooks/{name}", f"#!/bin/sh\ntouch {tmp_path}/ran\nexit 1\n")
        (ada.folder / ".git" / "hooks" / name).chmod(0o755)
    ada.write("README.md", "mine")
    ada.upstream.commit({"new.txt": "new"})
    ada.start()
    assert "new.txt" in ada.names()
    assert not (tmp_path / "ran").exists()


# --- What goes wrong ------------------------------------------------------------------------------


def test_a_host_that_is_away_leaves_the_folder_and_says_so(ada: Person) -> None:
    env, _ = ada.start(url="http://127.0.0.1:9/org/course.git")
    assert "course was not updated" in env["JUPYTERHUB_BINDER_NOTICE"]
    assert "can't reach" in env["JUPYTERHUB_BINDER_NOTICE"]
    assert env["JUPYTERHUB_DEFAULT_URL"] == "/lab/tree/course"


def test_a_branch_that_is_gone_and_a_protocol_that_runs_commands_are_refused(
    ada: Person, tmp_path: Path
) -> None:
    env, _ = ada.start(ref="gone")
    assert "no longer has a branch or tag 'gone'" in env["JUPYTERHUB_BINDER_NOTICE"]
    env, _ = ada.start(url=f"ext::touch {tmp_path}/ran")
    assert "was not updated" in env["JUPYTERHUB_BINDER_NOTICE"]
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("ref", ["--upload-pack=touch ran", "-c", "main\nrefs/heads/x", "../x"])
def test_a_ref_is_never_an_option(ada: Person, ref: str) -> None:
    """BinderHub, CVE-2021-39159: a ref that git read as an option."""
    env, _ = ada.start(ref=ref)
    assert "is not the name of a branch or a tag" in env["JUPYTERHUB_BINDER_NOTICE"]
    assert not list(ada.home.rglob("ran"))


def test_a_file_is_never_an_option(ada: Person) -> None:
    """nbgitpuller, CVE-2021-39160: names that git read as options."""
    names = ("--upload-pack=touch ran", "-c", "--output=ran/x", "-/--help")
    ada.upstream.commit(dict.fromkeys(names, "theirs"))
    assert ada.start()[1] == ""
    for name in names:
        ada.write(name, "mine")
    ada.upstream.commit(dict.fromkeys(names, "changed"))
    ada.start()
    assert {ada.read(name) for name in names} == {"mine"}
    assert not list(ada.home.rglob("ran"))


class Gate:
    """Keeps a server from sending anything but the names of its refs, until it is opened."""

    def __init__(self, server: GitServer) -> None:
        self.server = server
        self.asked = threading.Event()
        self.opened = threading.Event()
        self.posts = 0

    def hook(self, request: BaseHTTPRequestHandler) -> bool:
        self.posts += request.command == "POST"
        if self.posts > 2:  # one each of `ls-remote` and `fetch` asks for names
            self.asked.set()
            self.opened.wait(60)
        return False

    def __enter__(self) -> Gate:
        self.server.hook = self.hook
        return self

    def __exit__(self, *args: object) -> None:
        self.opened.set()
        self.server.hook = None


STAY = "import json, os, sys; print(json.dumps(dict(os.environ)), flush=True); sys.stdin.read()"


@contextmanager
def running(person: Person, **kwargs: Any) -> Iterator[dict[str, str]]:
    """Start a server that stays; yield its environment."""
    command = [*person.command(**kwargs)[:-1], STAY]
    with (
        (person.home.parent / "server.log").open("a") as log,
        subprocess.Popen(
            command, env=person.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
        ) as child,
    ):
        assert child.stdout
        try:
            yield json.loads(child.stdout.readline())
        finally:
            child.kill()


def said(person: Person) -> str:
    """Return what a person is told in their home; '' for nothing."""
    path = person.home / content.STATE / "notice.txt"
    return path.read_text() if path.exists() else ""


SOON = ("--seconds=1",)


def test_a_first_fetch_that_takes_long_goes_on_beside_the_server(
    tmp_path: Path, upstream: GitRepo, server: GitServer
) -> None:
    ada = Person(tmp_path / "home", upstream)
    note = ada.home / "course is on its way.txt"
    with Gate(server) as gate, running(ada, options=SOON) as env:
        assert gate.asked.is_set()
        assert "still being copied" in env["JUPYTERHUB_BINDER_NOTICE"]
        assert "JUPYTERHUB_DEFAULT_URL" not in env
        assert note.read_text() == said(ada) == env["JUPYTERHUB_BINDER_NOTICE"] + "\n"
        with running(ada, options=SOON) as second:
            assert second["JUPYTERHUB_BINDER_NOTICE"] == env["JUPYTERHUB_BINDER_NOTICE"]
        assert not ada.folder.exists()
        gate.opened.set()
        wait_until(ada.folder.exists)
        assert ada.names() == {"README.md", "data/table.csv", "run.sh", "old.txt"}
        wait_until(lambda: not note.exists() and not said(ada))
    assert "the files in course are complete" in (tmp_path / "server.log").read_text()
    env, log = ada.start()
    assert (log, env["JUPYTERHUB_DEFAULT_URL"]) == ("", "/lab/tree/course")
    assert ada.git("status", "--porcelain") == ""


def test_a_fetch_ends_with_its_server_and_the_next_start_begins_anew(
    tmp_path: Path, upstream: GitRepo, server: GitServer
) -> None:
    ada = Person(tmp_path / "home", upstream)
    with Gate(server):
        with running(ada, options=SOON):
            assert list(ada.home.glob(".course.copying-*"))
        wait_until(lambda: not list(ada.home.glob(".course.copying-*")))
        assert not ada.folder.exists()
    _, log = ada.start()
    assert log == ""
    assert [p.name for p in ada.home.iterdir() if p.name != ".local"] == ["course"]


def test_a_fetch_has_a_limit_beside_the_server_too(
    tmp_path: Path, upstream: GitRepo, server: GitServer
) -> None:
    ada = Person(tmp_path / "home", upstream)
    with Gate(server), running(ada, options=("--seconds=1", "--max-seconds=2")):
        wait_until(lambda: "not copied" in said(ada))
        assert [p.name for p in ada.home.iterdir()] == [".local"]


def test_what_is_new_and_came_too_late_is_put_in_place_by_the_next_start(
    ada: Person, server: GitServer
) -> None:
    ada.upstream.commit({"README.md": "new", "new.txt": "new"})
    with Gate(server) as gate, running(ada, options=SOON) as env:
        assert "Updates of course are still being fetched" in env["JUPYTERHUB_BINDER_NOTICE"]
        assert env["JUPYTERHUB_DEFAULT_URL"] == "/lab/tree/course"
        assert not (ada.folder / ".git" / "index.lock").exists()
        ada.write("data/table.csv", "mine")
        gate.opened.set()
        wait_until(lambda: "The next start applies them" in said(ada))
        assert "new.txt" not in ada.names()
    before = len(server.requests)
    _, log = ada.start()
    assert (log, said(ada)) == ("", "")
    assert (ada.read("README.md"), ada.read("data/table.csv")) == ("new", "mine")
    asked = [request for request in server.requests[before:] if request.startswith("POST")]
    assert len(asked) == 1  # for the names of the refs


def test_a_note_of_the_persons_own_stays(
    tmp_path: Path, upstream: GitRepo, server: GitServer
) -> None:
    ada = Person(tmp_path / "home", upstream)
    (ada.home / "course is on its way.txt").write_text("mine")
    with Gate(server) as gate, running(ada, options=SOON):
        gate.opened.set()
        wait_until(ada.folder.exists)
        wait_until(lambda: not said(ada))
    assert (ada.home / "course is on its way.txt").read_text() == "mine"


def test_a_repository_that_is_too_large_is_refused(ada: Person) -> None:
    ada.upstream.commit({"big": os.urandom(3_000_000)})
    env, _ = ada.start(options=("--max-bytes=1000000",))
    assert "larger than the limit of this hub" in env["JUPYTERHUB_BINDER_NOTICE"]
    assert "big" not in ada.names()
    env, _ = ada.start()
    assert "big" in ada.names()


def test_a_lock_of_another_git_is_respected_until_it_is_stale(ada: Person) -> None:
    lock = ada.folder / ".git" / "index.lock"
    lock.write_bytes(b"")
    ada.upstream.commit({"README.md": "new"})
    env, _ = ada.start()
    assert "git is running there" in env["JUPYTERHUB_BINDER_NOTICE"]
    assert lock.exists()
    past = time.time() - 700
    os.utime(lock, (past, past))
    ada.start()
    assert ada.read("README.md") == "new"
    assert not lock.exists()


STOP = """
import os, signal, sys
from jupyterhub_binder.singleuser import content, gitsync
from jupyterhub_binder.singleuser.gitsync import move, state
count = [0]
def counted(function):
    def wrapper(*args, **kwargs):
        count[0] += 1
        if count[0] == STOP_AT:
            os.kill(os.getppid(), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return wrapper
counting = type(os)("os"); counting.__dict__.update(os.__dict__)
for name in ("replace", "unlink", "rename", "mkdir", "link"):
    setattr(counting, name, counted(getattr(os, name)))
gitsync.os = move.os = state.os = counting
from jupyterhub_binder.singleuser import content
content.main()
"""


def test_a_start_killed_anywhere_is_finished_by_the_next_one(
    tmp_path: Path, upstream: GitRepo
) -> None:
    ada = Person(tmp_path / "home", upstream)
    ada.start()
    ada.write("README.md", ada.read("README.md").replace("one", "mine"))
    ada.write("new.txt", "in the way")
    ada.write("run.sh", "mine")
    upstream.commit(
        {
            "README.md": "one\ntwo\nthree\nfour\nfive\nsix\nseven\ntheirs\n",
            "new.txt": "new",
            "old.txt": None,
            "run.sh": "theirs",
            "deep/er.txt": "x",
        }
    )
    (ada.folder / "data" / "table.csv").unlink()
    subprocess.run(["cp", "-a", str(ada.home), str(tmp_path / "saved")], check=True)
    killed, stop_at = True, 0
    while killed:
        stop_at += 1
        subprocess.run(["rm", "-rf", str(ada.home)], check=True)
        subprocess.run(["cp", "-a", str(tmp_path / "saved"), str(ada.home)], check=True)
        command = [*ada.command()]
        command[2:4] = ["-c", STOP.replace("STOP_AT", str(stop_at))]
        done = subprocess.run(command, env=ada.env, capture_output=True, text=True, timeout=60)
        killed = done.returncode == -signal.SIGKILL
        _, log = ada.start()
        assert "not updated" not in log, stop_at
        assert ada.read("README.md") == "mine\ntwo\nthree\nfour\nfive\nsix\nseven\ntheirs\n"
        assert ada.read("run.sh") == "mine"
        assert ada.aside("run_upstream_*") == "theirs"
        assert ada.read("new.txt") == "new"
        assert ada.aside("new_2*.txt") == "in the way"
        assert ada.read("data/table.csv") == "a,b\n1,2\n"
        assert ada.read("deep/er.txt") == "x"
        assert "old.txt" not in ada.names()
        assert [
            line for line in ada.git("status", "--porcelain").splitlines() if "?" not in line
        ] == []
        assert not (ada.folder / ".git" / "index.lock").exists()
    assert stop_at > 12


def test_servers_that_start_at_once_merge_once(ada: Person) -> None:
    ada.write("README.md", "mine")
    ada.upstream.commit({"README.md": "new", "new.txt": "new"})
    children = [
        subprocess.Popen(ada.command(), env=ada.env, stdout=subprocess.PIPE) for _ in range(4)
    ]
    assert [child.communicate(timeout=60) and child.returncode for child in children] == [0] * 4
    assert ada.read("README.md") == "mine"
    assert len(list(ada.folder.glob("README_upstream_*"))) == 1


def test_without_git_the_server_starts_and_says_so(ada: Person, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    done = subprocess.run(
        ada.command(),
        env={**ada.env, "PATH": str(tmp_path / "bin")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "does not have git" in done.stderr


# --- How a folder comes to be kept in step ------------------------------------------------------------


def copied(ada: Person, source: Path) -> tuple[str, ...]:
    return (f"--from={source}", f"--ref={ada.upstream.head}")


@pytest.mark.parametrize("kind", ["branch", "detached", "no git"])
def test_files_copied_from_an_image_are_kept_in_step(
    tmp_path: Path, upstream: GitRepo, kind: str
) -> None:
    ada, image = Person(tmp_path / "home", upstream), tmp_path / "repo"
    subprocess.run(["git", "clone", "-q", "--depth=1", upstream.file_url, str(image)], check=True)
    if kind == "detached":
        subprocess.run(["git", "switch", "-q", "--detach"], cwd=image, check=True)
    if kind == "no git":
        subprocess.run(["rm", "-rf", str(image / ".git")], check=True)
    options = copied(ada, image)
    ada.start(mode="copy", options=options)
    ada.write("README.md", ada.read("README.md").replace("one", "mine"))
    upstream.commit({"README.md": "one\ntwo\nthree\nfour\nfive\nsix\nseven\ntheirs\n", "n": "n"})
    _, log = ada.start(options=options)
    assert log == ""
    assert ada.read("README.md") == "mine\ntwo\nthree\nfour\nfive\nsix\nseven\ntheirs\n"
    assert ada.read("n") == "n"


def test_copy_of_another_repository_is_fetched_once(tmp_path: Path, upstream: GitRepo) -> None:
    ada = Person(tmp_path / "home", upstream)
    ada.start(mode="copy")
    upstream.commit({"README.md": "new"})
    ada.start(mode="copy")
    assert ada.read("README.md").startswith("one")


def test_a_tag_a_branch_and_a_commit_are_followed(ada: Person) -> None:
    first = ada.upstream.head
    ada.upstream.commit({"README.md": "second"})
    ada.upstream.tag("v2", annotated=True)
    ada.upstream.branch("dev", switch=True)
    ada.upstream.commit({"README.md": "dev"})
    for ref, text in (("v2", "second"), ("dev", "dev")):
        ada.start(ref=ref)
        assert ada.read("README.md") == text
    ada.start(ref=first)
    assert ada.read("README.md") == "dev"  # what is there already is newer


@pytest.mark.parametrize("ref", ["refs/pull/12/head", "refs/heads/topic", "refs/tags/v3"])
def test_a_full_name_of_a_ref_is_followed(ada: Person, ref: str) -> None:
    ada.upstream.branch("topic", switch=True)
    ada.upstream.commit({"README.md": "topic"})
    ada.upstream.tag("v3")
    ada.upstream.git("update-ref", "refs/pull/12/head", "HEAD")
    ada.upstream.git("switch", "--quiet", "main")
    assert ada.start(ref=ref)[1] == ""
    assert ada.read("README.md") == "topic"


def test_a_copy_of_another_ref_is_noticed(tmp_path: Path, upstream: GitRepo) -> None:
    ada = Person(tmp_path / "home", upstream)
    upstream.tag("v1.0")
    ada.start(mode="copy")
    assert ada.start(mode="copy")[1] == ""
    upstream.commit({"README.md": "new"})
    env, _ = ada.start(mode="copy", ref="v1.0")
    assert env["JUPYTERHUB_BINDER_NOTICE"] == (
        "course has the files of the default branch, which were copied earlier. To get those of "
        "v1.0, rename the folder and start the server again."
    )
    ada.folder.rename(ada.home / "mine")
    assert ada.start(mode="copy", ref="v1.0")[1] == ""
    assert ada.read("README.md").startswith("one")


def test_a_repository_that_cannot_be_had_leaves_no_folder(
    tmp_path: Path, upstream: GitRepo
) -> None:
    ada = Person(tmp_path / "home", upstream)
    env, _ = ada.start(url=upstream.url.replace(".git", "-not.git"))
    assert "not copied" in env["JUPYTERHUB_BINDER_NOTICE"]
    assert [p.name for p in ada.home.iterdir()] == [".local"]
    env, _ = ada.start()
    assert ada.read("old.txt") == "old\n"


def test_names_of_the_repository_write_no_line_and_no_colour_into_notes_and_logs(
    ada: Person, upstream: GitRepo
) -> None:
    name = "a\nJan 1 root: all is well \x1b[31m"
    ada.write(name, "mine")
    upstream.commit({name: "theirs"})
    _, log = ada.start()
    assert "\x1b" not in log + ada.read(gitsync.NOTES)
    assert not any(line.startswith("Jan 1") for line in log.splitlines())
    assert ada.read(name) == "theirs"


def test_no_words_of_a_host_keep_a_server_from_starting(tmp_path: Path) -> None:
    env = {"PATH": os.environ["PATH"]}
    content.tell(str(tmp_path), "git says: a\0b\ud800\udcff\x1b[31m\u202e", env)
    subprocess.run(["true"], env=env, check=True)
    assert env["JUPYTERHUB_BINDER_NOTICE"].startswith("git says: a\ufffdb")
