"""The trial of an image while it is written, with a program that prints what BuildKit would."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import psutil
import pytest
from repo2docker.engine import BuildError

from jupyterhub_binder.backends import r2d_trial
from jupyterhub_binder.backends.r2d_engine import BinderEngine
from jupyterhub_binder.backends.r2d_trial import Report, Trial, Wanted
from tests.waiting import wait_until

ENTRYPOINT = ["/usr/local/bin/repo2docker-entrypoint"]
DOCKERFILE = f"FROM scratch\nENTRYPOINT {json.dumps(ENTRYPOINT)}\n"
BUILD = ["#1 [1/1] FROM scratch\n", "#2 exporting to image\n", "#2 DONE 0.1s\n"]
SAID = ["binder-smoke uid 1000", "binder-smoke writable yes", "binder-smoke version 6.1.1"]


class Stage:
    """A context, and a trial whose build is a Python program."""

    def __init__(
        self, folder: Path, program: str, dockerfile: str = DOCKERFILE, bases: str = ""
    ) -> None:
        self.report = folder / "trial.json"
        self.asked: list[str] = []
        self._program = program
        self._bases = bases
        self.started: list[subprocess.Popen[bytes]] = []
        self.trial = Trial(
            Wanted("/home/jovyan", 1000, 60, str(self.report)),
            dockerfile,
            start=self._start,
            ask_entrypoint=self._ask,
        )

    def _ask(self, image: str) -> str:
        self.asked.append(image)
        return self._bases

    def _start(self, dockerfile: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", self._program, dockerfile]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, process_group=0)
        self.started.append(process)
        return process

    def run(self, lines: Iterator[str] | None = None) -> list[str]:
        return list(self.trial.beside(iter(BUILD) if lines is None else lines))


def saying(*lines: str, then: str = "raise SystemExit(1)") -> str:
    return f"print({chr(10).join(lines)!r}, flush=True)\n{then}"


def test_what_a_trial_says_is_kept_without_what_buildkit_puts_before_it(tmp_path):
    program = saying(
        "#2 [2/2] RUN binder-smoke uid 0", SAID[0], *(f"#2 0.12 {line}" for line in SAID)
    )
    stage = Stage(tmp_path, program)
    lines = stage.run()
    assert [line for line in lines if line not in BUILD] == [
        "Trying whether a server starts from the image, while it is written\n"
    ]
    assert Report.read(stage.report) == Report(ENTRYPOINT, SAID)


def test_trial_builds_the_same_with_a_step_more(tmp_path):
    words = "sys.argv[1].splitlines()[-1].split()[:2]"
    stage = Stage(tmp_path, f"import sys; print('#1 0.1 binder-smoke last', *{words})")
    stage.run()
    report = Report.read(stage.report)
    assert report is not None
    assert report.said[0].startswith("binder-smoke last RUN --mount=type=bind,rw,from=binder-trial")


def test_text_without_a_stage_is_not_tried_beside(tmp_path):
    stage = Stage(tmp_path, "raise SystemExit(1)", 'ENTRYPOINT ["a"]\n')
    assert stage.run() == BUILD
    assert stage.started == []


def test_trial_that_cannot_begin_is_not_begun_again(tmp_path):
    stage = Stage(tmp_path, "raise SystemExit(1)", "FROM a\0b\n")

    def ask(image: str) -> str:
        stage.asked.append(image)
        raise ValueError("embedded null byte")

    stage.trial._ask_entrypoint = ask
    assert stage.run(iter([*BUILD, *BUILD])) == [*BUILD, *BUILD]
    assert stage.asked == ["a\0b"]


@pytest.mark.parametrize(
    ("bases", "entrypoint"), [('["tini", "--"]', ["tini", "--"]), ("null", []), ("", [])]
)
def test_dockerfile_without_an_entrypoint_has_that_of_its_base(tmp_path, bases, entrypoint):
    stage = Stage(tmp_path, saying(f"#2 0.1 {SAID[2]}"), "FROM base:1\n", bases)
    stage.run()
    assert Report.read(stage.report) == Report(entrypoint, SAID[2:])
    assert stage.asked == ["base:1"]


def test_image_that_became_another_one_has_no_report(tmp_path):
    stage = Stage(tmp_path, saying(*(f"#2 0.12 {line}" for line in SAID)))

    def lines() -> Iterator[str]:
        yield from BUILD
        stage.trial.forget()

    stage.run(lines())
    assert Report.read(stage.report) is None


def test_trial_ends_with_its_last_word(tmp_path):
    lines = [f"#2 0.12 {line}" for line in SAID]
    stage = Stage(tmp_path, saying(*lines, then="import time; time.sleep(1000)"))
    stage.run()
    assert stage.started[0].returncode is not None
    assert Report.read(stage.report) == Report(ENTRYPOINT, SAID)


def test_image_that_talks_without_end_fills_no_memory(tmp_path):
    program = "for n in range(10_000): print(f'#2 0.1 binder-smoke x{n} ' + 9_000 * 'y')"
    stage = Stage(tmp_path, program)
    stage.run()
    report = Report.read(stage.report)
    assert report is not None
    assert len(report.said) == 100


COMMANDS = (
    f"FROM scratch\nRUN a \\\n  RUN b\nCOPY c .\nRUN d\nENTRYPOINT {json.dumps(ENTRYPOINT)}\n"
)


@pytest.mark.parametrize(
    ("lines", "begins_at"),
    [
        (["#5 [2/4] RUN a\n", "#5 0.1 [4/4] RUN d\n", "#7 [4/4] RUN d\n", *BUILD[1:]], 2),
        # BuildKit tells steps that it has already in any order, and some more than once.
        (["#7 [4/4] RUN d\n", "#7 CACHED\n", "#5 [2/4] RUN a\n", *BUILD[1:]], 2),
        (["#5 [2/4] RUN a\n", "#5 DONE 0.1s\n", "#5 [2/4] RUN a\n", *BUILD[1:]], 3),
        (["#5 [stage-1 2/4] RUN a\n", "#6 [base 4/4] RUN d\n", *BUILD[1:]], 1),
    ],
)
def test_trial_begins_with_the_last_command_or_else_when_the_image_is_written(
    tmp_path, lines, begins_at
):
    stage = Stage(tmp_path, saying(*(f"#2 0.1 {line}" for line in SAID)), COMMANDS)
    started = []
    for line in stage.trial.beside(iter(lines)):
        started += [line] if stage.started else []
    begun = "Trying whether a server starts from the image, while it is written\n"
    wanted = lines[begins_at:]
    wanted.insert(wanted.index(BUILD[1]), begun)
    assert started == wanted
    assert Report.read(stage.report) == Report(ENTRYPOINT, SAID)


def test_build_that_fails_in_its_last_command_ends_the_trial(tmp_path):
    stage = Stage(tmp_path, "import time; time.sleep(1000)", COMMANDS)

    def failing() -> Iterator[str]:
        yield from ("#5 [2/4] RUN a\n", "#7 [4/4] RUN d\n", "#7 ERROR: exit code: 1\n")
        raise RuntimeError("the build failed")

    with pytest.raises(RuntimeError, match="the build failed"):
        stage.run(failing())
    assert stage.started[0].returncode is not None
    assert Report.read(stage.report) is None
    assert not stage.trial.was_in_the_way


@pytest.mark.parametrize(
    "said",
    [
        "ERROR: failed to solve: failed to get edge: inconsistent graph state\n",
        "#9 ERROR: failed to compute cache key: failed to get state for index 0 on [4/4] RUN d\n",
    ],
)
def test_build_that_loses_a_step_may_do_so_through_its_trial(tmp_path, said):
    stage = Stage(tmp_path, "raise SystemExit(1)", COMMANDS)
    stage.run(iter([said]))  # before a trial is begun it is not its fault
    assert not stage.trial.was_in_the_way
    stage.run(iter(["#5 [2/4] RUN a\n", "#7 [4/4] RUN d\n", said]))
    assert stage.trial.was_in_the_way


def test_failed_build_is_not_tried(tmp_path):
    stage = Stage(tmp_path, "raise SystemExit(1)")

    def failing() -> Iterator[str]:
        yield BUILD[0]
        raise RuntimeError("the build failed")

    with pytest.raises(RuntimeError, match="the build failed"):
        stage.run(failing())
    assert stage.started == []
    assert Report.read(stage.report) is None


def test_build_that_fails_while_its_image_is_written_ends_the_trial(tmp_path):
    stage = Stage(tmp_path, "import time; time.sleep(1000)")

    def failing() -> Iterator[str]:
        yield from BUILD
        raise RuntimeError("no space left on device")

    with pytest.raises(RuntimeError):
        stage.run(failing())
    assert stage.started[0].returncode is not None
    assert Report.read(stage.report) is None


def test_trial_that_says_nothing_in_time_is_ended_and_is_no_verdict(tmp_path, monkeypatch):
    monkeypatch.setattr(r2d_trial, "_PATIENCE_SECONDS", 0.2)
    program = saying("#2 [2/2] RUN sh", "#2 0.1 not ours", then="import time; time.sleep(1000)")
    stage = Stage(tmp_path, program)
    stage.run()
    assert stage.started[0].returncode is not None
    assert Report.read(stage.report) is None


def test_trial_that_begins_to_speak_has_all_its_time(tmp_path, monkeypatch):
    monkeypatch.setattr(r2d_trial, "_PATIENCE_SECONDS", 3)
    slow = f"import time; time.sleep(4); print('#2 0.5 {SAID[2]}')"
    stage = Stage(tmp_path, saying(*(f"#2 0.1 {line}" for line in SAID[:2]), then=slow))
    stage.run()
    report = Report.read(stage.report)
    assert report is not None
    assert report.said == SAID


def test_plugin_of_a_program_ends_with_the_trial(tmp_path, monkeypatch):
    monkeypatch.setattr(r2d_trial, "_PATIENCE_SECONDS", 0.5)
    # Docker's program ignores SIGTERM while its plugin runs.
    plugin = "import time; time.sleep(1000)"
    program = f"""
import signal, subprocess, sys
signal.signal(signal.SIGTERM, lambda *_: None)
child = subprocess.Popen([sys.executable, "-c", {plugin!r}])
open({str(tmp_path / "pid")!r}, "w").write(str(child.pid))
child.wait()
"""
    stage = Stage(tmp_path, program)

    def lines() -> Iterator[str]:
        yield from BUILD
        wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())

    stage.run(lines())
    pid = int((tmp_path / "pid").read_text())
    wait_until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie")


def test_image_whose_entrypoint_is_for_a_shell_is_not_tried_beside(tmp_path):
    stage = Stage(tmp_path, "raise SystemExit(1)", "FROM scratch\nENTRYPOINT echo\n")
    assert stage.run() == BUILD
    assert stage.started == []


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"entrypoint": []}', '{"more": 1}'])
def test_half_a_report_is_none(tmp_path, text):
    (tmp_path / "trial.json").write_text(text)
    assert Report.read(tmp_path / "trial.json") is None


def test_repo2docker_process_loads_nothing_that_it_does_not_need():
    program = """
import sys
import repo2docker.__main__
before = set(sys.modules)
from jupyterhub_binder.backends import r2d_buildpack, r2d_engine
print(*sorted({name.partition(".")[0] for name in set(sys.modules) - before}))
"""
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["jupyterhub_binder"]


@pytest.mark.parametrize(
    ("builder", "mode", "command"),
    [
        ("buildx", 0o755, ["{path}", "build"]),
        ("buildx", 0o644, ["/bin/docker", "buildx", "build"]),  # it has gone, or was never known
        ("buildkit", 0o755, ["/bin/docker", "build"]),
        ("podman", 0o755, ["/bin/docker", "build"]),
    ],
)
def test_plugin_is_run_by_itself_while_it_is_there(tmp_path, builder, mode, command):
    path = tmp_path / "docker-buildx"
    path.touch(mode)
    engine = BinderEngine(parent=None)
    engine.program, engine.builder, engine.buildx = "/bin/docker", builder, str(path)
    assert engine._find_command() == [word.format(path=path) for word in command]


def test_report_that_is_not_there_is_none(tmp_path):
    assert Report.read(tmp_path / "trial.json") is None


PROGRAM = """#!/bin/sh
case "$*" in *trial-*) exit 1;; esac
echo "#7 [1/1] RUN d"
echo build >> {builds}
if [ "$(wc -l < {builds})" = 1 ]; then echo "{said}"; exit 1; fi
"""


@pytest.fixture
def build(tmp_path):
    """Return what builds with a program whose first build says something and fails."""

    def make(said: str) -> list[str]:
        program = tmp_path / "docker"
        program.write_text(PROGRAM.format(builds=tmp_path / "builds", said=said))
        program.chmod(0o755)
        wanted = asdict(Wanted("/home/jovyan", 1000, 60, str(tmp_path / "trial.json")))
        engine = BinderEngine(parent=None)
        engine.program, engine.trial = str(program), wanted
        (tmp_path / "Dockerfile").write_text(
            f"FROM scratch\nRUN d\nENTRYPOINT {json.dumps(ENTRYPOINT)}\n"
        )
        context = io.BytesIO()
        with tarfile.open(fileobj=context, mode="w") as archive:
            archive.add(tmp_path / "Dockerfile", "Dockerfile")
        context.seek(0)
        return list(engine.build(fileobj=context, tag="a"))

    return make


def test_build_that_a_trial_was_in_the_way_of_is_made_again_without_one(build, tmp_path):
    lines = build("ERROR: failed to solve: failed to get edge: inconsistent graph state")
    assert "BuildKit lost a step of this build; once more, without a trial beside it\n" in lines
    assert (tmp_path / "builds").read_text() == "build\nbuild\n"
    assert Report.read(tmp_path / "trial.json") is None


@pytest.mark.parametrize(
    "said", ["ERROR: exit code: 1", "#7 0.1 ERROR: inconsistent graph state, says a repository"]
)
def test_build_that_fails_of_itself_is_made_once(build, tmp_path, said):
    with pytest.raises(BuildError):
        build(said)
    assert (tmp_path / "builds").read_text() == "build\n"
