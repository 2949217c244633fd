"""What the venv backend says is there, and in use."""

from __future__ import annotations

import json
import subprocess
import sys

from jupyterhub_binder.backends.venv.folders import Folders
from jupyterhub_binder.backends.venv.kept import find_used, list_kept
from tests.kit.checkouts import write_files


def make_environment(root, key: str):
    folder = root / key
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
    (folder / "binder").mkdir()
    (folder / "binder" / "image.json").write_text(json.dumps({"size_bytes": 123}))
    return folder


def test_finished_environments_are_listed_with_their_size(tmp_path):
    make_environment(tmp_path, "a")
    (tmp_path / ".building").mkdir()
    (tmp_path / "unfinished").mkdir()
    (kept,) = list_kept(tmp_path)
    assert (kept.name, kept.size_bytes, kept.in_use) == ("venv:a", 123, False)


def test_damaged_note_is_an_unknown_size(tmp_path):
    (make_environment(tmp_path, "a") / "binder" / "image.json").write_text("[]")
    assert [kept.size_bytes for kept in list_kept(tmp_path)] == [0]


def test_environment_whose_program_runs_is_in_use(tmp_path):
    used, _ = make_environment(tmp_path, "used"), make_environment(tmp_path, "idle")
    command = [used / "bin" / "python", "-c", "print('up', flush=True); input()"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with process:
        assert process.stdout.readline().strip() == b"up"
        assert find_used(tmp_path) == {"used"}
        assert {kept.name: kept.in_use for kept in list_kept(tmp_path)} == {
            "venv:used": True,
            "venv:idle": False,
        }
        process.communicate(b"\n")
    assert find_used(tmp_path) == frozenset()


def test_the_files_of_a_shared_environment_are_kept_counted_and_no_environment(tmp_path):
    checkout = tmp_path / "checkout"
    write_files(checkout, {"index.ipynb": "{}", "data/a.csv": "1"})
    folders = Folders(tmp_path / "root")
    folders.ensure()
    folders.keep_files("key", "build", checkout)
    assert (folders.root / "key/repo/data/a.csv").read_text() == "1"
    assert folders.find("key") is None
    (kept,) = list_kept(folders.root)
    assert kept.name == "venv:key"
    assert kept.size_bytes > 0
    assert list(folders.building.iterdir()) == []
    folders.discard(folders.environment("key"))
    assert list_kept(folders.root) == ()
