"""Versions, and the advisories that are known for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from jupyterhub_binder._version import __version__
from jupyterhub_binder.backends.fake import FakeBackend
from jupyterhub_binder.errors import HubError
from jupyterhub_binder.maintenance.advisories import (
    advisories_of,
    checked_on,
    known_advisories,
    read_version,
)
from jupyterhub_binder.maintenance.software import Installed, Software, of_hub, spawner_differs
from jupyterhub_binder.model.text import Message


def test_the_list_of_advisories_can_be_used() -> None:
    assert checked_on().year >= 2026
    for each in known_advisories():
        assert read_version(each.fixed), each
        assert each.severity in ("low", "moderate", "high", "critical"), each
        assert each.url.startswith("https://github.com/advisories/GHSA-")
        assert not each.affects(each.fixed)


@pytest.mark.parametrize(
    ("package", "version", "ids"),
    [
        ("jupyterhub", "5.5.1", set()),
        ("jupyterhub", "6.1.1", set()),
        ("jupyterhub", "5.5.0", {"GHSA-c4gm-pwx9-9w8j", "GHSA-69wv-m5fw-2fhp"}),
        ("dockerspawner", "0.10.0", set()),
        ("dockerspawner", "12.1.0", {"CVE-2023-48311"}),
        ("binderhub", "0.2.0-n562.h7a2a2b3", {"CVE-2021-39159"}),
        ("binderhub", "0.2.0-n1011.hb49edf6", set()),
        ("binderhub", "1.0.0-0.dev.git.3506.hba24eb2a", set()),
        ("jupyterhub", "what I built", set()),
    ],
)
def test_a_version_has_the_advisories_that_were_fixed_after_it(
    package: str, version: str, ids: set[str]
) -> None:
    assert {each.ids[0] for each in advisories_of(package, version)} == ids


def test_the_hub_names_its_spawner_and_authenticator() -> None:
    info = {
        "version": "5.5.1",
        "spawner": {
            "class": "jupyterhub_binder.spawner.kube.BinderKubeSpawner",
            "version": "0.0.1",
        },
        "authenticator": {
            "class": "oauthenticator.github.GitHubOAuthenticator",
            "version": "17.4.0",
        },
    }
    found = tuple(of_hub(info))
    assert [(each.package, each.version) for each in found] == [
        ("jupyterhub", "5.5.1"),
        ("jupyterhub-binder", "0.0.1"),
        ("oauthenticator", "17.4.0"),
    ]
    assert spawner_differs(found) == "0.0.1"
    same = Installed("jupyterhub-binder", __version__, Message("the hub's spawner"), of_hub=True)
    assert spawner_differs((same,)) == ""


@pytest.mark.parametrize("info", [{}, {"spawner": None}, {"spawner": {"class": "mine.Spawner"}}])
def test_a_hub_that_says_less_is_listed_with_less(info: Mapping[str, Any]) -> None:
    assert tuple(of_hub(info)) == ()


class SomeHub:
    def __init__(self) -> None:
        self.asked = 0
        self.down = False

    async def fetch_info(self) -> Mapping[str, Any]:
        self.asked += 1
        if self.down:
            raise HubError("The hub does not answer.")
        return {"version": "5.5.0"}


async def test_the_hub_is_asked_seldom_and_may_be_away() -> None:
    hub = SomeHub()
    software = Software(hub=hub, backend=FakeBackend())
    for _ in range(3):
        assert (await software.list())[0].version == "5.5.0"
    assert hub.asked == 1
    hub.down, software._asked = True, float("-inf")
    assert (await software.list())[0].version == "5.5.0"
    assert (await software.list())[0].version == "5.5.0"
    assert hub.asked == 2
