"""The language of the rules: what a pattern finds, and that no line takes long."""

from __future__ import annotations

import time

import pytest

from jupyterhub_binder.backends.base import Pythons
from jupyterhub_binder.builds.explain import Explainer
from jupyterhub_binder.builds.explain.fingerprint import fingerprint, normalise, tells
from jupyterhub_binder.builds.explain.lines import read_lines
from jupyterhub_binder.builds.explain.patterns import MAX_LINE, read_pattern
from jupyterhub_binder.builds.explain.rules import own_rules, read_rules
from jupyterhub_binder.builds.explain.ways import (
    FilesAtHost,
    RecipeText,
    address_of_file,
    find_line,
    make_ways,
)
from jupyterhub_binder.model.failures import WayKind


@pytest.mark.parametrize(
    ("pattern", "line", "values"),
    [
        (
            "E: Unable to locate package {package}",
            "E: Unable to locate package vim",
            {"package": "vim"},
        ),
        ("named '{module}'", "No module named 'a.b'", {"module": "a.b"}),
        ("named {module}", "No module named 'a.b'.", {"module": "a.b"}),
        ("^Killed$", "Killed", {}),
        ("^Killed$", "Killed by somebody", None),
        ("^Killed$", "was Killed", None),
        ("{command}: command not found", "x.sh: line 3: jq: command not found", {"command": "jq"}),
        ("{what...}: Permission denied", "cp: /x y: Permission denied", {"what": "cp: /x y"}),
        ("a {...} needs {what}", "a very long b needs c d", {"what": "c"}),
        ("Because {p} and you", "Because a b and you", None),
        ("package {p}: no", "package a b package c: no", {"p": "c"}),
        ("package {p}", "package ", None),
        ("it has ({code})$", "it has (3)", {"code": "3"}),
    ],
)
def test_pattern_finds_its_values(pattern: str, line: str, values: object) -> None:
    assert read_pattern(pattern).match(line) == values


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("{a}", "3 characters"),
        ("ab", "3 characters"),
        ("abc {a}{b}", "without a text between"),
        ("abc {A}", "in lower case"),
        ("abc {} def", "without a name"),
    ],
)
def test_pattern_that_cannot_be_used_says_why(pattern: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read_pattern(pattern)


@pytest.mark.parametrize(
    "part",
    ["a", " ", "Because ", "E: ", "error: ", "' ", "(((", "{x}", "No module named '", "#1 0.1 ",
     "ld: cannot find -l", "package \u2018", "\x1b[31m", "\x1b[", "1.2.3.4 ", "/a", "╰─▶ ", "x://"],
)  # fmt: skip
def test_no_line_of_a_repository_takes_long(part: str) -> None:
    finder = Explainer(own_rules()).finder()
    line = part * (100_000 // len(part))
    begun = time.process_time()
    finder.read((number, line) for number in range(1, 201))
    fingerprint("x", line)
    assert time.process_time() - begun < 5


def test_wrapped_sentences_of_uv_are_one_line_under_their_first_number() -> None:
    lines = [
        "  \u00d7 No solution found when resolving dependencies:",
        "  ╰─▶ Because a==1 depends on b>=2 and you require b<2, we can conclude",
        "      that your requirements are unsatisfiable.",
        "",
        "      hint: more",
        "the end",
    ]
    read = [(line.seq, line.text) for line in read_lines(enumerate(lines, 1))]
    assert read[1] == (
        2,
        "Because a==1 depends on b>=2 and you require b<2, we can conclude "
        "that your requirements are unsatisfiable.",
    )
    assert read[-1] == (6, "the end")


def test_marks_of_builders_and_colours_are_left_out() -> None:
    lines = [(1, "#12 3.45 \x1b[31mE: Unable to locate package x\x1b[0m")]
    assert [line.text for line in read_lines(lines)] == ["E: Unable to locate package x"]
    assert len(next(read_lines([(1, "x" * 50_000)])).text) == MAX_LINE


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Error at 12:01:33 in /srv/a/b.py", "Error at 09:55:01 in /home/c/d.py"),
        ("commit 0d5f3a2 failed after 3.2s", "commit aa51b9c04 failed after 11s"),
        ("can't read https://a.org/x?y=1", "can't read http://b.net/"),
        ("segfault at 0x7ffdeadbeef", "segfault at 0x1"),
        ("ERROR: version 1.2.3 of thing", "ERROR: version 2024.1 of  thing"),
    ],
)
def test_fingerprints_do_not_know_numbers_hashes_paths_and_times(one: str, other: str) -> None:
    assert normalise(one) == normalise(other)
    assert fingerprint("build_failed", one) == fingerprint("build_failed", other)
    assert fingerprint("build_failed", one) != fingerprint("push_failed", one)


def test_fingerprints_of_different_words_differ() -> None:
    assert fingerprint("x", "Error: no such planet") != fingerprint("x", "Error: no such moon")


def test_a_line_of_an_error_tells_more_than_others() -> None:
    said = ["ValueError: no", "error: it broke", "it could not be found: failed", "all is well"]
    assert [tells(line) for line in said] == [3, 2, 1, 0]


TEXT = "# comment\n\nnumpy\npandas == 0.25\n  - Scikit_Learn>=1\n"


@pytest.mark.parametrize(
    ("value", "line"),
    [("pandas==0.25", 4), ("scikit-learn", 5), ("NumPy[x]>1", 3), ("nothing", 0), ("comment", 0)],
)
def test_line_of_a_package_is_found_in_a_configuration_file(value: str, line: int) -> None:
    assert find_line(TEXT, {"package": value}) == line


@pytest.mark.parametrize(
    ("values", "opened"),
    [
        ({"package": "pandas==0.25"}, "requirements.txt#L4"),
        ({"package": "other"}, "environment.yml"),
        ({"path": "requirements.txt"}, "requirements.txt"),
    ],
)
def test_file_that_names_the_cause_is_opened(values: dict[str, str], opened: str) -> None:
    rule = next(rule for rule in own_rules() if rule.id == "recipe-problem")
    files = (RecipeText("environment.yml", "name: x"), RecipeText("requirements.txt", TEXT))
    place = FilesAtHost("gh", "https://github.com/a/b", "abc", files)
    way = make_ways(rule, values, place)[0]
    assert way.url == f"https://github.com/a/b/blob/abc/{opened}"


@pytest.mark.parametrize(
    ("provider", "url", "address"),
    [
        ("gh", "https://github.com/a/b", "https://github.com/a/b/blob/abc/x%20y.txt#L3"),
        (
            "gl",
            "https://gitlab.example.org/a/b",
            "https://gitlab.example.org/a/b/-/blob/abc/x%20y.txt#L3",
        ),
        (
            "git",
            "https://codeberg.org/a/b.git",
            "https://codeberg.org/a/b/src/commit/abc/x%20y.txt#L3",
        ),
        ("git", "https://git.example.org/a/b", ""),
        ("git", "javascript:alert(1)", ""),
        ("zenodo", "https://zenodo.org/records/1", ""),
    ],
)
def test_file_is_opened_at_hosts_that_are_known(provider: str, url: str, address: str) -> None:
    place = FilesAtHost(provider, url, "abc", (RecipeText("x y.txt", TEXT),))
    assert address_of_file(place, "x y.txt", 3) == address


@pytest.mark.parametrize(
    ("rule", "values", "python"),
    [
        ("package-needs-python", {"package": "x", "needs": ">=3.9,<3.12"}, "3.11"),
        ("package-needs-python", {"package": "x", "needs": ">=3.14"}, ""),
        ("package-without-wheel", {"package": "x"}, "3.11"),
        ("python-not-offered", {"asked": "3.7"}, "3.12"),
    ],
)
def test_another_python_is_offered_where_it_may_help(
    rule: str, values: dict[str, str], python: str
) -> None:
    chosen = next(each for each in read_rules() if each.id == rule)
    place = FilesAtHost(pythons=Pythons("3.12", ("3.9", "3.11", "3.12", "3.13")))
    found = [way for way in make_ways(chosen, values, place) if way.kind is WayKind.PYTHON]
    assert [way.python for way in found] == ([python] if python else [])
    assert not [
        way for way in make_ways(chosen, values, FilesAtHost()) if way.kind is WayKind.PYTHON
    ]
