"""Routes about what a repository has newer than an environment."""

from __future__ import annotations

from jupyterhub_binder.web.api.common import Handler
from jupyterhub_binder.web.api.operation import operation
from jupyterhub_binder.web.api.render import render_reason
from jupyterhub_binder.web.api.render.upstream import render_upstream
from jupyterhub_binder.web.api.shapes.environments import UpstreamJSON


class UpstreamHandler(Handler):
    """What an environment follows."""

    @operation("get_upstream")
    async def get(self, environment_id: str) -> UpstreamJSON:
        """Get what the repository has newer than an environment's current build."""
        environment = await self.services.environments.get(self.me, environment_id)
        upstreams = self.services.upstreams
        newer = (await upstreams.look([environment])).get(environment.id)
        state = await upstreams.fetch_state(environment)
        return render_upstream(state, newer, render_reason(state.reason if state else None))
