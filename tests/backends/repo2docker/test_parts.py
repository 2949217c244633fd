"""The pure parts of the repo2docker backend: its log, its forecast, its verdict on an image."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet

from jupyterhub_binder.backends.repo2docker import build, smoke_test
from jupyterhub_binder.backends.repo2docker.build import (
    Repo2DockerSettings,
    image_name,
    is_under_way,
    workspace_name,
    write_config,
)
from jupyterhub_binder.backends.repo2docker.inside.engine import _pieces, do_without_chmod
from jupyterhub_binder.backends.repo2docker.log import LogReader
from jupyterhub_binder.backends.repo2docker.plan import assess
from jupyterhub_binder.backends.repo2docker.smoke_test import Expected, check, singleuser_of
from jupyterhub_binder.errors import BuildFailed
from jupyterhub_binder.model import Line, Phase, Recipe, RecipeFile
from jupyterhub_binder.repositories.recipe import read_recipe
from tests.kit.jobs import make_checkout

# --- The log -----------------------------------------------------------------------------------


def said(*lines: str) -> list[Line]:
    reader = LogReader()
    return [line for text in lines for line in reader.read(text)]


def as_json(message, **more) -> str:
    return json.dumps({"message": message, **more})


def test_json_line_is_its_message_and_phase():
    line = as_json("Step 1/3 : FROM x\n", phase="building")
    assert said(line) == [
        Line(Phase.BUILDING, "Step 1/3 : FROM x", "step 1 of 3, fetching the base image")
    ]


def test_lines_without_phase_or_json_are_kept():
    assert said(as_json("hello\n"), "Traceback (most recent call last):", "{not json}") == [
        Line(Phase.BUILDING, "hello"),
        Line(Phase.BUILDING, "Traceback (most recent call last):"),
        Line(Phase.BUILDING, "{not json}"),
    ]


def test_several_lines_of_a_message_are_several():
    assert [line.text for line in said(as_json("a\nb\n\nc"))] == ["a", "b", "", "c"]


def test_progress_stays_provisional():
    assert said(as_json("50 %\r", phase="building")) == [Line(Phase.BUILDING, "50 %\r")]
    assert said(as_json("1 %\r2 %\rdone\n")) == [Line(Phase.BUILDING, "done")]


def test_paths_of_this_machine_are_not_shown():
    lines = [as_json("Picked Local content provider.\n"), as_json("Using local repo /srv/x.\n")]
    assert said(*lines) == []


def test_failure_is_no_line_but_the_last_word():
    reader = LogReader()
    assert (
        list(reader.read(as_json("Error during build: boom", phase="failed", exc_info="T"))) == []
    )
    assert reader.own_words == "boom"


def test_event_too_long_for_a_line_shows_nothing_of_this_machine():
    whole = as_json("Error during build: bad name " + 20_000 * "A", exc_info='File "/srv/x.py"')
    reader = LogReader()
    parts = [whole[i : i + 16_384] for i in range(0, len(whole), 16_384)]
    assert [line for part in parts for line in reader.read(part)] == []
    assert reader.own_words.startswith("bad name AAA")
    assert [line.text for line in reader.read(as_json("next"))] == ["next"]
    assert [line.text for line in reader.read("plain")] == ["plain"]


def test_own_words_of_repo2docker_are_the_reason_where_the_engine_gave_none():
    reader = LogReader()
    for line in ("Using DebianBuildPack builder\n", "DONE 0.1s\n"):
        list(reader.read(as_json(line, phase="building")))
    list(reader.read(as_json("Error during build: bad pattern", phase="failed")))
    assert reader.own_words == "bad pattern"
    list(
        reader.read(
            as_json("Error during build: The build ended with exit status 1.", phase="failed")
        )
    )
    assert reader.own_words == ""


@given(st.text() | st.dictionaries(st.text(), st.integers() | st.text()).map(json.dumps))
def test_any_output_is_text_without_newlines(text):
    for line in said(text.replace("\n", " ")):
        assert "\n" not in line.text


def test_long_line_is_cut_so_that_its_json_is_one_line():
    for piece in _pieces("\U0001f600" * 5000):
        assert len(as_json(piece, phase="building", asctime="x" * 100)) < 16_384


def test_context_works_without_chmod(tmp_path):
    (tmp_path / "Dockerfile").write_text(
        "FROM x\nCOPY --chmod=0755 /python3-login /usr/local/bin/\n"
    )
    (tmp_path / "python3-login").write_text("")
    do_without_chmod(tmp_path)
    assert "COPY /python3-login /usr" in (tmp_path / "Dockerfile").read_text()
    assert os.access(tmp_path / "python3-login", os.X_OK)


# --- The forecast ------------------------------------------------------------------------------


def recipe(*kinds: str, python: str = "") -> Recipe:
    files = tuple(RecipeFile(kind, kind, used=True) for kind in kinds)
    return Recipe(files=files, python=python)


def test_repo2docker_serves_all_of_its_files():
    assessment = assess(
        recipe("environment.yml", "apt.txt", "install.R", "postBuild", "start"), debian=False
    )
    assert all(action.supported for action in assessment.actions)
    assert assessment.findings == ()


def test_dockerfile_stands_alone():
    assessment = assess(recipe("Dockerfile", "environment.yml"), debian=True)
    assert "no other file is read" in assessment.actions[0].action
    assert "Not used" in assessment.actions[1].action
    assert assessment.problems == ()


def test_debian_build_pack_refuses_conda_by_name():
    assessment = assess(recipe("requirements.txt", "environment.yml"), debian=True)
    assert [problem.path for problem in assessment.problems] == ["environment.yml"]
    assert "requirements.txt" in assessment.problems[0].message


def test_debian_build_pack_has_one_python():
    wanted = recipe("requirements.txt", python="3.9")
    assert assess(wanted, debian=True, python="3.11").problems[0].code == "python_missing"
    assert assess(wanted, debian=True).problems == ()
    assert assess(wanted, debian=False, python="3.11").problems == ()


@pytest.mark.parametrize(
    ("files", "pack", "problems"),
    [
        ({"environment.yaml": b"dependencies: [numpy]"}, "conda", set()),
        ({"environment.yml": "dependencies: []".encode("utf-16")}, "conda", {"utf16"}),
        ({"environment.yml": "name: ü".encode("latin-1")}, "conda", {"not_utf8"}),
        ({"requirements.txt": "cowsay".encode("utf-16")}, "conda", set()),
        ({"requirements.txt": "cowsay # ü".encode("latin-1")}, "conda", {"not_utf8"}),
        ({"requirements.txt": "cowsay".encode("utf-16")}, "debian", set()),
        ({"requirements.txt": "cowsay # ü".encode("latin-1")}, "debian", {"not_utf8"}),
        ({"start": b'#!/bin/sh\r\nexec "$@"\r\n'}, "conda", {"line_ends"}),
        ({"start": b'exec "$@"\n'}, "debian", {"no_interpreter"}),
        ({"runtime.txt": b"r-4.4-2026-01-02"}, "conda", set()),
        ({"runtime.txt": b"r-4.4-2026-01-02"}, "debian", {"not_served"}),
    ],
)
def test_what_the_build_can_not_read_is_a_problem_before_it(tmp_path, files, pack, problems):
    found = read_recipe(make_checkout(tmp_path / "checkout", files))
    assessment = assess(found, debian=pack == "debian")
    assert {problem.code for problem in assessment.problems} == problems
    assert all(action.supported for action in assessment.actions)


def test_a_range_of_pythons_may_hold_the_one_of_the_base_image():
    wanted = recipe("requirements.txt", python=">=3.10,<3.12")
    assert assess(wanted, debian=True, python="3.11").problems == ()
    assert assess(wanted, debian=True, python="3.12").problems


# --- The verdict on an image -------------------------------------------------------------------

EXPECTED = Expected(1000, "/home/jovyan", SpecifierSet(">=5,<7"), 10)
GOOD = {"uid": "1000", "home": "/home/jovyan", "writable": "yes", "version": "6.1.1"}


def run_of(**changes: str | None) -> list[str]:
    told = {**GOOD, **changes}
    return ["noise", *(f"binder-smoke {k} {v}" for k, v in told.items() if v is not None)]


def test_good_image_tells_its_version():
    assert check(run_of(), EXPECTED) == "6.1.1"
    assert check(run_of(version="5.4.0"), EXPECTED) == "5.4.0"
    assert check(run_of(version="6.2.0.dev0"), EXPECTED) == "6.2.0.dev0"


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ([], "entrypoint"),
        (run_of(uid="0"), "user id 0"),
        (run_of(uid="1001"), "1000"),
        (run_of(writable=None), "can't write to the home directory, /home/jovyan"),
        (run_of(version=""), "outside the home"),
        (run_of(version="4.1.6"), r"4\.1\.6"),
        (run_of(version="7.0.0"), r"<7"),
        (run_of(version="unknown"), "unknown"),
    ],
)
def test_bad_image_is_refused_with_the_reason(lines, why):
    with pytest.raises(BuildFailed, match=why) as raised:
        check(lines, EXPECTED)
    assert raised.value.error_code == "smoke_test_failed"


def test_hub_takes_its_major_version_and_the_one_before():
    accepted = SpecifierSet(singleuser_of("6.1.1"))
    assert [v for v in ("4.1.6", "5.0.0", "5.4.0", "6.0.0", "7.0.0") if v in accepted] == [
        "5.0.0",
        "5.4.0",
        "6.0.0",
    ]


# --- Names -------------------------------------------------------------------------------------


def test_image_name_has_key_and_whole_sha():
    assert image_name("r.example/b/", "k" * 40, "c" * 40) == f"r.example/b/{'k' * 40}:{'c' * 40}"
    assert image_name("b/", "k-1", "10.5281/zenodo v1") == "b/k-1:10.5281_zenodo_v1"
    assert image_name("b/", "k", "...") == "b/k:latest"


def test_workspace_is_under_way_while_its_process_lives_and_makes_it(monkeypatch):
    assert not is_under_way(workspace_name("abc"))
    monkeypatch.setattr(build, "_UNDER_WAY", {workspace_name("abc")})
    assert is_under_way(workspace_name("abc"))
    assert not is_under_way("abc-1-12345")
    assert not is_under_way("something else")


def test_config_is_python_whatever_it_holds():
    nasty = "x\"\n'; import os #"
    text = write_config(
        Repo2DockerSettings(
            config={"BinderEngine": {"program": nasty, "extra_build_args": [nasty]}},
            config_file=nasty,
            debian=[nasty],
            user_id=1000,
            user_name="jovyan",
            appendix="",
            prefix="b/",
            push=False,
            smoke_test=None,
        ),
        {"container_name": nasty, "labels": {nasty: nasty}},
    )
    assert "import os" not in [line.strip() for line in text.splitlines()]
    compile(text, "config", "exec")


# --- The smoke test's path -----------------------------------------------------------------------


def test_smoke_test_leaves_out_one_optional_module_and_no_other():
    path = Path(smoke_test.__file__).parents[1] / "smoke_path"
    assert [file.name for file in path.glob("*.py")] == ["rfc3987_syntax.py"]
    done = subprocess.run(
        [sys.executable, "-c", "import jsonschema; import rfc3987_syntax"],
        env={"PYTHONPATH": str(path)},
        capture_output=True,
        text=True,
    )
    assert "ImportError: left out of the smoke test" in done.stderr


# --- The process of repo2docker ------------------------------------------------------------------


def test_repo2docker_process_loads_nothing_of_the_service_but_its_own_side():
    program = """
import sys
import repo2docker.__main__
before = set(sys.modules)
from jupyterhub_binder.backends.repo2docker.inside import buildpack, engine
print(*sorted({name.partition(".")[0] for name in set(sys.modules) - before}))
"""
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["jupyterhub_binder"]
