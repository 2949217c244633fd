"""What a trial reads of a Dockerfile, and the Dockerfile that it builds."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyterhub_binder.backends.r2d_dockerfile import Dockerfile, read_entrypoint

STAGES = """\
# syntax=docker/dockerfile:1
ARG VERSION=1
FROM python:3.12 AS wheels
RUN pip wheel .
ENTRYPOINT ["not", "this"]
from --platform=linux/amd64 base:${VERSION}
COPY --from=0 /wheels /wheels
run pip install /wheels/* \\
    FROM nothing \\
    RUN nothing \\
    ENTRYPOINT ["nothing"]
"""


def test_last_stage_is_the_image():
    dockerfile = Dockerfile(STAGES)
    assert dockerfile.base == "base:${VERSION}"
    assert dockerfile.commands == 2
    assert dockerfile.entrypoint == ""


@pytest.mark.parametrize(
    ("stage", "entrypoint"),
    [
        ('ENTRYPOINT ["a"]\nENTRYPOINT ["b", "-c"]\nCMD ["c"]\n', ["b", "-c"]),
        ('entrypoint   ["a"]  \n', ["a"]),
        ("ENTRYPOINT []\n", []),
        ('ENTRYPOINT ["a"]\nENTRYPOINT ["b", \n', None),
        ('ENTRYPOINT ["a"\\]\n', None),
        ("ENTRYPOINT [1]\n", None),
        ("ENTRYPOINT 1\n", None),
        ("ENTRYPOINT exec a\n", None),
    ],
)
def test_entrypoint_is_the_last_that_the_last_stage_sets(stage, entrypoint):
    assert read_entrypoint(Dockerfile(f"FROM scratch\n{stage}").entrypoint) == entrypoint


@pytest.mark.parametrize("stage", ['RUN echo ENTRYPOINT ["a"]\n', "", 'CMD ["a"]\n'])
def test_entrypoint_that_is_not_set_is_the_bases(stage):
    assert Dockerfile(f'FROM a\nENTRYPOINT ["a"]\nFROM scratch\n{stage}').entrypoint == ""


@given(st.lists(st.text(min_size=1), min_size=1))
def test_any_entrypoint_that_is_a_list_of_words_is_found(words):
    dockerfile = Dockerfile(f"FROM scratch\nENTRYPOINT {json.dumps(words)}\n")
    assert read_entrypoint(dockerfile.entrypoint) == words


def test_trial_builds_the_same_stages_and_tries_the_last():
    text = Dockerfile(STAGES).with_trial(["tini", "--"], home="/home/me", user_id=1001)
    before, _, rest = text.partition("FROM scratch AS binder-trial-home\n")
    home, _, after = rest.partition("WORKDIR /home\n")
    assert home == "USER 1001:1001\n"
    begin, end = STAGES.split("from ")
    assert before == begin
    assert after.startswith(f"from {end}")
    tries, fails = after.splitlines()[-2:]
    options, _, command = tries.partition(" [")
    assert options == (
        "RUN --mount=type=bind,rw,from=binder-trial-home,source=/home,target=/home/me"
    )
    assert json.loads(f"[{command}")[:4] == ["tini", "--", "sh", "-c"]
    assert fails == 'RUN ["sh", "-c", "exit 1"]'


@given(st.text())
def test_any_text_is_read(text):
    dockerfile = Dockerfile(text)
    assert dockerfile.commands >= 0
    assert len(dockerfile.with_trial([], home="/home", user_id=1)) > len(text)
