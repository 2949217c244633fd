"""The hub's profiles: what a person may choose, and what is remembered."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from jupyterhub_binder.environments.profiles import (
    Profiles,
    check_choice,
    read_options,
    settle,
    still_offered,
)
from jupyterhub_binder.errors import HubError, InvalidInput, NotFound
from jupyterhub_binder.hub import HubClient
from jupyterhub_binder.model import Launch, LaunchState
from jupyterhub_binder.model.profiles import Profile, ProfileChoice, ProfileOption
from jupyterhub_binder.utils.time import utc_now
from tests.kit.parts import ALICE, BOB, KnownPeople, Service

MEMORY = ProfileOption("memory", "Memory", {"8": "8 GB", "16": "16 GB"}, "8")
OFFERED = (Profile("small", "Small", default=True), Profile("large", "Large", options=(MEMORY,)))
LARGE = ProfileChoice("large", {"memory": "16"})


class HubOfProfiles(KnownPeople):
    """Offers what a test says; None: does not answer."""

    def __init__(self) -> None:
        super().__init__()
        self.offers: tuple[Profile, ...] | None = OFFERED

    async def fetch_profiles(self, token: str, user: str) -> tuple[Profile, ...]:
        """Answer at once."""
        if self.offers is None:
            raise HubError("The hub does not answer.")
        return self.offers


def profiles_of(service: Service, hub: HubClient) -> Profiles:
    return Profiles(store=service.store, environments=service.environments, hub=hub)


async def test_a_choice_is_remembered_for_each_person_and_environment(service: Service) -> None:
    profiles = profiles_of(service, HubOfProfiles())
    one, two = [await service.create(name=name, build=False) for name in ("one", "two")]
    assert await profiles.choose(ALICE, "t", one.id, LARGE) == LARGE
    assert await profiles.choose(ALICE, "t", one.id) == LARGE
    assert await profiles.choose(ALICE, "t", two.id) == ProfileChoice()
    with pytest.raises(NotFound):
        await profiles.choose(BOB, "t", one.id, LARGE)
    await profiles.choose(ALICE, "t", one.id, ProfileChoice())
    assert await profiles.remembered(ALICE, one.id) == ProfileChoice()


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        (ProfileChoice("huge"), "It offers: small, large."),
        (ProfileChoice("small", {"memory": "16"}), "no choice “16” of “memory”"),
        (ProfileChoice("large", {"memory": "99"}), "no choice “99”"),
        (ProfileChoice("large", {"image": "evil/image:1"}), "no choice “evil/image:1”"),
        (ProfileChoice("", {"path": "x"}), "no choice"),
    ],
)
def test_nothing_passes_that_the_hub_does_not_offer(choice: ProfileChoice, said: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        check_choice(choice, OFFERED)
    assert said in str(raised.value.message)


def test_what_is_left_of_a_remembered_choice_never_prevents_a_start() -> None:
    assert still_offered(LARGE, OFFERED) == LARGE
    smaller = (OFFERED[0], replace(OFFERED[1], options=()))
    assert still_offered(LARGE, smaller) == ProfileChoice("large")
    assert still_offered(LARGE, OFFERED[:1]) == ProfileChoice()
    assert still_offered(LARGE, ()) == ProfileChoice()


def test_a_running_server_is_compared_with_all_defaults() -> None:
    default = settle(ProfileChoice(), OFFERED)
    assert default == settle(read_options({"environment": "e"}, OFFERED), OFFERED)
    large = settle(ProfileChoice("large"), OFFERED)
    assert large == settle(read_options({"profile": "large", "memory": "8"}, OFFERED), OFFERED)
    assert large != settle(read_options({"profile": "large", "memory": "16"}, OFFERED), OFFERED)


async def test_a_hub_that_does_not_say_refuses_only_a_new_choice(service: Service) -> None:
    hub = HubOfProfiles()
    environment = await service.create(build=False)
    await profiles_of(service, hub).choose(ALICE, "t", environment.id, LARGE)
    hub.offers = None
    later = profiles_of(service, hub)
    assert await later.choose(ALICE, "t", environment.id) == LARGE
    with pytest.raises(HubError):
        await later.choose(ALICE, "t", environment.id, ProfileChoice("small"))
    hub.offers = ()
    assert await later.choose(ALICE, "t", environment.id) == ProfileChoice()


async def test_a_launch_keeps_its_profile_over_a_restart_of_the_service(service: Service) -> None:
    environment = await service.create(build=False)
    known: dict[str, Any] = {"server_name": "", "path": "", "state": LaunchState.PENDING}
    launch = Launch("l1", environment.id, "alice", created=utc_now(), profile=LARGE, **known)
    await service.store.insert_launch(launch)
    found = await service.store.fetch_launch("l1")
    assert found
    assert found.profile == LARGE
