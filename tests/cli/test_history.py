"""The commands that look into an environment: files, history, packages, receipts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_cli import run, service  # noqa: F401
from tests.kit.cli_server import Service

CHANGE = {
    "number": 2,
    "from_number": 3,
    "to_number": 1,
    "cause": "rolled_back",
    "reason": "numpy 2.1 breaks exercise 4",
    "time": "2026-01-01T00:00:00Z",
    "by": "ada",
}
FIRST = {**CHANGE, "number": 1, "from_number": None, "cause": "asked", "reason": "", "by": None}
NUMPY = {"name": "numpy", "version": "2.1", "source": "pip"}
RECEIPT = {"receipt": {"version": 1}, "key": {"id": "k"}, "signature": "s"}


@pytest.fixture
def kept(service: Service) -> Service:  # noqa: F811
    service.add("eeeeeeeee3", "daylight", "bbbbbbbbb3", "built")
    return service


def test_history_lists_each_change_with_its_cause(run, kept: Service) -> None:  # noqa: F811
    kept.past["changes"] = [CHANGE, FIRST]
    assert run("history", "daylight").stdout.splitlines() == [
        "2\t2026-01-01T00:00:00Z\t3\t1\trolled_back\tada\tnumpy 2.1 breaks exercise 4",
        "1\t2026-01-01T00:00:00Z\t\t1\tasked\t\t",
    ]
    assert json.loads(run("history", "daylight", "--json").stdout) == [CHANGE, FIRST]
    kept.past["changes"] = []
    assert run("history", "daylight").stderr == "No build has succeeded yet.\n"


def test_files_lists_a_path_a_line_or_says_why_not(run, kept: Service) -> None:  # noqa: F811
    page = {"known": True, "total": 2, "offset": 0, "limit": 200}
    paths = [{"path": "README.md", "kind": "readme"}, {"path": "a b.ipynb", "kind": "notebook"}]
    kept.past["files"] = page | {"items": paths}
    assert run("files", "daylight").stdout == "README.md\na b.ipynb\n"
    kept.past["files"] = page | {"items": [], "known": False, "total": 0}
    done = run("files", "daylight", "week")
    assert (done.stdout, "no copy of the repository" in done.stderr) == ("", True)


@pytest.mark.parametrize(
    ("current", "latest", "said"),
    [
        (1, 3, "The next launch of daylight uses build 1."),
        (4, 4, "The next launch of daylight uses build 4, the same."),
        (3, 4, "The image of build 1 was removed. Build 4 makes it again from the same commit."),
    ],
)
def test_use_says_which_build_the_next_launch_uses(
    run,  # noqa: F811
    kept: Service,
    current: int,
    latest: int,
    said: str,
) -> None:
    numbers = {"current": {"number": current}, "latest": {"number": latest}}
    kept.past["current"] = kept.environments["eeeeeeeee3"] | numbers
    assert run("use", "daylight", "1", "--reason", "too new").stdout == f"{said}\n"
    assert kept.sent == [{"number": 1, "reason": "too new"}]


def test_packages_lists_what_is_in_the_newest_builds_image(run, kept: Service) -> None:  # noqa: F811
    kept.past["packages"] = {"known": True, "items": [NUMPY]}
    assert run("packages", "daylight").stdout == "numpy\t2.1\tpip\n"
    kept.past["packages"] = {"known": False, "items": []}
    assert run("packages", "bbbbbbbbb3").stderr == "The packages of this build are unknown.\n"


def test_packages_shows_what_differs_by_name(run, kept: Service) -> None:  # noqa: F811
    numbers: dict[str, Any] = {"known": True, "from_number": 3, "to_number": 4}
    kept.past["difference"] = numbers | {
        "added": [{"name": "astral", "version": "3.2", "source": "pip"}],
        "removed": [{"name": "zope", "version": "1", "source": "pip"}],
        "changed": [{"name": "numpy", "source": "pip", "before": "2.0", "after": "2.1"}],
    }
    lines = run("packages", "daylight", "--diff").stdout.splitlines()
    assert lines == ["astral\t\t3.2", "numpy\t2.0\t2.1", "zope\t1\t"]
    assert run("packages", "daylight", "--compare", "3").stdout.splitlines() == lines
    assert kept.sent == [{"number": "3"}]
    kept.past["difference"] |= {"added": [], "removed": [], "changed": []}
    assert "The same packages" in run("packages", "daylight", "--diff").stderr
    kept.past["difference"]["from_number"] = None
    assert "no earlier build" in run("packages", "daylight", "--diff").stderr


def test_receipt_is_json_that_reproduce_sends_unchanged(
    run,  # noqa: F811
    kept: Service,
    tmp_path: Path,
) -> None:
    kept.past["receipt"] = RECEIPT
    file = tmp_path / "environment.json"
    file.write_text(run("receipt", "daylight").stdout)
    assert json.loads(file.read_text()) == RECEIPT
    kept.past["check"] = {"exact": True, "notes": ["Its lock is used."]}
    kept.past["receipts"] = kept.environments["eeeeeeeee3"]
    done = run("reproduce", str(file), "--name", "Figure 3")
    assert (done.stdout, done.stderr) == ("eeeeeeeee3\n", "Its lock is used.\n")
    assert kept.sent == [{"receipt": RECEIPT}, {"receipt": RECEIPT, "name": "Figure 3"}]


def test_reproduce_with_check_creates_nothing(run, kept: Service, tmp_path: Path) -> None:  # noqa: F811
    kept.past["check"] = {"exact": False, "notes": ["No lock."]}
    file = tmp_path / "environment.json"
    file.write_text(json.dumps(RECEIPT))
    assert run("reproduce", str(file), "--check").stdout == "It can differ.\n"
    assert kept.sent == [{"receipt": RECEIPT}]
    file.write_text("[]")
    assert run("reproduce", str(file)).exit_code == 1
