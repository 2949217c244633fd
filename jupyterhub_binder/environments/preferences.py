"""What a person prefers: environments at the top of their list, and what each one opens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from jupyterhub_binder.environments.applications import (
    address_of_file,
    find_applications,
    opens_in,
)
from jupyterhub_binder.environments.service import Environments
from jupyterhub_binder.errors import InvalidInput
from jupyterhub_binder.model import Environment, User
from jupyterhub_binder.model.preferences import Application, Preference
from jupyterhub_binder.store import Store


class Preferences:
    """Keeps preferences. Nobody sees another person's."""

    def __init__(self, *, store: Store, environments: Environments) -> None:
        self._store = store
        self._environments = environments

    async def list(self, user: User, environment_ids: Iterable[str]) -> Mapping[str, Preference]:
        """Return the person's preferences; what is not set is left out."""
        return await self._store.list_preferences(user.name, tuple(environment_ids))

    async def get(self, user: User, environment: Environment) -> Preference:
        """Return the person's preference for one environment."""
        found = await self.list(user, [environment.id])
        return found.get(environment.id, Preference())

    async def applications(self, environment: Environment) -> tuple[Application, ...]:
        """Return what the current build can open; nothing if nobody knows its packages."""
        current = environment.current
        inventory = await self._store.fetch_inventory(current.build.id) if current else None
        return find_applications(each.name for each in inventory.packages) if inventory else ()

    async def find_opening(self, user: User, environment_id: str) -> str | None:
        """Return the address that the person opened last, if it is still there."""
        environment = await self._environments.get(user, environment_id)
        opens = (await self.get(user, environment)).opens
        if not opens:
            return None
        there = await self.applications(environment)
        return opens if any(each.path == opens for each in there) else None

    async def find_opening_of(self, user: User, environment_id: str, file: str) -> str:
        """Return what opens a file of the repository in the application that was chosen last."""
        environment = await self._environments.get(user, environment_id)
        opens = (await self.get(user, environment)).opens
        there = await self.applications(environment)
        return address_of_file(file, opens_in(file, opens, there))

    async def set(
        self,
        user: User,
        environment_id: str,
        *,
        pinned: bool | None = None,
        opens: str | None = None,
    ) -> Preference:
        """Change what is not None. Raises NotFound and InvalidInput."""
        environment = await self._environments.get(user, environment_id)
        if opens:
            there = await self.applications(environment)
            if all(each.path != opens for each in there):
                raise InvalidInput(
                    "“%(name)s” does not have that application.",
                    name=environment.name,
                    detail={"applications": [each.path for each in there]},
                )
        old = await self.get(user, environment)
        new = replace(
            old,
            pinned=old.pinned if pinned is None else pinned,
            opens=old.opens if opens is None else opens,
        )
        if new != old:
            await self._store.put_preference(user.name, environment_id, new)
        return new
