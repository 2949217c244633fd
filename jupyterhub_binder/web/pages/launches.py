"""The pages of a launch."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from jupyterhub_binder.errors import Conflict, NotFound
from jupyterhub_binder.model import Environment
from jupyterhub_binder.model.profiles import ProfileChoice
from jupyterhub_binder.utils.names import server_name as safe_server_name
from jupyterhub_binder.utils.net import client_ip
from jupyterhub_binder.web.api.parse import query_text
from jupyterhub_binder.web.i18n.language import gettext as _
from jupyterhub_binder.web.pages.base import PageHandler
from jupyterhub_binder.web.pages.failures import note_for_admin
from jupyterhub_binder.web.pages.profiles import profiles_view, read_profile_fields
from jupyterhub_binder.web.pages.views import BuildView, LaunchView, server_link

_PROPOSED = 100
"""How many files the field of the path proposes."""
_FRESH_SECONDS = 30
"""A launch's page opens the server only this soon after it is ready."""


class LaunchNewPage(PageHandler):
    """``/environments/<id>/launch``."""

    async def get(self, environment_id: str) -> None:
        """Show the form."""
        environment = await self.services.environments.get(self.me, environment_id)
        beside = query_text(self, "beside", max_length=5) == "1"
        await show_launch_form(self, environment, path=environment.path, beside=beside)

    async def post(self, environment_id: str) -> None:
        """Start the server."""
        self.back = f"{self.prefix}environments/{environment_id}"
        await start_launch(
            self,
            environment_id,
            server_name=self.form.server_name(),
            path=await self._opening(environment_id),
            restart=self.form.text("restart", max_length=5) == "1",
            profile=await read_profile_fields(self),
        )

    async def _opening(self, environment_id: str) -> str | None:
        """Return what to open: a file, the form's path, the application chosen now or before."""
        preferences = self.services.preferences
        if file := self.form.path("file"):
            return await preferences.find_opening_of(self.me, environment_id, file)
        if (opens := self.form.path("opens")) is not None:
            await preferences.set(self.me, environment_id, opens=opens)
            return opens or None
        if "path" in self.form:
            return self.form.path("path")
        return await preferences.find_opening(self.me, environment_id)


async def start_launch(
    handler: PageHandler,
    environment_id: str,
    *,
    server_name: str = "",
    path: str | None = None,
    restart: bool = False,
    profile: ProfileChoice | None = None,
) -> None:
    """Launch, then show the progress, the server, or a conflict.

    A server with another origin is opened by the launch's page: a form must not lead there.
    """
    try:
        launch = await handler.services.launches.create(
            handler.me,
            handler.token,
            environment_id,
            server_name=server_name,
            path=path,
            restart=restart,
            client_ip=client_ip(handler.request),
            origin=handler.launch_origin,
            profile=profile,
        )
    except Conflict as error:
        if error.error_code != "server_running":
            raise
        environment = await handler.services.environments.get(handler.me, environment_id)
        handler.set_status(409)
        await show_launch_form(
            handler,
            environment,
            path=path,
            conflict=_conflict(handler, error, server_name, environment),
        )
        return
    url = server_link(launch.url)
    handler.redirect(url or f"{handler.prefix}launch/{launch.id}", status=303)


async def show_launch_form(
    handler: PageHandler,
    environment: Environment,
    *,
    path: str | None,
    conflict: Mapping[str, str | bool] | None = None,
    beside: bool = False,
) -> None:
    """Show the form, with choices if a server is running.

    `beside` says what became of the build as the page with the choices does.
    """
    (item,) = await handler.fetch_views([environment])
    listing = await handler.services.files.list(environment)
    handler.render_page(
        "launch_new.html",
        page_title=_("Launch %(name)s", name=environment.name),
        item=item,
        path=environment.path if path is None else path,
        profiles=await profiles_view(handler, environment.id),
        proposed=listing.find()[:_PROPOSED] if listing else (),
        server_name="",
        suggested_server=safe_server_name(environment.name),
        conflict=conflict,
        beside=beside or conflict is not None,
    )


def _conflict(
    handler: PageHandler, error: Conflict, server_name: str, wanted: Environment
) -> dict[str, str | bool]:
    """Describe the running server."""
    detail = error.detail
    running = detail.get("environment")
    same = isinstance(running, Mapping) and running.get("id") == wanted.id
    return {
        "server_name": str(detail.get("server_name") or server_name),
        "environment": str(
            (running.get("name") if isinstance(running, Mapping) else running) or ""
        ),
        "other_build": same and "profile" not in detail,
        "other_profile": same and "profile" in detail,
        "url": handler.server_link(detail.get("url")) or "",
    }


class LaunchPage(PageHandler):
    """``/launch/<id>``."""

    async def get(self, launch_id: str) -> None:
        """Show the progress."""
        launch = await self.services.launches.get(self.me, launch_id, token=self.token)
        environment = await self._environment(launch.environment_id)
        url = self.server_link(launch.url)
        ended = launch.finished
        fresh = ended is None or (datetime.now(UTC) - ended).total_seconds() < _FRESH_SECONDS
        build = await self._build(launch.build_id)
        view = LaunchView(launch, environment, build)
        self.render_page(
            "launch.html",
            page_title=f"{view.pill.label} · {environment.name if environment else _('Your server')}",
            page_state=view.pill.kind,
            view=view,
            note=self._note(build),
            url=url,
            fresh=fresh,
            refresh=f"3; url={url}" if url and fresh else None if launch.state.finished else 3,
        )

    def _note(self, build: BuildView | None) -> str:
        return note_for_admin(build.build, self.address_of_build(build.build)) if build else ""

    async def _environment(self, environment_id: str) -> Environment | None:
        try:
            return await self.services.environments.get(self.me, environment_id)
        except NotFound:
            return None

    async def _build(self, build_id: str | None) -> BuildView | None:
        if build_id is None:
            return None
        try:
            build = await self.services.builds.fetch_build(build_id)
        except NotFound:
            return None
        return BuildView(build, await self.fetch_progress(build))


class LaunchCancel(PageHandler):
    """``POST /launch/<id>/cancel``."""

    async def post(self, launch_id: str) -> None:
        """Cancel the launch and stop its server."""
        await self.services.launches.cancel(self.me, launch_id, self.token)
        self.redirect(f"{self.prefix}launch/{launch_id}", status=303)
