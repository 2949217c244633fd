"""The commands for what is featured."""

from __future__ import annotations

from tests.cli.test_cli import run, service  # noqa: F401
from tests.kit.cli_server import Service


def test_an_administrator_features_and_ends_it(run, service: Service) -> None:  # noqa: F811
    service.add("eeeeeeeee3", "course", None, "unbuilt")
    assert "Nothing is featured for you." in run("featured").stderr
    text = "Start here, \x1b[31mnow."
    made = run("admin", "feature", "eeeeeeeee3", "--group", "astronomy", "--text", text)
    assert made.stdout == "course is featured for group:astronomy.\n"
    (line,) = run("featured").stdout.splitlines()
    assert line.split("\t")[:2] == ["eeeeeeeee3", "course"]
    assert "Start here," in line
    assert "\x1b" not in line
    assert "group:astronomy" in run("admin", "featured").stdout
    ended = run("admin", "unfeature", "eeeeeeeee3")
    assert ended.stdout == "course is no longer featured.\n"
    run("admin", "feature", "eeeeeeeee3")
    assert service.featured["eeeeeeeee3"]["subject"] == "everyone"
