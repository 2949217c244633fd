"""Routes of what a person prefers."""

from __future__ import annotations

from jupyterhub_binder.model import Environment
from jupyterhub_binder.model.preferences import Preference
from jupyterhub_binder.web.api.common import Handler
from jupyterhub_binder.web.api.operation import operation
from jupyterhub_binder.web.api.shapes.preferences import (
    ApplicationJSON,
    PreferenceBody,
    PreferenceJSON,
)


class PreferenceHandler(Handler):
    """What a person prefers in one environment."""

    @operation("get_preference")
    async def get(self, environment_id: str) -> PreferenceJSON:
        """Get what you prefer, and which applications the environment has."""
        environment = await self.services.environments.get(self.me, environment_id)
        preference = await self.services.preferences.get(self.me, environment)
        return await self._render(environment, preference)

    @operation("set_preference")
    async def put(self, environment_id: str, *, body: PreferenceBody) -> PreferenceJSON:
        """Pin an environment to the top of your list, or choose what it opens."""
        preference = await self.services.preferences.set(
            self.me, environment_id, pinned=body.pinned, opens=body.opens
        )
        environment = await self.services.environments.get(self.me, environment_id)
        return await self._render(environment, preference)

    async def _render(self, environment: Environment, preference: Preference) -> PreferenceJSON:
        there = await self.services.preferences.applications(environment)
        return PreferenceJSON(
            pinned=preference.pinned,
            opens=preference.opens,
            applications=tuple(ApplicationJSON(name=a.name, path=a.path) for a in there),
        )
