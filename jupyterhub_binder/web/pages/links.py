"""``/v2/<provider>/<spec>``: where a link or a badge leads. It shows what it would do, and asks.

The address is a BinderHub's own, so that a link for mybinder.org works here once its host is
exchanged. What such an address means is decided in `providers`; our badges are drawn here.
"""

from __future__ import annotations

from tornado.web import RequestHandler

from jupyterhub_binder.errors import BinderError
from jupyterhub_binder.model import Link
from jupyterhub_binder.web.i18n import gettext as _
from jupyterhub_binder.web.pages.launches import start_launch
from jupyterhub_binder.web.pages.new import NewPage
from jupyterhub_binder.web.pages.previews import preview_values


class LinkPage(NewPage):
    """What a link would build and start; one confirmation does both.

    A link that leads nowhere ends in the form of a new environment, where it can be mended.
    """

    async def get(self) -> None:
        """Show it; build nothing, start nothing."""
        try:
            preview = await self.services.previews.preview(self.me, self._followed())
        except BinderError as error:
            self.refuse(self._address(), "", error)
            return
        self.render_page(
            "link.html",
            page_title=_("Open %(name)s", name=preview.suggested_name),
            url=self._address(),
            **await preview_values(self, preview),
        )

    async def post(self) -> None:
        """Keep an environment of the link's repository, unless one is kept, and start in it."""
        link = self._followed()
        environment = await self.services.environments.ensure(self.me, link)
        await start_launch(self, environment.id, path=link.path or None)

    def _followed(self) -> Link:
        return self.services.providers.understand(self._address())

    def _address(self) -> str:
        """Return the link as it was followed: in its path, ``%2F`` is no slash."""
        return self.request.full_url()


class Badge(RequestHandler):
    """``/badge.svg``: what a README shows; public, since other sites embed it."""

    def get(self, name: str) -> None:
        """Send the picture; caches may keep it for an hour."""
        file = self.settings["pages"].static_folder / name
        self.set_header("Content-Type", "image/svg+xml")
        self.set_header("Cache-Control", "public, max-age=3600")
        self.set_header("Cross-Origin-Resource-Policy", "cross-origin")
        self.set_header("Content-Security-Policy", "default-src 'none'")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.finish(file.read_bytes())
