"""The words of pages for environments, their newest builds and their servers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from jupyterhub_binder.builds.service import BuildProgress
from jupyterhub_binder.environments.service import Limit
from jupyterhub_binder.launches.service import Server
from jupyterhub_binder.model import BuildState, Environment, Launch, LaunchState, Phase, Spec
from jupyterhub_binder.model.admin import Action, AuditEntry
from jupyterhub_binder.web.pages.admin.audit import AuditView
from jupyterhub_binder.web.pages.previews import _limit_words
from jupyterhub_binder.web.pages.templates import make_templates
from jupyterhub_binder.web.pages.views import (
    BuildView,
    EnvironmentView,
    LaunchView,
    Pill,
    ServerView,
)
from tests.kit.canned import NOW, make_build, make_environment

BUILT = replace(make_build(1, BuildState.BUILT, Phase.BUILT), image="first")


def environment_of(state: BuildState, *, current: bool) -> Environment:
    newest = make_build(2, state, Phase.BUILDING)
    return make_environment(1, "x", newest, BUILT if current else None)


@pytest.mark.parametrize(
    ("state", "alone", "with_an_earlier_one", "newest"),
    [
        (BuildState.PENDING, "Queued", "Ready", "Queued"),
        (BuildState.RUNNING, "Building", "Ready", "Building"),
        (BuildState.FAILED, "Failed", "Ready", None),
        (BuildState.CANCELLED, "Not built yet", "Ready", None),
    ],
)
def test_environment_that_can_start_is_ready_whatever_its_newest_build_is(
    state: BuildState, alone: str, with_an_earlier_one: str, newest: str | None
):
    fresh = EnvironmentView(environment_of(state, current=False))
    assert (fresh.pill.word, fresh.build_pill) == (alone, None)
    usable = EnvironmentView(environment_of(state, current=True))
    assert usable.pill.word == with_an_earlier_one
    assert (usable.build_pill.word if usable.build_pill else None) == newest
    assert usable.launch_label == "Launch"
    assert usable.shown is usable.environment.current


def shows_a_build(pill: Pill | None) -> bool:
    part: Any = make_templates().get_template("binder/macros.html").module
    return pill is not None and "data-building" in part.pill(pill)


@pytest.mark.parametrize("state", BuildState)
def test_page_says_which_states_are_of_a_build_that_goes_on(state: BuildState):
    going_on = not state.finished
    assert shows_a_build(BuildView(make_build(2, state, Phase.BUILDING)).pill) == going_on
    usable = EnvironmentView(environment_of(state, current=True))
    assert not shows_a_build(usable.pill)
    assert shows_a_build(usable.build_pill) == going_on
    assert shows_a_build(EnvironmentView(environment_of(state, current=False)).pill) == going_on


@pytest.mark.parametrize("state", LaunchState)
def test_only_a_launch_that_waits_is_of_a_build_that_goes_on(state: LaunchState):
    launch = Launch("x", "e", "ada", "", "", state, NOW)
    assert shows_a_build(LaunchView(launch).pill) == (state is LaunchState.PENDING)


@pytest.mark.parametrize(
    ("number", "name", "outdated", "words"),
    [
        (2, "", False, "Running"),
        (1, "", True, "Running in build 1"),
        (1, "gpu", True, "Running in build 1 · gpu"),
        (None, "", True, "Running in another build"),
        (None, "gpu", False, "Running · gpu"),
    ],
)
def test_server_says_in_which_build_it_runs(
    number: int | None, name: str, outdated: bool, words: str
):
    server = Server(
        name, name, True, "/user/ada/", None, "x", "x", build_number=number, outdated=outdated
    )
    view = ServerView(server)
    assert (view.words, view.outdated, view.number) == (
        words,
        outdated,
        number if outdated else None,
    )


@pytest.mark.parametrize(
    ("step", "elapsed", "words", "late"),
    [
        ("", 3.0, "building the environment", False),
        ("running postBuild", 9.0, "running postBuild", False),
        ("running postBuild", 11.0, "running postBuild", True),
    ],
)
def test_running_build_says_what_it_does_and_when_it_takes_longer_than_usual(
    step: str, elapsed: float, words: str, late: bool
):
    build = make_build(2, BuildState.RUNNING, Phase.BUILDING)
    view = BuildView(build, BuildProgress(None, 10.0, elapsed, 1, step))
    assert (view.words, view.late) == (words, late)


@pytest.mark.parametrize(
    ("state", "started", "steps"),
    [
        (BuildState.CANCELLED, True, "done done off later later"),
        (BuildState.CANCELLED, False, "off later later later later"),
        (BuildState.FAILED, False, "bad later later later later"),
        (BuildState.BUILT, True, "done done done done done"),
    ],
)
def test_steps_say_how_far_a_build_came(state: BuildState, started: bool, steps: str):
    build = make_build(2, state, Phase.BUILT if state is BuildState.BUILT else Phase.FAILED)
    view = BuildView(build if started else replace(build, started=None))
    assert " ".join(step["status"] for step in view.steps) == steps


@pytest.mark.parametrize(
    ("used", "most", "said"), [(0, 10, False), (7, 10, False), (8, 10, True), (0, None, False)]
)
def test_limit_of_builds_is_said_once_most_of_it_is_used(used: int, most: int | None, said: bool):
    assert bool(_limit_words(Limit(most, used))) == said


@pytest.mark.parametrize(
    ("ref", "name", "said"),
    [
        ("HEAD", "", "default branch"),
        ("HEAD", "trunk", '<code title="default branch"><bdi>trunk</bdi></code>'),
        ("main", "trunk", "<code><bdi>main</bdi></code>"),
    ],
)
def test_ref_that_nobody_typed_is_the_default_branch(ref: str, name: str, said: str):
    part: Any = make_templates().get_template("binder/macros.html").module
    assert str(part.branch(Spec("gh", "org/name", ref), name)).strip() == said


@pytest.mark.parametrize(
    ("action", "path"),
    [
        (Action.BUILD_CANCEL, "builds/x"),
        (Action.BUILD_FORCE, "environments/x"),
        (Action.ENVIRONMENT_DELETE, "environments/x"),
        (Action.RULE_ADD, ""),
    ],
)
def test_entry_of_the_audit_log_leads_to_what_it_is_about(action: Action, path: str):
    assert AuditView(AuditEntry(NOW, "ada", action, "x")).path == path


@pytest.mark.parametrize(
    ("action", "detail", "target", "rest"),
    [
        (Action.ENVIRONMENT_DELETE, {"name": "Tides", "owner": "bob"}, "Tides", ["owner"]),
        (Action.BUILD_CANCEL, {"repository": "x.org/a", "of": "bob"}, "x.org/a", ["of"]),
        (Action.BUILD_FORCE, {"repository": "x.org/a"}, "id", ["repository"]),
        (Action.RULE_ADD, {"name": "Tides"}, "id", ["name"]),
    ],
)
def test_entry_of_the_audit_log_names_what_it_is_about(
    action: Action, detail: dict[str, str], target: str, rest: list[str]
):
    view = AuditView(AuditEntry(NOW, "ada", action, "id", detail))
    assert view.target == target
    assert [name for name, _ in view.details] == rest
