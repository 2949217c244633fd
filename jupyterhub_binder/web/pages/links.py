"""``/v2/<provider>/<spec>``: the target of links and badges, as in BinderHub; and older links."""

from __future__ import annotations

from urllib.parse import quote, urlencode

from tornado.web import RequestHandler

from jupyterhub_binder.environments.previews import Preview
from jupyterhub_binder.errors import BinderError
from jupyterhub_binder.model import Link
from jupyterhub_binder.web.i18n.language import gettext as _
from jupyterhub_binder.web.pages.files import FilesView, files_view
from jupyterhub_binder.web.pages.launches import start_launch
from jupyterhub_binder.web.pages.new import NewPage
from jupyterhub_binder.web.pages.previews import preview_values
from jupyterhub_binder.web.pages.profiles import profiles_view, read_profile_fields
from jupyterhub_binder.web.services import Services


class LinkPage(NewPage):
    """Shows what a link would build and start, and asks once. An invalid link can be corrected."""

    async def get(self) -> None:
        """Show the preview."""
        try:
            preview = await self.services.previews.preview(self.me, self._followed())
        except BinderError as error:
            self.refuse(self._address(), "", error)
            return
        self.render_page(
            "link.html",
            page_title=_("Open %(name)s", name=preview.suggested_name),
            url=self._address(),
            profiles=await profiles_view(self, preview.kept.id if preview.kept else ""),
            repository_files=await self._files(preview),
            **await preview_values(self, preview),
        )

    async def _files(self, preview: Preview) -> FilesView | None:
        """Return what there is to open, if neither the link nor another repository says it."""
        if preview.link.path or preview.content_url:
            return None
        return files_view(self, await self.services.files.list_at(preview.resolved))

    async def post(self) -> None:
        """Create an environment if needed, and launch it."""
        link = self._followed()
        environment = await self.services.environments.ensure(self.me, link)
        path = link.path or None
        if file := self.form.path("file"):
            preferences = self.services.preferences
            path = await preferences.find_opening_of(self.me, environment.id, file)
        profile = await read_profile_fields(self)
        await start_launch(self, environment.id, path=path, profile=profile)

    def _followed(self) -> Link:
        return self.services.providers.understand(self._address())

    def _address(self) -> str:
        """Return the link with ``%2F`` kept."""
        return self.request.full_url()


class OldLink(RequestHandler):
    """``/repo/<user>/<repository>``, the links of the first Binder."""

    def get(self, user: str, repository: str, path: str | None) -> None:
        """Redirect to today's form."""
        services: Services = self.settings["services"]
        spec = f"{quote(user, safe='')}/{quote(repository, safe='')}/HEAD"
        opens = f"?{urlencode({'urlpath': path})}" if path and path.strip("/") else ""
        self.redirect(f"{services.base_url}v2/gh/{spec}{opens}")


class BadgeHandler(RequestHandler):
    """``/badge.svg``, public for other sites."""

    def get(self, name: str) -> None:
        """Send the image, cached for an hour."""
        file = self.settings["pages"].static_folder / name
        self.set_header("Content-Type", "image/svg+xml")
        self.set_header("Cache-Control", "public, max-age=3600")
        self.set_header("Cross-Origin-Resource-Policy", "cross-origin")
        self.set_header("Content-Security-Policy", "default-src 'none'")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.finish(file.read_bytes())
