"""The versions that work together here: of the hub, this service and its BinderHubs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Protocol

from jupyterhub_binder._version import __version__
from jupyterhub_binder.backends.base import BuildBackend
from jupyterhub_binder.errors import BinderError
from jupyterhub_binder.maintenance.advisories import Advisory, advisories_of, known_advisories
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.utils.concurrency import SingleFlight

OWN_NAME = "jupyterhub-binder"
_FRESH_SECONDS = 300.0
_RETRY_SECONDS = 15.0
_PATIENCE_SECONDS = 1.0
_ALSO = ("jupyterhub-traefik-proxy", "jupyter-repo2docker")
_DISTRIBUTIONS = {
    "dockerspawner": "dockerspawner",
    "firstuseauthenticator": "jupyterhub-firstuseauthenticator",
    "jupyterhub": "jupyterhub",
    "jupyterhub_binder": OWN_NAME,
    "kubespawner": "jupyterhub-kubespawner",
    "ltiauthenticator": "jupyterhub-ltiauthenticator",
    "oauthenticator": "oauthenticator",
    "systemdspawner": "jupyterhub-systemdspawner",
}
"""The packages of the hub's classes, by the module that the hub names."""


@dataclass(frozen=True, slots=True)
class Installed:
    """One package, and where it is installed."""

    package: str
    version: str
    where: Message
    of_hub: bool = False

    @property
    def advisories(self) -> tuple[Advisory, ...]:
        """The known advisories that affect it."""
        return advisories_of(self.package, self.version)


class InformingHub(Protocol):
    """The part of `HubClient` needed here."""

    async def fetch_info(self) -> Mapping[str, Any]:
        """Return at least the version; more if the service may know it."""
        ...


class Software:
    """The versions, asked for at most every few minutes."""

    def __init__(self, *, hub: InformingHub, backend: BuildBackend) -> None:
        self._hub = hub
        self._backend = backend
        self._asking: SingleFlight[str, None] = SingleFlight()
        self._asked = float("-inf")
        self._info: Mapping[str, Any] = {}

    async def list(self) -> tuple[Installed, ...]:
        """Return the hub's packages first. Without an answer of the hub, its last one counts."""
        if time.monotonic() >= self._asked:
            await self._asking.do("hub", self._ask)
        return (*of_hub(self._info), *_own(), *self._of_hosts())

    async def _ask(self) -> None:
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                self._info = await self._hub.fetch_info()
            self._asked = time.monotonic() + _FRESH_SECONDS
        except (BinderError, TimeoutError):
            self._asked = time.monotonic() + _RETRY_SECONDS

    def _of_hosts(self) -> Iterator[Installed]:
        for host in self._backend.statuses():
            if host.version:
                where = Message("the BinderHub %(name)s", name=host.name)
                yield Installed("binderhub", host.version, where)


def of_hub(info: Mapping[str, Any]) -> Iterator[Installed]:
    """Yield the packages that the hub's ``/api/info`` names: itself, spawner, authenticator."""
    if info.get("version"):
        yield Installed("jupyterhub", str(info["version"]), Message("the hub"), of_hub=True)
    places = {
        "spawner": Message("the hub's spawner"),
        "authenticator": Message("the hub's authenticator"),
    }
    for kind, where in places.items():
        found = info.get(kind) or {}
        module = str(found.get("class", "")).partition(".")[0]
        package = _DISTRIBUTIONS.get(module, module)
        known = str(found.get("version", ""))
        if package not in ("", "jupyterhub") and known not in ("", "unknown"):
            yield Installed(package, known, where, of_hub=True)


@cache
def _own() -> tuple[Installed, ...]:
    """Return what is installed beside the service."""
    here = Message("this service")
    names = sorted({each.package for each in known_advisories()} | set(_ALSO))
    return (
        Installed(OWN_NAME, __version__, here),
        *(Installed(name, found, here) for name in names if (found := _version(name))),
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def spawner_differs(installed: tuple[Installed, ...]) -> str:
    """Return the hub's version of this package if it is another one than ours; else ""."""
    found = (each.version for each in installed if each.package == OWN_NAME and each.of_hub)
    return next((each for each in found if each != __version__), "")
