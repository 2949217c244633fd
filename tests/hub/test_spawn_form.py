"""The hub's spawn page where somebody keeps more environments than it offers."""

from __future__ import annotations

from jupyterhub.tests.mocking import MockHub

from .conftest import FakeService, Person


async def test_the_form_says_that_there_are_more_and_where(
    hub: MockHub, fresh: FakeService, person: Person
) -> None:
    for number in range(103):
        fresh.add(f"number {number}")
    form = await person.spawner.get_options_form()
    assert form.count("<option") == 101
    assert "These are the 100 used last of 103." in form
    assert '/services/binder/">Search all environments, and launch one there</a>' in form


async def test_the_form_says_nothing_of_others_where_it_offers_all(
    hub: MockHub, fresh: FakeService, person: Person
) -> None:
    fresh.add("one")
    form = await person.spawner.get_options_form()
    assert "used last" not in form
    assert "Make or change environments" in form
