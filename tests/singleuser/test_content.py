"""A repository's files in a home: real folders, real processes, homes that are not well."""

from __future__ import annotations

import fcntl
import json
import os
import resource
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from jupyterhub_binder.singleuser import content
from jupyterhub_binder.spawner.command import RECEIPT_VARIABLE, pack_receipt
from tests.kit.waiting import wait_until

ORIGIN = "https://example.org/one/repo"
SCRIPT = content.__file__
SHOW = "import json, os; print(json.dumps(dict(os.environ)))"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    repo = tmp_path / "image" / "repo"
    (repo / ".git").mkdir(parents=True)
    (repo / "data").mkdir()
    (repo / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    (repo / "data" / "table.csv").write_text("a,b\n1,2\n")
    (repo / "notebook one.ipynb").write_text("{}")
    (repo / "run.sh").write_text("#!/bin/sh\n")
    (repo / "link").symlink_to("data/table.csv")
    for path in [*repo.rglob("*"), repo]:
        if not path.is_symlink():
            path.chmod(0o555 if path.is_dir() or path.name == "run.sh" else 0o444)
    return repo


@pytest.fixture
def home(tmp_path: Path) -> Path:
    path = tmp_path / "home"
    path.mkdir()
    return path


def start(
    home: Path,
    source: Path,
    *,
    to: str = "repo",
    origin: str = ORIGIN,
    mode: str = "copy",
    path: str = "",
    env: dict[str, str] | None = None,
    before: Callable[[], None] | None = None,
    wrapper: tuple[str, ...] = (),
    options: tuple[str, ...] = (),
) -> tuple[dict[str, str], str]:
    """Run the script as a spawner does; return the command's environment and the log."""
    done = subprocess.run(
        [
            *(*wrapper, sys.executable, "-I", SCRIPT, "--from", str(source), "--to", to),
            *("--origin", origin, "--mode", mode, "--path", path, *options, "--"),
            *(sys.executable, "-c", SHOW),
        ],
        env={
            "HOME": str(home),
            "PATH": os.environ["PATH"],
            "TMPDIR": str(source.parent),
            **(env or {}),
        },
        capture_output=True,
        text=True,
        preexec_fn=before,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout or "{}"), done.stderr


def visible(home: Path) -> list[str]:
    return sorted(p.name for p in home.iterdir() if p.name != ".local")


def test_files_are_copied_and_are_the_persons_to_write(home: Path, source: Path) -> None:
    start(home, source)
    copied = home / "repo"
    assert (copied / "data" / "table.csv").read_text() == "a,b\n1,2\n"
    assert (copied / ".git" / "HEAD").exists()
    assert (copied / "link").readlink() == Path("data/table.csv")
    assert (copied / "data").stat().st_mode & stat.S_IWUSR
    assert (copied / "data" / "table.csv").stat().st_mode & stat.S_IWUSR
    assert (copied / "run.sh").stat().st_mode & stat.S_IXUSR
    assert not (copied / "notebook one.ipynb").stat().st_mode & stat.S_IXUSR
    assert visible(home) == ["repo"]


def test_the_receipt_is_a_file_beside_the_record_and_touches_no_folder_of_the_persons(
    home: Path, source: Path
) -> None:
    mine = home / ".binder" / "environment.json"
    mine.parent.mkdir()
    mine.write_text("mine")
    for text in ('{"receipt": 1}\n', '{"receipt": 2}\n'):
        env, _ = start(home, source, env={RECEIPT_VARIABLE: pack_receipt(text)})
        assert Path(env[RECEIPT_VARIABLE]).read_text() == text
    assert Path(env[RECEIPT_VARIABLE]).is_relative_to(home / ".local/share/jupyterhub-binder")
    assert mine.read_text() == "mine"
    assert not (home / "repo" / ".binder").exists()


def test_edits_additions_and_deletions_survive_the_next_start(home: Path, source: Path) -> None:
    start(home, source)
    (home / "repo" / "data" / "table.csv").write_text("mine")
    (home / "repo" / "new.txt").write_text("new")
    (home / "repo" / "run.sh").unlink()
    start(home, source)
    assert (home / "repo" / "data" / "table.csv").read_text() == "mine"
    assert (home / "repo" / "new.txt").exists()
    assert not (home / "repo" / "run.sh").exists()
    assert visible(home) == ["repo"]


def test_a_folder_that_the_person_deleted_comes_back(home: Path, source: Path) -> None:
    start(home, source)
    subprocess.run(["rm", "-rf", str(home / "repo")], check=True)
    start(home, source)
    assert (home / "repo" / "run.sh").exists()


def test_a_folder_of_the_persons_own_is_never_touched(home: Path, source: Path) -> None:
    (home / "repo").mkdir()
    (home / "repo" / "thesis.tex").write_text("years of work")
    env, _ = start(home, source)
    assert [p.name for p in (home / "repo").iterdir()] == ["thesis.tex"]
    assert (home / "repo-2" / "run.sh").exists()
    assert env["JUPYTERHUB_DEFAULT_URL"] == "/lab/tree/repo-2"
    start(home, source)
    assert visible(home) == ["repo", "repo-2"]


def test_another_repository_of_the_same_name_gets_a_folder_of_its_own(
    home: Path, source: Path
) -> None:
    start(home, source)
    start(home, source, origin="https://example.org/two/repo")
    assert visible(home) == ["repo", "repo-2"]
    env, _ = start(home, source, origin="https://example.org/two/repo")
    assert env["JUPYTERHUB_DEFAULT_URL"] == "/lab/tree/repo-2"
    env, _ = start(home, source)
    assert env["JUPYTERHUB_DEFAULT_URL"] == "/lab/tree/repo"


@pytest.mark.parametrize("in_the_way", ["file", "dangling link", "empty folder"])
def test_whatever_has_the_name_already_stays(home: Path, source: Path, in_the_way: str) -> None:
    target = home / "repo"
    if in_the_way == "file":
        target.write_text("a note")
    elif in_the_way == "dangling link":
        target.symlink_to("/nowhere")
    else:
        target.mkdir()
    before = target.lstat()
    start(home, source)
    assert (target.lstat().st_ino, target.lstat().st_mtime_ns) == (
        before.st_ino,
        before.st_mtime_ns,
    )
    assert (home / "repo-2" / "run.sh").exists()


def test_left_alone_brings_nothing(home: Path, source: Path) -> None:
    env, _ = start(home, source, mode="leave")
    assert visible(home) == []
    assert "JUPYTERHUB_DEFAULT_URL" not in env


@pytest.mark.parametrize(
    "name", ["../x", "..", ".", "a/b", "/etc", ".ssh", "~", "a\\b", "a\nb", "x" * 300, "-rf"]
)
def test_a_name_that_leads_elsewhere_is_refused_and_the_command_runs(
    home: Path, source: Path, name: str
) -> None:
    with pytest.raises(content.Skipped):
        content.bring(str(source), str(home), name)
    if not name.startswith("-"):
        env, log = start(home, source, to=name)
        assert "not a valid folder name" in log
        assert env["JUPYTERHUB_BINDER_NOTICE"]
    assert visible(home) == []


def test_a_hostile_link_in_the_repository_stays_a_link(home: Path, source: Path) -> None:
    source.chmod(0o755)
    (source / "out").symlink_to("/etc")
    start(home, source)
    assert (home / "repo" / "out").is_symlink()
    assert (home / "repo" / "out").readlink() == Path("/etc")


@pytest.mark.parametrize("path", ["../course-evil/x", "/../course-evil/x", "a/../../course-evil/x"])
def test_a_folder_beside_is_not_inside(home: Path, path: str) -> None:
    """Jupyter Server, CVE-2026-35397: a root was compared by its beginning."""
    (home / "course-evil").mkdir(parents=True)
    (home / "course-evil" / "x").touch()
    (home / "course").mkdir()
    assert content.within(str(home / "course"), path) is None


def test_pipes_and_devices_are_left_out(home: Path, source: Path) -> None:
    source.chmod(0o755)
    os.mkfifo(source / "pipe")
    start(home, source)
    assert not (home / "repo" / "pipe").exists()


def test_an_interrupted_copy_is_removed_and_done_again(home: Path, source: Path) -> None:
    left = home / ".repo.copying-abc"
    left.mkdir()
    (left / "half").write_text("ha")
    start(home, source)
    assert visible(home) == ["repo"]
    assert (home / "repo" / "run.sh").exists()


def test_a_copy_killed_in_the_middle_leaves_no_folder_of_that_name(
    home: Path, source: Path
) -> None:
    source.chmod(0o755)
    (source / "big").write_bytes(b"")
    os.truncate(source / "big", 2**31)
    child = subprocess.Popen(
        [
            *(sys.executable, "-I", "-c", Path(SCRIPT).read_text(), "--from", str(source)),
            *("--to", "repo", "--origin", ORIGIN, "--", "true"),
        ],
        env={"HOME": str(home), "PATH": os.environ["PATH"]},
    )
    deadline = time.monotonic() + 30
    while not any(p.name.startswith(".repo.copying-") for p in home.iterdir()):
        assert time.monotonic() < deadline
        assert child.poll() is None
    child.kill()
    child.wait()
    assert not (home / "repo").exists()
    (source / "big").unlink()
    start(home, source)
    assert visible(home) == ["repo"]


def test_two_servers_that_start_at_once_copy_once(home: Path, source: Path) -> None:
    command = [sys.executable, "-I", SCRIPT, "--from", str(source), "--to", "repo"]
    command += ["--origin", ORIGIN, "--", "true"]
    env = {"HOME": str(home), "PATH": os.environ["PATH"]}
    children = [subprocess.Popen(command, env=env) for _ in range(6)]
    assert [child.wait(60) for child in children] == [0] * 6
    assert visible(home) == ["repo"]


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ('#!/bin/sh\nexport SAID="$(pwd) $REPO_DIR $#"\nexec "$@"\n', True),
        ("#!/no/such/shell\n", False),
        ("no interpreter\n", False),
        (None, False),
    ],
)
def test_a_start_script_runs_in_the_repositorys_folder_and_the_server_in_the_home(
    home: Path, source: Path, script: str | None, said: bool
) -> None:
    environment = source.parent
    (environment / "binder").mkdir()
    note = {} if script is None else {"start": "run.sh"}
    (environment / "binder/image.json").write_text(json.dumps(note))
    (source / "run.sh").chmod(0o755)
    (source / "run.sh").write_text(script or "")
    env, log = start(home, source, options=("--start", str(environment)))
    assert (Path(env["PWD"]) if said else home) == home
    assert env.get("SAID") == (f"{home / 'repo'} {home / 'repo'} 7" if said else None)
    assert ("start script can't run" in log) is (script is not None and not said)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ('export SAID=so\necho noise >&2\nexec "$@"\n', {"SAID": "so", "HOME": "/home/ada"}),
        ("exit 3\n", {"HOME": "/home/ada"}),
        ("echo noise\n", {"HOME": "/home/ada"}),
        (None, {"HOME": "/home/ada"}),
    ],
)
def test_an_environments_own_script_changes_the_servers_variables(
    tmp_path: Path, capfd, script: str | None, said: dict[str, str]
) -> None:
    for folder in ("bin", "binder"):
        (tmp_path / folder).mkdir()
    (tmp_path / "bin/python").symlink_to(sys.executable)
    if script is not None:
        (tmp_path / "binder/activate.sh").write_text(script)
    env = content.activate(str(tmp_path), {"HOME": "/home/ada"})
    assert {name: env[name] for name in ("SAID", "HOME") if name in env} == said
    assert ("can't be activated" in capfd.readouterr().err) is (
        script is not None and "SAID" not in said
    )


def test_log_of_repo2dockers_entrypoint_stays_in_the_image(home: Path, source: Path) -> None:
    (source / ".jupyter-server-log.txt").write_text("one start")
    start(home, source)
    assert (home / "repo" / "data" / "table.csv").exists()
    assert not (home / "repo" / ".jupyter-server-log.txt").exists()


def test_files_that_no_image_carries_are_said_to_be_missing(home: Path, source: Path) -> None:
    start(home, Path("/nowhere"))
    assert visible(home) == ["repo is missing.txt"]
    assert "--target-repo-dir" in (home / "repo is missing.txt").read_text()
    start(home, source)
    assert visible(home) == ["repo"]


@pytest.mark.parametrize("kind", ["pipe", "link"])
def test_what_stands_in_the_place_of_a_note_neither_stops_the_start_nor_is_followed(
    home: Path, tmp_path: Path, kind: str
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("stays")
    (home / content.STATE).mkdir(parents=True)
    for place in (home / "out is on its way.txt", home / content.STATE / "notice.txt"):
        os.mkfifo(place) if kind == "pipe" else place.symlink_to(elsewhere)
    command = [sys.executable, "-I", SCRIPT, "--from", "/nowhere", "--to", "out"]
    env = {"HOME": str(home), "PATH": os.environ["PATH"]}
    subprocess.run([*command, "--", "true"], env=env, check=True, timeout=30)
    assert elsewhere.read_text() == "stays"
    assert "not copied" in (home / content.STATE / "notice.txt").read_text()


def test_a_copy_that_takes_long_goes_on_beside_the_server(
    home: Path, source: Path, tmp_path: Path
) -> None:
    start(home, Path("/nowhere"))  # makes the place of what is remembered
    notice = home / content.STATE / "notice.txt"
    stay = "import os, sys; print(os.environ['JUPYTERHUB_BINDER_NOTICE'], flush=True); input()"
    command = [sys.executable, "-I", SCRIPT, "--from", str(source), "--to", "repo"]
    command += ["--origin", ORIGIN, "--seconds=0.2", "--", sys.executable, "-c", stay]
    with (home / content.STATE / "content.repo.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # as another server of the person does that copies
        child = subprocess.Popen(
            command,
            env={"HOME": str(home), "PATH": os.environ["PATH"]},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert child.stdout
        assert b"still being copied" in child.stdout.readline()
        assert visible(home) == ["repo is on its way.txt"]
    wait_until(lambda: visible(home) == ["repo"] and not notice.exists())
    assert (home / "repo" / "data" / "table.csv").exists()
    child.communicate(b"\n", timeout=30)


def test_a_home_with_no_space_does_not_stop_the_start(home: Path, source: Path) -> None:
    source.chmod(0o755)
    (source / "big").write_bytes(b"x" * 200_000)

    def small() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    env, log = start(home, source, before=small)
    assert "too large for your home folder" in log
    assert "not copied" in env["JUPYTERHUB_BINDER_NOTICE"]
    assert visible(home) == []
    assert "not copied" in (home / content.STATE / "notice.txt").read_text()
    start(home, source)
    assert visible(home) == ["repo"]
    assert not (home / content.STATE / "notice.txt").exists()


def inside(bwrap: str, *args: str) -> tuple[str, ...]:
    return (bwrap, "--dev-bind", "/", "/", *args, "--")


@pytest.mark.sandbox
def test_a_full_disk_does_not_stop_the_start(home: Path, source: Path, require_bwrap: str) -> None:
    source.chmod(0o755)
    (source / "big").write_bytes(b"x" * 2_000_000)
    small = inside(require_bwrap, "--size", "1000000", "--tmpfs", str(home))
    env, log = start(home, source, wrapper=small)
    assert "your home folder is full" in log
    assert "home folder is full" in env["JUPYTERHUB_BINDER_NOTICE"]
    assert "JUPYTER_RUNTIME_DIR" not in env
    (source / "big").unlink()
    tiny = inside(require_bwrap, "--size", "8192", "--tmpfs", str(home))
    env, log = start(home, source, wrapper=tiny)
    assert "is not writable" in log
    assert Path(env["JUPYTER_RUNTIME_DIR"]).parent.is_dir()


@pytest.mark.sandbox
def test_a_read_only_home_does_not_stop_the_start(
    home: Path, source: Path, require_bwrap: str
) -> None:
    read_only = inside(require_bwrap, "--ro-bind", str(home), str(home))
    env, log = start(home, source, wrapper=read_only)
    assert "your home folder is not writable" in log
    assert Path(env["JUPYTER_RUNTIME_DIR"]).parent.is_dir()
    assert visible(home) == []


def test_a_home_reached_through_a_link_works(home: Path, source: Path, tmp_path: Path) -> None:
    link = tmp_path / "people"
    link.symlink_to(home)
    env, _ = start(link, source)
    assert (home / "repo" / "run.sh").exists()
    assert env["JUPYTERHUB_DEFAULT_URL"] == "/lab/tree/repo"


def test_a_home_that_is_not_there_does_not_stop_the_start(source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    env, log = start(tmp_path / "file" / "home", source)
    assert "not copied" in log
    assert env["JUPYTER_RUNTIME_DIR"]


@pytest.mark.parametrize("memory", ["", "[]", '{"folders": 7}', '{"folders": {"repo": 3}}', "\0"])
def test_a_broken_memory_is_as_good_as_none(home: Path, source: Path, memory: str) -> None:
    (home / content.STATE).mkdir(parents=True)
    (home / content.STATE / "content.json").write_text(memory)
    start(home, source)
    assert visible(home) == ["repo"]
    start(home, source)
    assert visible(home) == ["repo"]


@pytest.mark.parametrize(
    ("path", "before", "after"),
    [
        ("", "", "/lab/tree/repo"),
        ("notebook one.ipynb", "", "/lab/tree/repo/notebook%20one.ipynb"),
        ("data/table.csv", "/lab", "/lab/tree/repo/data/table.csv"),
        ("data", "/tree", "/tree/repo/data"),
        ("../../etc/passwd", "", "/lab/tree/repo"),
        ("not-there.ipynb", "", "/lab/tree/repo"),
        ("data", "/rstudio", "/rstudio"),
    ],
)
def test_the_server_opens_at_the_asked_file(
    home: Path, source: Path, path: str, before: str, after: str
) -> None:
    env = {"JUPYTERHUB_DEFAULT_URL": before} if before else {}
    told, _ = start(home, source, path=path, env=env)
    assert told["JUPYTERHUB_DEFAULT_URL"] == after
    assert told["JUPYTERHUB_ROOT_DIR"] == str(home)


@pytest.mark.parametrize(
    ("address", "path", "query", "after"),
    [
        ("/rstudio/", "", "", "/rstudio/"),
        (
            "/voila/render/",
            "notebook one.ipynb",
            "?x=1",
            "/voila/render/repo/notebook%20one.ipynb?x=1",
        ),
        ("/tree/", "repo/data", "", "/tree/repo/data"),  # the folder was named already
    ],
)
def test_the_server_opens_at_the_asked_application(
    home: Path, source: Path, address: str, path: str, query: str, after: str
) -> None:
    options = (f"--address={address}", f"--query={query}")
    for mode in ("copy", "leave"):
        told, _ = start(
            home,
            source,
            path=path,
            options=options,
            mode=mode,
            env={"JUPYTERHUB_DEFAULT_URL": "/x"},
        )
        at_home = after.replace("repo/note", "note") if mode == "leave" else after
        assert told["JUPYTERHUB_DEFAULT_URL"] == at_home


def test_a_root_above_the_home_stays_and_one_below_gives_way(home: Path, source: Path) -> None:
    told, _ = start(home, source, env={"JUPYTERHUB_ROOT_DIR": "/"})
    assert told["JUPYTERHUB_ROOT_DIR"] == "/"
    assert told["JUPYTERHUB_DEFAULT_URL"] == f"/lab/tree{home}/repo"
    told, _ = start(home, source, env={"JUPYTERHUB_ROOT_DIR": "~/notebooks"})
    assert told["JUPYTERHUB_ROOT_DIR"] == str(home)


def test_root_is_allowed_where_the_process_is_roots(monkeypatch: pytest.MonkeyPatch) -> None:
    command = ["/env/bin/jupyterhub-singleuser", "--debug"]
    monkeypatch.setattr(content.os, "geteuid", lambda: 0)
    assert content.with_root(command) == [*command, "--allow-root"]
    assert content.with_root([*command, "--allow-root"]).count("--allow-root") == 1
    assert content.with_root(["/bin/true"]) == ["/bin/true"]
    monkeypatch.setattr(content.os, "geteuid", lambda: 1000)
    assert content.with_root(command) == command


# --- Images ----------------------------------------------------------------------------------------------


def test_the_first_source_that_is_there_counts(home: Path, source: Path) -> None:
    sources = ["/nowhere", "$REPO_DIR", str(home)]
    assert content.find_source(sources, str(home), {"REPO_DIR": str(source)}) == str(source)
    assert content.find_source(sources, str(home), {}) == ""


def test_the_home_and_what_holds_it_are_no_source(home: Path) -> None:
    for path in (home, home.parent, Path("/")):
        assert content.find_source([str(path)], str(home), {}) == ""


def test_files_that_an_init_container_brought_are_opened_without_the_images_own(
    home: Path, source: Path
) -> None:
    start(home, source)
    env, log = start(home, Path("/nowhere"))
    assert "not copied" not in log
    assert env["JUPYTERHUB_DEFAULT_URL"].startswith("/lab/tree/repo")
