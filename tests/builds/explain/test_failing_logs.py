"""Logs of real failures, each with its right answer. tests/data/failures/README.md says whence."""

from __future__ import annotations

from functools import cache

import pytest

from jupyterhub_binder.builds.explain import Explainer, Failure
from jupyterhub_binder.builds.explain.index import RuleIndex
from jupyterhub_binder.builds.explain.lines import read_lines
from jupyterhub_binder.builds.explain.rules import Weight, own_rules
from jupyterhub_binder.model import Reason
from jupyterhub_binder.model.text import Message
from tests.kit.failing_logs import FOLDER, read_answers, read_log

LEAST_EXPLAINED = 0.9


@cache
def explained(name: str, code: str) -> Reason:
    explainer = Explainer(own_rules())
    finder = explainer.finder()
    finder.read(enumerate(read_log(name), 1))
    return explainer.explain(Failure(Reason(code, Message("It failed."))), finder)


FAILED = [answer for answer in read_answers() if not answer.went_well]
WENT_WELL = [answer for answer in read_answers() if answer.went_well]


@pytest.mark.parametrize("answer", FAILED, ids=lambda answer: answer.name)
def test_no_failure_is_explained_wrongly(answer) -> None:
    reason = explained(answer.name, answer.code)
    found = reason.explanation.rule
    assert found in ("", answer.rule, *BY_CODE), f"{reason.seq}: {reason.message}"
    if found == answer.rule and answer.line:
        assert reason.seq == answer.line, reason.explanation.line


BY_CODE = ("post-build-failed", "push-failed")
"""Rules that keep the service's own sentence, where the log says no more."""


@pytest.mark.parametrize("answer", WENT_WELL, ids=lambda answer: answer.name)
def test_no_warning_of_a_build_that_went_well_is_a_cause(answer) -> None:
    finder = Explainer(own_rules()).finder()
    finder.read(enumerate(read_log(answer.name), 1))
    assert finder.hit is None or finder.hit.rule.weight is not Weight.CAUSE, finder.hit


def test_nine_in_ten_failures_are_explained() -> None:
    told = [a.name for a in FAILED if explained(a.name, a.code).explanation.rule == a.rule]
    share = len(told) / len(FAILED)
    print(f"{len(told)} of {len(FAILED)} failing logs explained ({share:.0%})")
    assert len(FAILED) >= 60
    assert share >= LEAST_EXPLAINED, sorted({a.name for a in FAILED} - set(told))


def test_no_pattern_is_passed_over_because_of_its_words() -> None:
    rules = own_rules()
    index = RuleIndex(rules)
    every = [(rule, pattern) for rule in rules for pattern in rule.match]
    for path in FOLDER.glob("*.log"):
        for line in read_lines(enumerate(path.read_text().split("\n"), 1)):
            matching = [p for _, p in every if p.match(line.text) is not None]
            tried = [p for _, p in index.candidates(line.text) if p.match(line.text) is not None]
            assert tried == matching, line


def test_every_log_has_an_answer() -> None:
    names = sorted(path.stem for path in FOLDER.glob("*.log"))
    assert names == sorted(a.name for a in read_answers() if not a.recording)


def test_logs_are_short_and_tell_nothing_of_a_machine() -> None:
    for path in FOLDER.glob("*.log"):
        text = path.read_text()
        assert len(text.splitlines()) <= 200, path.name
        for word in ("/root/", "/tmp/w", "127.0.0.1:1", "/work"):
            assert word not in text, (path.name, word)
