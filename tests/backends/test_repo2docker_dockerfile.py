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


def tried(text: str) -> str:
    return Dockerfile(text).with_trial(["tini", "--"], home="/home/me", user_id=1001)


def test_trial_is_a_stage_more_on_the_last_one():
    begin, end = STAGES.split("base:${VERSION}")
    same = f"{begin}base:${{VERSION}} AS binder-trial-image{end}\n"
    text = tried(STAGES)
    assert text.startswith(same)
    home, user, work, stage, command = text.removeprefix(same).splitlines()
    assert (home, user) == ("FROM scratch AS binder-trial-home", "USER 1001:1001")
    assert (work, stage) == ("WORKDIR /home", "FROM binder-trial-image")
    options, _, words = command.partition(" [")
    assert options == (
        "RUN --mount=type=bind,rw,from=binder-trial-home,source=/home,target=/home/me"
    )
    # Its first word is the entrypoint itself: whether that can be run is a part of the question.
    assert json.loads(f"[{words}")[:-1] == ["tini", "--", "sh", "-c"]


def test_last_stage_that_has_a_name_keeps_it():
    text = "FROM base AS one\nfrom one as Two_2.x\nRUN a\n"
    assert tried(text).startswith(f"{text}\nFROM scratch AS")
    assert "\nFROM Two_2.x\nRUN --mount" in tried(text)


def test_lines_of_windows_stay_as_they_are():
    text = 'FROM base\r\nRUN a \\\r\n  b\r\nENTRYPOINT ["/a"]\r\n'
    dockerfile = Dockerfile(text)
    assert (dockerfile.base, read_entrypoint(dockerfile.entrypoint)) == ("base", ["/a"])
    assert text.replace("FROM base", "FROM base AS binder-trial-image") in tried(text)


@pytest.mark.parametrize(
    "text",
    [
        "FROM base\nRUN python3 <<EOF\nFROM other AS name\nEOF\n",
        "FROM base\nRUN a \\\n# why\n  FROM b\n",
        "FROM base\n  FROM other\n",
        "FROM base\nFROM \\\n  other\n",
        "FROM base\nFR\\\nOM other\n",
        "# escape=`\nFROM base\nFROM `\n  other\n",
        "#Escape = `\nFROM base\n",
        "FROM base\nONBUILD RUN b\n",
        "FROM base\nRUN a \\",
        "FROM base\nRUN a \\\n\n",
        "FROM base AS ${NAME}\n",
        "RUN a\n",
        "",
    ],
)
def test_where_the_last_stage_begins_is_not_guessed(text):
    assert Dockerfile(text).base == ""


@given(st.text(alphabet=st.sampled_from('FROM ENTRYPOINT AS a-[]"=\\\r\n\t\0')) | st.text())
def test_any_text_is_read_and_built_whole(text):
    dockerfile = Dockerfile(text)
    read_entrypoint(dockerfile.entrypoint)
    if dockerfile.base:
        assert tried(text).replace(" AS binder-trial-image", "", 1).startswith(f"{text}\n")


@pytest.mark.parametrize(
    "line",
    [
        "ENTRYPOINT a{}b",
        "FROM a{}b c",
        "FROM --a{}",
        "FROM a AS {}b",
        "{}FROM",
        "{}RUN",
        "RUN \\{}",
    ],
)
@pytest.mark.parametrize("filling", [" ", "a", "--a ", "a=", "\\ "])
def test_long_lines_take_little_time(line, filling):
    text = f"FROM a\n{line.format(filling * 30_000)}\n"
    begun = time.process_time()
    Dockerfile(text)
    assert time.process_time() - begun < 2


def test_text_that_is_too_long_is_not_looked_at():
    assert Dockerfile(f"FROM a\n{2**17 * '#'}\n").base == ""


def test_deep_entrypoint_is_none_that_is_understood():
    assert read_entrypoint(100_000 * "[") is None
