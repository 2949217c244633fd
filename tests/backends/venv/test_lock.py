"""A receipt's packages, which may come from a stranger."""

from collections import Counter

import pytest

from jupyterhub_binder.backends.venv import lock as lock_module
from jupyterhub_binder.backends.venv.lock import (
    MAX_LINES,
    Lock,
    choose_locked,
    clean_lock,
    lock_of,
)
from jupyterhub_binder.backends.venv.plan import Offer, make_plan, reuse
from jupyterhub_binder.backends.venv.requirements import Policy
from jupyterhub_binder.errors import InvalidInput
from jupyterhub_binder.model import Recipe

OFFER = Offer(
    pythons={"3.11": "", "3.12": ""},
    default_python="3.12",
    runs_code=True,
    constraints=("numpy<2.2", "Foo.Bar==1"),
)


def lock(*lines, python="3.11"):
    return Lock("c" * 40, python, "".join(f"{line}\n" for line in lines))


def refused(*lines):
    found = choose_locked(lock(*lines), Policy(), OFFER.constraints)
    return [str(each.why) for each in found.refused]


def test_exact_versions_sources_and_allowed_indexes_are_taken():
    found = choose_locked(
        lock(
            "--extra-index-url https://download.pytorch.org/whl/cpu",
            "numpy==2.1.3",
            "-e ./tools",
            ".",
            "lib @ git+https://github.com/org/lib@abc",
        ),
        Policy(),
        (),
    )
    assert found.refused == []
    assert found.packages == ["numpy==2.1.3"]
    assert found.indexes == ["https://download.pytorch.org/whl/cpu"]
    assert len(found.sources) == 3


@pytest.mark.parametrize(
    "line",
    [
        "numpy",
        "numpy>=2",
        "numpy==2.*",
        "numpy==2.1,<3",
        "numpy==2.1.3 --hash=sha256:00",
        "--require-hashes",
        "--no-deps",
        "--pre",
        "-r /etc/passwd",
        "-c limits.txt",
        "--index-url https://evil.example.org/simple",
        "--extra-index-url https://evil.example.org/simple",
        "--find-links https://download.pytorch.org/whl/",
        "-e /etc",
        "../outside",
        "file:///etc",
        "lib @ file:///etc/passwd",
        "lib @ https://evil.example.org/lib.whl",
        "lib @ git+ssh://github.com/org/lib",
        "numpy==${VERSION}",
        "not a requirement ===",
    ],
)
def test_what_a_lock_must_not_say_is_refused_and_not_left_out(line):
    assert len(refused(line)) == 1


@pytest.mark.parametrize("line", ["numpy==2.3.0", "foo-bar==2", "FOO_BAR==2"])
def test_the_constraints_of_the_admin_hold(line):
    assert "allows only" in refused(line)[0]
    assert refused("numpy==2.1.3", "foo-bar==1", "other==9") == []


def test_a_refused_line_is_a_problem_of_the_build():
    _, assessment = make_plan(Recipe(), OFFER, lock("numpy>=2"))
    assert [each.code for each in assessment.problems] == ["requirement_refused"]


def test_the_receipts_python_is_used_or_missed():
    plan, assessment = make_plan(Recipe(python="3.12"), OFFER, lock("numpy==2.1.3"))
    assert (plan.python, plan.locked, assessment.problems) == ("3.11", True, ())
    _, assessment = make_plan(Recipe(), OFFER, lock(python="3.9"))
    assert [each.code for each in assessment.problems] == ["python_missing"]


def test_an_environment_with_a_lock_leaves_no_version_open():
    assert not reuse(Recipe(unpinned=("numpy",)), OFFER, lock("numpy==2.1.3")).open_versions


def test_code_of_a_lock_needs_a_sandbox():
    offer = Offer(pythons={"3.11": ""}, default_python="3.11", runs_code=False)
    _, assessment = make_plan(Recipe(), offer, lock("."))
    assert [each.code for each in assessment.problems] == ["no_sandbox"]


def test_an_option_is_normalised():
    given = {"commit": "a" * 40, "python": "3.12", "requirements": "\n numpy==1 \r\n\nb==2"}
    cleaned = clean_lock(given)
    assert cleaned["requirements"] == "numpy==1\nb==2\n"
    assert lock_of({"lock": cleaned}) == Lock(**cleaned)
    assert lock_of({}) is None


@pytest.mark.parametrize(
    "value",
    [
        None,
        "text",
        {},
        {"commit": "a", "python": "3.12"},
        {"commit": "a", "python": "3.12", "requirements": "", "more": 1},
        {"commit": "a b", "python": "3.12", "requirements": ""},
        {"commit": "a", "python": "2.7", "requirements": ""},
        {"commit": "a", "python": "3.12", "requirements": 7},
        {"commit": "a", "python": "3.12", "requirements": "x" * 300_000},
    ],
)
def test_what_is_no_lock_is_refused(value):
    with pytest.raises(InvalidInput):
        clean_lock(value)


def test_a_lock_has_no_more_lines_than_a_repository_may_have():
    value = {"commit": "c" * 40, "python": "3.12", "requirements": "a==1\n" * MAX_LINES}
    assert clean_lock(value)
    with pytest.raises(InvalidInput, match="too long"):
        clean_lock({**value, "requirements": "a\n" * (MAX_LINES + 1)})


def test_constraints_are_read_once_and_not_for_each_line(monkeypatch):
    read = Counter()
    real = lock_module.Requirement
    monkeypatch.setattr(lock_module, "Requirement", lambda text: read.update([text]) or real(text))
    choose_locked(lock(*[f"p{number}==1" for number in range(50)]), Policy(), ["numpy<3"])
    assert read["numpy<3"] == 1
