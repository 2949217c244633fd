"""What is in a person's builds, and what differs between them."""

from __future__ import annotations

from dataclasses import dataclass

from jupyterhub_binder.backends.base import BuildBackend
from jupyterhub_binder.builds.packages import compare
from jupyterhub_binder.environments.service import Environments
from jupyterhub_binder.errors import InvalidInput
from jupyterhub_binder.model import Build, BuildRequest, BuildState, Environment, User
from jupyterhub_binder.model.inventory import Difference, Inventory
from jupyterhub_binder.store import Store

MAX_CHOICES = 50
"""The builds of an environment that are offered for a comparison."""


@dataclass(frozen=True, slots=True)
class Contents:
    """A build with what is in its image."""

    build: Build
    environment: Environment | None
    request: BuildRequest | None
    inventory: Inventory | None
    """None if nobody knows."""


@dataclass(frozen=True, slots=True)
class PackageComparison:
    """Two builds of one environment."""

    before: BuildRequest
    after: BuildRequest
    difference: Difference | None
    """None if the packages of one of them are unknown."""


class Inventories:
    """Reads inventories. Every method checks the person's permissions."""

    def __init__(self, *, store: Store, environments: Environments, backend: BuildBackend) -> None:
        self._store = store
        self._environments = environments
        self._backend = backend

    def why_unknown(self, build: Build) -> str:
        """Return why the packages of a build are unknown, in one sentence; empty for no reason."""
        maker = self._backend.maker(build.backend)
        return maker.inventory_note if build.backend == maker.name else ""

    async def fetch(self, user: User, build_id: str) -> Contents:
        """Return what is in a build's image. Raises NotFound."""
        build, environment, request = await self._environments.requests.of_build(user, build_id)
        inventory = await self._store.fetch_inventory(build.id)
        return Contents(build, environment, request, inventory)

    async def list_choices(self, user: User, contents: Contents) -> tuple[BuildRequest, ...]:
        """Return the other successful builds of the environment, newest first."""
        if contents.environment is None:
            return ()
        page = await self._environments.requests.list(
            user, contents.environment.id, limit=MAX_CHOICES
        )
        return tuple(
            each
            for each in page.items
            if each.build.state is BuildState.BUILT and each.build.id != contents.build.id
        )

    async def compare_with(
        self, user: User, contents: Contents, number: int | None = None
    ) -> PackageComparison | None:
        """Compare with build `number`; by default with the one before, or None if there is none.

        Raises NotFound and InvalidInput.
        """
        if contents.environment is None or contents.request is None:
            return None
        if number is None:
            choices = await self.list_choices(user, contents)
            own = contents.request.number
            before = next((each for each in choices if each.number < own), None)
            return before and await self.compare(before, contents.request)
        other = await self._environments.requests.get(user, contents.environment.id, number)
        if other.build.state is not BuildState.BUILT:
            raise InvalidInput("Build %(number)s did not succeed.", number=number)
        return await self.compare(other, contents.request)

    async def compare(self, before: BuildRequest, after: BuildRequest) -> PackageComparison:
        """Compare two builds that the person may see."""
        old = await self._store.fetch_inventory(before.build.id)
        new = await self._store.fetch_inventory(after.build.id)
        difference = compare(old.packages, new.packages) if old and new else None
        return PackageComparison(before, after, difference)
