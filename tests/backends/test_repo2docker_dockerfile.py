"""What a trial reads of a Dockerfile, and the Dockerfile that it builds."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyterhub_binder.backends.r2d_dockerfile import Dockerfile, read_entrypoint

STAGES = """\
# syntax=docker/dockerfile:1
ARG VERSION=1
FROM python:3.12 AS wheels
RUN pip wheel .
ARG WHEELS=/wheels
ENTRYPOINT ["not", "this"]
from --platform=linux/amd64 base:${VERSION}
COPY --from=0 /wheels /wheels
  ARG NB_USER NB_UID=1000 \\
      SET="a b"
ENV NB_UID=${NB_UID} TEXT="SET=1 WHEELS=2"
ENV SET the rest WHEELS=1
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
    options, _, command = after.splitlines()[-1].partition(" [")
    assert options == (
        "RUN --mount=type=bind,rw,from=binder-trial-home,source=/home,target=/home/me"
    )
    # What no variable of the image has stays behind.
    unset = ["-u", "NB_USER", "-u", "VERSION", "-u", "WHEELS"]
    assert json.loads(f"[{command}")[:-1] == ["env", *unset, "tini", "--", "sh", "-c"]


def test_lines_of_windows_stay_as_they_are():
    text = 'FROM base\r\nRUN <<EOF\r\na\r\nEOF\r\nENTRYPOINT ["/a"]\r\n'
    dockerfile = Dockerfile(text)
    assert (dockerfile.base, read_entrypoint(dockerfile.entrypoint)) == ("base", ["/a"])
    assert text in dockerfile.with_trial(["/a"], home="/home/me", user_id=1)


@pytest.mark.parametrize(
    "body", ["from pathlib import Path", "FROM a WHERE b", "FROM a, b", "FROM"]
)
def test_other_languages_are_no_stages(body):
    dockerfile = Dockerfile(f"FROM base\nRUN python3 <<EOF\n{body}\nEOF\n")
    assert dockerfile.base == "base"


@given(st.text(alphabet=st.sampled_from('FROM ENTRYPOINT AS a-[]"=\\\r\n\t\0')) | st.text())
def test_any_text_is_read_and_built_whole(text):
    dockerfile = Dockerfile(text)
    read_entrypoint(dockerfile.entrypoint)
    home = "FROM scratch AS binder-trial-home\nUSER 1:1\nWORKDIR /home\n"
    before, _, after = dockerfile.with_trial([], home="/h", user_id=1).partition(home)
    assert (before + after).rpartition("\nRUN ")[0] == text


@pytest.mark.parametrize(
    "line",
    ["ENTRYPOINT a{}b", "FROM a{}b c", "FROM --a{}", "ARG a{}b", "ENV a{}b", "ENV '{}", "{}RUN"],
)
@pytest.mark.parametrize("filling", [" ", "a", "--a ", "a=", "\\ "])
def test_long_lines_take_little_time(line, filling):
    text = f"FROM a\n{line.format(filling * 30_000)}\n"
    begun = time.process_time()
    Dockerfile(text).with_trial([], home="/home", user_id=1)
    assert time.process_time() - begun < 2


def test_text_that_is_too_long_is_not_looked_at():
    assert Dockerfile(f"FROM a\n{2**17 * '#'}\n").base == ""


def test_deep_entrypoint_is_none_that_is_understood():
    assert read_entrypoint(100_000 * "[") is None
