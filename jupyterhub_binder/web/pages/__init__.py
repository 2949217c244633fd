"""The pages: they show what the service holds, and take the forms of browsers without scripts.

A GET changes nothing; a POST changes one thing and answers with a redirect. Scripts fetch
the same pages again and take the changed parts out of them; actions and logs they have from
the REST API. What a state looks like is decided in `views`.
"""

from __future__ import annotations

from typing import Any

from tornado.routing import URLSpec
from tornado.web import RequestHandler, StaticFileHandler

from jupyterhub_binder.errors import NotFound
from jupyterhub_binder.web.pages.base import ID, PageHandler, PageSettings, make_page_settings
from jupyterhub_binder.web.pages.builds import BuildCancel, BuildPage
from jupyterhub_binder.web.pages.environments import (
    EnvironmentAction,
    EnvironmentPage,
    EnvironmentsPage,
)
from jupyterhub_binder.web.pages.launches import LaunchCancel, LaunchNewPage, LaunchPage
from jupyterhub_binder.web.pages.links import Badge, LinkPage
from jupyterhub_binder.web.pages.new import NewPage
from jupyterhub_binder.web.templates import make_templates

__all__ = [
    "ID",
    "PageHandler",
    "PageSettings",
    "make_page_settings",
    "make_templates",
    "page_handlers",
]


class StaticFiles(StaticFileHandler):
    """Our scripts and styles, at an address that holds their version, so that caches keep them.

    Modules import each other by relative addresses, which thus carry the version too.
    """

    async def get(self, path: str, include_body: bool = True) -> None:
        """Send a file; an old version's address gets the present file, uncached."""
        version, _, rest = path.partition("/")
        self._cacheable = version == self.settings["pages"].static_version
        await super().get(rest, include_body)

    def set_extra_headers(self, path: str) -> None:
        """Let caches keep what can never change at its address."""
        self.set_header("X-Content-Type-Options", "nosniff")
        kept = "public, max-age=31536000, immutable" if self._cacheable else "no-cache"
        self.set_header("Cache-Control", kept)


class UnknownPage(PageHandler):
    """Answers any other address below the prefix."""

    async def get(self, *_: str) -> None:
        """Say that there is nothing."""
        raise NotFound("There is nothing at this address.")

    post = get


_ACTIONS = "settings|build|choose|stop|delete|restore"


def page_handlers(base_url: str, settings: PageSettings) -> list[URLSpec]:
    """Return the pages' routes below the service's prefix, which ends in a slash."""
    files = {"path": str(settings.static_folder)}
    routes: list[tuple[str, type[RequestHandler], dict[str, Any]]] = [
        (r"", EnvironmentsPage, {}),
        (r"new", NewPage, {}),
        (rf"environments/{ID}", EnvironmentPage, {}),
        (rf"environments/{ID}/launch", LaunchNewPage, {}),
        (rf"environments/{ID}/({_ACTIONS})", EnvironmentAction, {}),
        (rf"builds/{ID}", BuildPage, {}),
        (rf"builds/{ID}/cancel", BuildCancel, {}),
        (rf"launch/{ID}", LaunchPage, {}),
        (rf"launch/{ID}/cancel", LaunchCancel, {}),
        (r"v2/.+", LinkPage, {}),
        (r"(badge(?:_logo)?\.svg)", Badge, {}),
        (r"static/(.+)", StaticFiles, files),
        (r"(.+)", UnknownPage, {}),
    ]
    return [URLSpec(base_url + path, handler, kwargs) for path, handler, kwargs in routes]
