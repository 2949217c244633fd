"""Rules as files: the package's own, a site's, and what is wrong with one."""

from __future__ import annotations

from pathlib import Path

import pytest

from jupyterhub_binder.builds.explain import (
    Explainer,
    Failure,
    RuleError,
    read_rules,
)
from jupyterhub_binder.builds.explain.rules import own_rules, parse_rules
from jupyterhub_binder.model import Phase, Reason
from jupyterhub_binder.model.failures import Owner, WayKind
from jupyterhub_binder.model.text import Message

RULE = """
[[rule]]
id = "our-mirror"
owner = "hub"
says = "Our mirror has no %(package)s."
match = ["mirror: no such package {package}"]
ways = ["admin"]
"""


def explained(lines: list[str], *, rules: str = "", code: str = "build_failed") -> Reason:
    explainer = Explainer(parse_rules(rules, source="test") if rules else own_rules())
    finder = explainer.finder()
    finder.read(enumerate(lines, 1))
    return explainer.explain(Failure(Reason(code, Message("It failed."))), finder)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (("our-mirror", "Our Mirror"), r"rule 1: id must be"),
        (('"hub"', '"me"'), r"rule 1 \(our-mirror\): owner must be one of: repository, hub, network"),
        (("says", "said"), r"unknown said; known are"),
        (("%(package)s", "%(pack)s"), r"has no \{pack\}"),
        (("%(package)s", "100 %"), r"write %\(name\)s for a value"),
        (('"admin"', '"admin", "admin"'), r"needs one to 3 different ways"),
        (('["admin"]', "[]"), r"needs one to 3 different ways"),
        (('"admin"', '"open"'), r"opens has the files"),
        (('"admin"', '"advice"'), r"advice is the sentence"),
        (('"mirror: no such package {package}"', ""), r"needs match, codes or fallback"),
        (("{package}", "{package} {"), r"match: .* a place is"),
        (("[[rule]]", "[[rules]]"), r"each rule begins with \[\[rule\]\]"),
        (('id = "', 'id = '), r"is not TOML"),
    ],
)  # fmt: skip
def test_a_wrong_rule_is_named_with_what_to_write(change: tuple[str, str], why: str) -> None:
    with pytest.raises(RuleError, match=f"site.toml.*{why}"):
        parse_rules(RULE.replace(*change), source="site.toml")


def test_two_rules_of_one_id_are_refused() -> None:
    with pytest.raises(RuleError, match="two rules with the id our-mirror"):
        parse_rules(RULE + RULE, source="x")


def test_rules_of_a_site_come_first_and_replace_those_of_the_same_id(tmp_path: Path) -> None:
    file = tmp_path / "failures.toml"
    file.write_text(RULE + RULE.replace("our-mirror", "disk-full"))
    rules = read_rules(str(file))
    assert [rule.id for rule in rules[:2]] == ["our-mirror", "disk-full"]
    assert len(rules) == len(own_rules()) + 1
    with pytest.raises(OSError):
        read_rules(str(tmp_path / "none"))


def test_first_cause_wins_over_what_follows_from_it() -> None:
    reason = explained(
        [
            "WARNING: Retrying (Retry(total=4, connect=None)) after connection broken by "
            "'NewConnectionError': Failed to establish a new connection: Connection refused",
            "ERROR: No matching distribution found for pandas==0.25.0",
            "error: could not reach https://index.example.org/: Connection refused",
            "E: Unable to locate package x",
        ]
    )
    told = reason.explanation
    assert (told.rule, reason.seq) == ("package-version-not-found", 2)
    assert told.line == "ERROR: No matching distribution found for pandas==0.25.0"
    assert "pandas==0.25.0" in reason.message
    assert told.owner is Owner.REPOSITORY


def test_a_missing_wheel_is_told_only_if_building_it_has_no_clearer_cause() -> None:
    no_wheel = "Because a==1 has no wheels with a matching Python version tag (e.g., `cp311`)"
    assert explained([no_wheel, "process exited"]).explanation.rule == "package-without-wheel"
    compiler = "error: command 'gcc' failed: No such file or directory"
    assert explained([no_wheel, compiler]).explanation.rule == "compiler-missing"


def test_the_services_own_codes_keep_their_sentence() -> None:
    reason = explained(["E: Unable to locate package x"], code="time_limit")
    assert reason.message == "It failed."
    assert (reason.explanation.rule, reason.explanation.owner) == ("time-limit", Owner.HUB)
    said = explained(["Preparing data", "false"], code="post_build_failed")
    assert (said.message, said.explanation.rule) == ("It failed.", "post-build-failed")


@pytest.mark.parametrize(
    ("phase", "owner"), [(Phase.FETCHING, Owner.NETWORK), (Phase.BUILDING, Owner.HUB)]
)
def test_a_code_can_mean_another_thing_in_another_phase(phase: Phase, owner: Owner) -> None:
    explainer = Explainer(own_rules())
    reason = Reason("upstream_unavailable", Message("It did not answer."))
    told = explainer.explain(Failure(reason, phase=phase), explainer.finder()).explanation
    assert told.owner is owner


def test_a_failure_without_a_rule_has_its_line_and_a_fingerprint() -> None:
    reason = explained(["Step 3 of 4", "PlanetError: no such planet: 17", "bye"])
    told = reason.explanation
    assert (told.rule, told.owner, reason.seq) == ("", None, 2)
    assert told.line == "PlanetError: no such planet: 17"
    assert told.fingerprint == explained(["PlanetError: no such planet: 4"]).explanation.fingerprint
    assert [way.kind for way in told.ways] == [WayKind.AGAIN, WayKind.ADMIN]
    assert reason.message == "It failed."


def test_a_failure_without_any_line_has_a_fingerprint_of_its_sentence() -> None:
    assert explained([]).explanation.fingerprint
    assert explained([]).seq is None


def test_every_rule_of_the_package_can_be_reached() -> None:
    """No rule is hidden by one before it that matches the same lines."""
    rules = own_rules()
    for index, rule in enumerate(rules):
        earlier = {p.text for other in rules[:index] for p in other.match}
        assert not earlier & {p.text for p in rule.match}, rule.id
