"""What a container build's lines say of where it is."""

from __future__ import annotations

import pytest

from jupyterhub_binder.backends.binderhub.events import EventReader
from jupyterhub_binder.backends.repo2docker.log import LogReader
from jupyterhub_binder.backends.repo2docker.steps import read_step
from jupyterhub_binder.model import Line


@pytest.mark.parametrize(
    ("line", "step"),
    [
        (
            "Step 1/12 : FROM docker.io/library/ubuntu:24.04",
            "step 1 of 12, fetching the base image",
        ),
        (
            "STEP 3/9: RUN pip install --no-cache-dir -r x.txt",
            "step 3 of 9, installing Python packages",
        ),
        (
            "#14 [ 5/12] RUN apt-get -qq update && apt-get install x",
            "step 5 of 12, installing Debian packages",
        ),
        ("#9 [stage-0 10/12] RUN ./binder/postBuild", "step 10 of 12, running postBuild"),
        (
            "\x1b[36mStep 40/56 : RUN TIMEFORMAT='%3R' bash -c 'time ${MAMBA_EXE} env update\x1b[0m",
            "step 40 of 56, installing conda packages",
        ),
        ("Step 2/3 : ENV A=b", "step 2 of 3"),
        ("#14 0.351 Step 2/3 : ENV A=b", ""),
        ("#1 [internal] load build definition from Dockerfile", ""),
        ("Collecting numpy", ""),
        ("", ""),
    ],
)
def test_line_that_begins_a_step_says_which(line: str, step: str) -> None:
    assert read_step(line) == step


def test_log_of_repo2docker_and_events_of_binderhub_bring_steps() -> None:
    event = '{"message": "Step 2/3 : ENV A=b\\n", "phase": "building"}'
    waits = '{"message": "Waiting\\n", "phase": "waiting"}'
    assert [line.step for line in LogReader().read(event)] == ["step 2 of 3"]
    reader = EventReader()
    said = [each for data in (waits, event) for each in reader.read(data)]
    steps = [each.step for each in said if isinstance(each, Line)]
    assert steps == ["waiting for BinderHub to begin", "step 2 of 3"]
