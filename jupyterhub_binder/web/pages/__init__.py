"""HTML pages, with forms for browsers without scripts.

A GET changes nothing. A POST changes one thing and redirects.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlunsplit

from tornado.routing import URLSpec
from tornado.web import Finish, RequestHandler, StaticFileHandler

from jupyterhub_binder.errors import NotFound
from jupyterhub_binder.web.pages.base import ID, PageHandler, PageSettings, make_page_settings
from jupyterhub_binder.web.pages.builds import BuildCancel, BuildPage
from jupyterhub_binder.web.pages.environments import (
    EnvironmentAction,
    EnvironmentPage,
    EnvironmentsPage,
)
from jupyterhub_binder.web.pages.featured import ACTIONS as FEATURED_ACTIONS
from jupyterhub_binder.web.pages.featured import FeatureAction
from jupyterhub_binder.web.pages.history import PackagesPage, UsePage
from jupyterhub_binder.web.pages.launches import LaunchCancel, LaunchNewPage, LaunchPage
from jupyterhub_binder.web.pages.links import BadgeHandler, LinkPage, OldLink
from jupyterhub_binder.web.pages.new import NewPage
from jupyterhub_binder.web.pages.prebuild import ROUTE as PREBUILD
from jupyterhub_binder.web.pages.prebuild import PrebuildAction
from jupyterhub_binder.web.pages.receipts import ReceiptPage
from jupyterhub_binder.web.pages.sharing import ACTIONS as SHARING_ACTIONS
from jupyterhub_binder.web.pages.sharing import SharingAction
from jupyterhub_binder.web.pages.sign_in import OAuthCallback
from jupyterhub_binder.web.pages.templates import hub_static_folders, make_templates
from jupyterhub_binder.web.pages.usage import PublicUsagePage

__all__ = [
    "ID",
    "PageHandler",
    "PageSettings",
    "make_page_settings",
    "make_templates",
    "page_handlers",
]


class StaticFiles(StaticFileHandler):
    """Scripts and styles, at URLs with a version for caching. Relative imports keep the version."""

    async def get(self, path: str, include_body: bool = True) -> None:
        """Send a file. Old versions' URLs get the current file, uncached."""
        version, _, rest = path.partition("/")
        self._cacheable = version == self.settings["pages"].static_version
        await super().get(rest, include_body)

    def set_extra_headers(self, path: str) -> None:
        """Let caches keep the current version."""
        self.set_header("X-Content-Type-Options", "nosniff")
        kept = "public, max-age=31536000, immutable" if self._cacheable else "no-cache"
        self.set_header("Cache-Control", kept)


class UnknownPage(PageHandler):
    """Any other URL. One that ends with a slash leads to the page without it."""

    async def prepare(self) -> None:
        """Redirect before anybody is asked who they are: the page does so itself."""
        path = self.request.path
        if path.endswith("/") and self.request.method in ("GET", "HEAD"):
            page = path.removeprefix(self.prefix).strip("/")
            self.redirect(urlunsplit(("", "", f"{self.prefix}{page}", self.request.query, "")))
            raise Finish
        await super().prepare()

    async def get(self, *_: str) -> None:
        """Answer 404."""
        raise NotFound(
            "There is no page at this address. Check the address, or start from your environments."
        )

    post = get


_ACTIONS = "settings|build|choose|resume|stop|delete|restore|pin"


def page_handlers(base_url: str, settings: PageSettings) -> list[URLSpec]:
    """Return the pages' routes."""
    files = {"path": str(settings.static_folder)}
    hub_files = [(r"hub-static/(.+)", StaticFiles, {"path": str(f)}) for f in hub_static_folders()]
    routes: list[tuple[str, type[RequestHandler], dict[str, Any]]] = [
        (r"", EnvironmentsPage, {}),
        (r"new", NewPage, {}),
        (r"receipt", ReceiptPage, {}),
        (r"usage", PublicUsagePage, {}),
        (rf"environments/{ID}", EnvironmentPage, {}),
        (rf"environments/{ID}/launch", LaunchNewPage, {}),
        (rf"environments/{ID}/use/([0-9]{{1,9}})", UsePage, {}),
        (rf"environments/{ID}/({_ACTIONS})", EnvironmentAction, {}),
        (rf"environments/{ID}/({SHARING_ACTIONS})", SharingAction, {}),
        (rf"environments/{ID}/({FEATURED_ACTIONS})", FeatureAction, {}),
        (PREBUILD, PrebuildAction, {}),
        (rf"builds/{ID}", BuildPage, {}),
        (rf"builds/{ID}/cancel", BuildCancel, {}),
        (rf"builds/{ID}/packages", PackagesPage, {}),
        (rf"launch/{ID}", LaunchPage, {}),
        (rf"launch/{ID}/cancel", LaunchCancel, {}),
        (r"v2/.+", LinkPage, {}),
        (r"repo/([^/]+)/([^/]+)(/.*)?", OldLink, {}),
        (r"(badge(?:_logo)?\.svg)", BadgeHandler, {}),
        (r"oauth_callback", OAuthCallback, {}),
        (r"static/(.+)", StaticFiles, files),
        *hub_files,
        (r"(.+)", UnknownPage, {}),
    ]
    return [URLSpec(base_url + path, handler, kwargs) for path, handler, kwargs in routes]
