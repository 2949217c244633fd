"""The hub's spawn page where somebody keeps more environments than it offers."""

from __future__ import annotations

from jupyterhub.tests.mocking import MockHub

from jupyterhub_binder.spawner.form import form
from tests.kit.real_hub import FakeService, Person


async def test_the_form_says_that_there_are_more_and_where(
    hub: MockHub, fresh: FakeService, person: Person
) -> None:
    for number in range(103):
        fresh.add(f"number {number}")
    form = await person.spawner.get_options_form()
    assert form.count("<option") == 101
    assert "The 100 most recently used of 103 environments." in form
    assert '/services/binder/">Search and launch others</a>' in form


async def test_the_form_says_nothing_of_others_where_it_offers_all(
    hub: MockHub, fresh: FakeService, person: Person
) -> None:
    fresh.add("one")
    form = await person.spawner.get_options_form()
    assert "most recently used" not in form
    assert "Create or edit environments" in form


def test_an_environment_whose_newest_build_failed_is_offered_and_says_so() -> None:
    item = {"id": "a", "name": "x", "label": "y", "state": "failed", "current": {"number": 1}}
    shown = form([item], "", "/services/binder/")
    assert "x (y), last build failed</option>" in shown
    assert "disabled" not in shown


def test_a_failed_environment_looks_failed_and_who_may_not_build_cannot_paste() -> None:
    item = {"id": "a", "name": "x", "label": "y", "state": "failed", "current": None}
    shown = form([item], "", "/services/binder/")
    assert '<option value="a" disabled>x (y), ✕ could not be built</option>' in shown
    assert "environment_repository" not in shown
    assert "environment_repository" in form([item], "", "/services/binder/", paste=True)
