"""What a build's reason says after it failed: the cause in its log, kept and told to everybody."""

from __future__ import annotations

from pathlib import Path

import pytest

from jupyterhub_binder.errors import BuildFailed, ConfigurationError
from jupyterhub_binder.model import Line, Phase
from jupyterhub_binder.model.failures import Owner, WayKind
from jupyterhub_binder.model.text import Message
from tests.kit.parts import BOB


def printing(*lines: str, error: BuildFailed | None = None):
    async def build(job):
        for line in lines:
            yield Line(Phase.BUILDING, line)
        raise error or BuildFailed("It failed.")

    return build


async def fail(service, monkeypatch, *lines: str, error: BuildFailed | None = None, **kwargs):
    monkeypatch.setattr(service.backend, "build", printing(*lines, error=error))
    environment = await service.create(**kwargs)
    return await service.finished(environment.latest.build.id)


async def test_the_first_cause_in_the_log_is_the_reason_and_is_kept(service, monkeypatch):
    build = await fail(
        service,
        monkeypatch,
        "Step 1",
        "\x1b[31mERROR: No matching distribution found for pandas==0.25.0\x1b[0m",
        "WARNING: Retrying (Retry(total=0)) after connection broken: Connection refused",
    )
    lines = await service.lines(build.id)
    assert "pandas==0.25.0" in lines[build.reason.seq - 1].message
    kept = (await service.store.fetch_build(build.id)).reason
    assert kept == build.reason
    told = kept.explanation
    assert (told.rule, told.owner) == ("package-version-not-found", Owner.REPOSITORY)
    assert told.line == "ERROR: No matching distribution found for pandas==0.25.0"
    assert kept.message.values["package"] == "pandas==0.25.0"
    assert lines[-1].message == kept.message


async def test_everybody_who_sees_a_build_reads_the_same(service, monkeypatch):
    build = await fail(service, monkeypatch, "E: Unable to locate package vim9")
    other = await service.create(BOB)
    theirs = await service.finished(other.latest.build.id)
    assert theirs.reason.explanation.rule == build.reason.explanation.rule
    assert theirs.reason.message == build.reason.message


async def test_secrets_that_a_tool_prints_are_not_quoted(service, monkeypatch):
    line = "fatal: repository 'https://me:hunter2hunter2@git.example.org/x' not found"
    build = await fail(service, monkeypatch, line)
    assert build.reason.explanation.rule == "git-not-found"
    assert "hunter2" not in f"{build.reason.message}{build.reason.explanation.line}"


async def test_a_hint_of_the_backend_follows_the_explanation(service, monkeypatch):
    error = BuildFailed("No.", detail={"hint": Message("This hub installs only wheels.")})
    build = await fail(service, monkeypatch, "E: Unable to locate package x", error=error)
    assert build.reason.message.endswith(" This hub installs only wheels.")
    assert build.reason.explanation.rule == "apt-package-not-found"


async def test_an_explainer_that_breaks_leaves_the_reason(service, monkeypatch):
    async def broken(*_, **__):
        raise RuntimeError("no")

    monkeypatch.setattr(service.builds.explainer, "_explain", broken)
    build = await fail(service, monkeypatch, "line")
    assert (build.reason.message, build.reason.explanation) == ("It failed.", None)


async def test_a_long_log_is_searched_from_its_beginning(service, monkeypatch):
    noise = [f"line {number}" for number in range(6_000)]
    build = await fail(service, monkeypatch, *noise, "No space left on device", *noise)
    assert build.reason.explanation.rule == "disk-full"
    assert (await service.lines(build.id))[
        build.reason.seq - 1
    ].message == "No space left on device"


async def test_kinds_of_failures_are_listed_by_how_often(service, monkeypatch):
    for number in range(3):
        await fail(service, monkeypatch, f"PlanetError: planet {number}", repo=f"org/a{number}")
    newest = await fail(service, monkeypatch, "PlanetError: planet 9", repo="org/last")
    await fail(service, monkeypatch, "MoonError: none", repo="org/moon")
    await fail(service, monkeypatch, "No space left on device", repo="org/disk")
    unknown = await service.store.list_failure_kinds(known=False)
    assert [kind.times for kind in unknown.items] == [4, 1]
    assert unknown.total == 2
    assert unknown.items[0].newest.id == newest.id
    assert unknown.items[0].key == newest.reason.explanation.fingerprint
    (disk,) = (await service.store.list_failure_kinds(known=True)).items
    assert (disk.key, disk.known, disk.times) == ("disk-full", True, 1)
    second = await service.store.list_failure_kinds(known=False, offset=1, limit=1)
    assert [kind.newest.label for kind in second.items] == ["github.com/org/moon"]


async def test_a_failure_that_no_rule_knows_says_so_with_its_line(service, monkeypatch):
    build = await fail(service, monkeypatch, "PlanetError: planet 9", "bye")
    told = build.reason.explanation
    assert (told.rule, told.owner, told.line) == ("", None, "PlanetError: planet 9")
    assert [way.kind for way in told.ways] == [WayKind.AGAIN, WayKind.ADMIN]


RULE = """
[[rule]]
id = "planets"
owner = "hub"
says = "There is no planet %(planet)s here."
match = ["PlanetError: planet {planet}"]
ways = ["admin"]
"""


async def test_rules_of_a_site_explain_its_own_failures(service, monkeypatch, tmp_path: Path):
    file = tmp_path / "failures.toml"
    file.write_text(RULE)
    await service.builds.explainer.start(str(file))
    build = await fail(service, monkeypatch, "PlanetError: planet 9")
    assert build.reason.message == "There is no planet 9 here."
    assert build.reason.explanation.rule == "planets"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (RULE.replace("hub", "me"), r"rule 1 \(planets\): owner must be one of"),
        (None, r"Builds\.failure_rules: can't read .*No such file"),
    ],
)
async def test_a_wrong_rule_stops_the_service_at_its_start(service, tmp_path, text, why):
    file = tmp_path / "failures.toml"
    if text is not None:
        file.write_text(text)
    service.builds.failure_rules = str(file)
    with pytest.raises(ConfigurationError, match=why):
        await service.builds.start()
