"""People whom the hub removes lose what was shared with them."""

import pytest

from jupyterhub_binder.environments import departures
from jupyterhub_binder.environments.departures import Departures
from jupyterhub_binder.model.admin import Action
from jupyterhub_binder.model.sharing import Right, Subject, SubjectKind
from tests.kit.parts import ALICE, KnownPeople


def watching(service, hub):
    return Departures(store=service.store, hub=hub, audit=service.admin.audit)


@pytest.fixture
async def shared(service):
    """An environment that bob may use and carol is offered."""
    environment = await service.create(build=False)
    bob, group = Subject(SubjectKind.USER, "bob"), Subject(SubjectKind.GROUP, "carol")
    await service.sharing.put(ALICE, environment.id, [(bob, Right.LAUNCH), (group, Right.LAUNCH)])
    await service.transfers.offer(ALICE, environment.id, "carol")
    return environment


async def test_the_shares_and_offers_of_who_was_removed_end(service, shared):
    hub = KnownPeople()
    assert await watching(service, hub).check() == ()
    hub.names -= {"bob", "carol"}
    assert await watching(service, hub).check() == ("bob", "carol")
    (left,) = (await service.sharing.fetch(ALICE, shared.id)).shares
    assert str(left.subject) == "group:carol"
    assert await service.store.list_named_people(after="", limit=10) == ()
    page = await service.admin.audit.list(actor="", action=Action.ENVIRONMENT_SHARE)
    assert [entry.detail["ended"] for entry in page.items] == ["user:carol", "user:bob"]


async def test_a_hub_that_hides_people_ends_nothing(service, shared):
    hub = KnownPeople(shows_all=False)
    hub.names.clear()
    assert await watching(service, hub).check() == ()
    assert len((await service.sharing.fetch(ALICE, shared.id)).shares) == 2


async def test_a_round_goes_on_where_the_one_before_ended(service, shared, monkeypatch):
    monkeypatch.setattr(departures, "_NAMES", 1)
    hub = KnownPeople()
    hub.names.clear()
    looking = watching(service, hub)
    assert [await looking.check() for _ in range(3)] == [("bob",), ("carol",), ()]
