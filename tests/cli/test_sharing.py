"""The commands for sharing, copying and giving away."""

from __future__ import annotations

import json

import pytest

from tests.cli.test_cli import run, service  # noqa: F401
from tests.kit.cli_server import Service


@pytest.fixture
def course(service: Service) -> Service:  # noqa: F811
    service.add("eeeeeeeee3", "course", None, "unbuilt")
    return service


def test_share_gives_changes_and_ends(run, course: Service) -> None:  # noqa: F811
    given = run("share", "course", "--with", "grace", "--with", "group:astronomy")
    assert given.stdout.splitlines() == [
        "user:grace\tlaunch\t2026-01-01T00:00:00Z",
        "group:astronomy\tlaunch\t2026-01-01T00:00:00Z",
    ]
    run("share", "course", "--with", "grace", "--manage", "--remove", "group:astronomy")
    listed = json.loads(run("share", "course", "--json").stdout)["shares"]
    assert [(each["subject"], each["right"]) for each in listed] == [("user:grace", "manage")]
    assert "Only you may use it." in run("share", "course", "--remove", "grace").stderr


def test_who_deletes_what_others_use_is_told_so(run, course: Service) -> None:  # noqa: F811
    course.people = 3
    kept = run("delete", "course", input="n\n")
    assert "3 other people have launched it" in kept.stderr
    assert "They can't start it any more" in kept.stderr


def test_copy_prints_the_copys_id(run, course: Service) -> None:  # noqa: F811
    assert run("copy", "course").stdout == "eeeeeeeee3\n"


def test_give_offers_and_withdraws(run, course: Service) -> None:  # noqa: F811
    assert "until 2026-01-08" in run("give", "course", "grace").stdout
    assert course.sent == [{"to": "grace"}]
    assert "withdrawn" in run("give", "course", "--withdraw").stdout
    assert run("give", "course").exit_code == 2


def test_accept_lists_accepts_and_declines(run, course: Service) -> None:  # noqa: F811
    assert run("accept").stdout.split("\t")[:3] == ["eeeeeeeee3", "course", "grace"]
    assert "You own course now." in run("accept", "course").stdout
    assert "declined" in run("accept", "eeeeeeeee3", "--decline").stdout
    assert run("accept", "other").exit_code == 2


def test_an_own_environment_wins_over_a_shared_one_of_its_name(
    run,  # noqa: F811
    course: Service,
) -> None:
    course.add("eeeeeeeee4", "course", None, "unbuilt")
    course.environments["eeeeeeeee4"] |= {"right": "launch", "owner": "grace"}
    assert run("copy", "course").stdout == "eeeeeeeee3\n"
    assert "grace" in run("show", "eeeeeeeee4").stdout
