"""Routes of environments: list, settings, builds."""

from __future__ import annotations

from dataclasses import replace

from jupyterhub_binder.model import LaunchSpec
from jupyterhub_binder.web.api.common import Handler, builds_of, read_link
from jupyterhub_binder.web.api.operation import operation
from jupyterhub_binder.web.api.parse import with_content
from jupyterhub_binder.web.api.render import render_page
from jupyterhub_binder.web.api.render.history import write_receipt_file
from jupyterhub_binder.web.api.shapes import PageJSON, PageQuery
from jupyterhub_binder.web.api.shapes.builds import BuildSummaryJSON
from jupyterhub_binder.web.api.shapes.environments import (
    BuildAgainBody,
    CreateBody,
    CurrentBody,
    EnvironmentJSON,
    EnvironmentsQuery,
    StartQuery,
    UpdateBody,
)


class EnvironmentsHandler(Handler):
    """A person's environments."""

    @operation("list_environments")
    async def get(self, *, query: EnvironmentsQuery) -> PageJSON[EnvironmentJSON]:
        """List environments."""
        page = await self.services.environments.list(
            self.me,
            search=query.search,
            owner=query.owner or None,
            order=query.order,
            deleted=query.deleted == "1",
            offset=query.offset,
            limit=query.limit,
        )
        renderer = await self.renderer(builds_of(page.items), look_at=page.items)
        return render_page(page, renderer.environment)

    @operation("create_environment", status=201, errors=(409, 422, 429), needs_body=True)
    async def post(self, *, body: CreateBody) -> EnvironmentJSON:
        """Create an environment, and build it."""
        link = read_link(body, self.services.providers)
        link = with_content(link, body.content_url, body.content_ref)
        if body.reuse:
            environment = await self.services.environments.ensure(self.me, link)
            return await self.render_environment(environment)
        environment = await self.services.environments.create(
            self.me,
            link=link,
            name=body.name,
            content=body.content,
            options=body.options,
            build=body.build,
        )
        return await self.render_environment(environment)


class EnvironmentHandler(Handler):
    """One environment."""

    @operation("get_environment")
    async def get(self, environment_id: str) -> EnvironmentJSON:
        """Get an environment."""
        environment = await self.services.environments.get(self.me, environment_id)
        return await self.render_environment(environment)

    @operation("update_environment", errors=(409,))
    async def patch(self, environment_id: str, *, body: UpdateBody) -> EnvironmentJSON:
        """Change an environment's name, what it opens, or how its files are brought."""
        environment = await self.services.environments.update(
            self.me,
            environment_id,
            name=body.name,
            path=body.path,
            content=body.content,
            content_url=body.content_url,
            content_ref=body.content_ref,
            updates=body.updates,
            resume=body.resume,
            python=body.python,
            backend=body.backend,
        )
        return await self.render_environment(environment)

    @operation("delete_environment", errors=(409,))
    async def delete(self, environment_id: str) -> EnvironmentJSON:
        """Delete an environment. It can be restored for a while."""
        environment = await self.services.environments.delete(self.me, environment_id)
        return await self.render_environment(environment)


class RestoreHandler(Handler):
    """Restores a deleted environment."""

    @operation("restore_environment", errors=(409, 429))
    async def post(self, environment_id: str) -> EnvironmentJSON:
        """Restore a deleted environment."""
        environment = await self.services.environments.restore(self.me, environment_id)
        return await self.render_environment(environment)


class EnvironmentBuildsHandler(Handler):
    """The builds of an environment."""

    @operation("list_builds")
    async def get(self, environment_id: str, *, query: PageQuery) -> PageJSON[BuildSummaryJSON]:
        """List an environment's builds, newest first."""
        page = await self.services.environments.requests.list(
            self.me, environment_id, offset=query.offset, limit=query.limit
        )
        renderer = await self.renderer(request.build for request in page.items)
        return render_page(page, renderer.request)

    @operation("build_environment", status=201, errors=(409, 422, 429))
    async def post(self, environment_id: str, *, body: BuildAgainBody) -> EnvironmentJSON:
        """Build an environment again."""
        environment = await self.services.environments.build(
            self.me,
            environment_id,
            ref=body.ref or None,
            force=body.force,
            python=body.python,
            backend=body.backend,
        )
        return await self.render_environment(environment)


class CurrentBuildHandler(Handler):
    """The build that a server starts from."""

    @operation("choose_build", errors=(409, 429), needs_body=True)
    async def put(self, environment_id: str, *, body: CurrentBody) -> EnvironmentJSON:
        """Choose the build of an environment that servers start from.

        If its image was removed, the same commit is built again: the environment's newest build is
        then unfinished, and servers start from the earlier one until it has succeeded.
        """
        environment = await self.services.environments.requests.choose(
            self.me, environment_id, body.number, reason=body.reason
        )
        return await self.render_environment(environment)


class LaunchSpecHandler(Handler):
    """What the hub needs to start a server."""

    @operation("get_launch_spec", errors=(409,))
    async def get(self, environment_id: str, *, query: StartQuery) -> LaunchSpec:
        """Get what the hub needs to start a server in an environment."""
        spec = await self.services.launch_specs.launch_spec(self.me, environment_id)
        return self._with_address(spec, query)

    @operation("prepare_start", errors=(409, 422, 429))
    async def post(self, environment_id: str, *, query: StartQuery) -> LaunchSpec:
        """Get what the hub needs now. If the environment has no image, build it."""
        spec = await self.services.launch_specs.prepare_start(self.me, environment_id)
        return replace(self._with_address(spec, query), receipt=await self._receipt_of(spec))

    async def _receipt_of(self, spec: LaunchSpec) -> str:
        if spec.build_number is None:
            return ""
        environment = await self.services.environments.get(self.me, spec.environment_id)
        if environment.current is None:
            return ""
        signed = await self.services.receipts.fetch(self.me, environment.current.build.id)
        return write_receipt_file(signed)

    def _with_address(self, spec: LaunchSpec, query: StartQuery) -> LaunchSpec:
        launches = self.services.launches
        asked_from = launches.asked_from(self.me, spec.environment_id, query.server_name)
        return replace(spec, client_ip=asked_from)
