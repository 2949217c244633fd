"""The commands for webhooks and schedules."""

from __future__ import annotations

import json

import pytest

from tests.cli.test_cli import run, service  # noqa: F401
from tests.kit.cli_server import Service


@pytest.fixture
def course(service: Service) -> Service:  # noqa: F811
    service.add("eeeeeeeee3", "course", None, "unbuilt")
    return service


def test_a_hook_prints_address_and_secret_once(run, course: Service) -> None:  # noqa: F811
    made = run("hooks", "course", "--create", "github")
    address, secret = made.stdout.strip().split("\t")
    assert address.endswith("/services/binder/hooks/4f1c")
    assert secret == "whsec_x"
    listed = run("hooks", "course")
    assert listed.stdout.split("\t")[:3] == ["4f1c", "github", address]
    assert "whsec_x" not in listed.stdout
    assert run("hooks", "course", "--new-secret", "4f1c").stdout.endswith("\twhsec_y\n")
    run("hooks", "course", "--remove", "4f1c")
    assert "no webhooks" in run("hooks", "course").stderr


def test_a_token_comes_from_standard_input_and_is_shown_nowhere(
    run,  # noqa: F811
    course: Service,
) -> None:
    run("hooks", "course", "--create", "github")
    done = run("hooks", "course", "--status-token", "4f1c", input="github_pat_secret\n")
    assert course.prebuild.tokens == ["github_pat_secret"]
    assert done.stdout.strip().split("\t")[-1] == "2026-01-02T00:00:00Z"
    assert "Status of 0f1e2d3: github.com refused the token (401)." in done.stderr
    assert "github_pat_secret" not in done.output
    assert "not shown again" in done.stderr
    assert "github_pat_secret" not in run("hooks", "course", "--json").output
    forgotten = run("hooks", "course", "--no-status-token", "4f1c")
    assert "Revoke it at the host, too." in forgotten.stderr
    assert run("hooks", "course", "--status-token", "a", "--remove", "b", exit_code=2).stdout == ""


def test_a_schedule_is_shown_in_words(run, course: Service) -> None:  # noqa: F811
    shown = run("schedule", "course", "30 4 * * 1", "--time-zone", "Europe/Berlin").stdout
    assert shown.splitlines()[0] == "Every Monday at 04:30. (30 4 * * 1, Europe/Berlin)"
    assert json.loads(run("schedule", "course", "--json").stdout)["schedule"]["next"] == ["later"]
    assert run("schedule", "course", "--off").stdout == "No schedule.\n"
    assert run("schedule", "course", "0 3 * * *", "--off", exit_code=2).stdout == ""
