"""Common to all pages: frame, errors, forms and views."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from tornado.web import Finish

from jupyterhub_binder.errors import ConfigurationError, HubError, NotAllowed
from jupyterhub_binder.model import Build, Environment
from jupyterhub_binder.model.preferences import Preference
from jupyterhub_binder.utils.share import share_folder
from jupyterhub_binder.web.api.parse import Fields
from jupyterhub_binder.web.errors import NotSignedIn, Problem
from jupyterhub_binder.web.handlers import BaseHandler
from jupyterhub_binder.web.i18n.language import (
    N_,
    available_languages,
    choose_language,
    own_names,
    say,
    script_words,
    speak,
    spoken,
)
from jupyterhub_binder.web.i18n.language import gettext as _
from jupyterhub_binder.web.pages.templates import (
    hub_static_folders,
    make_templates,
    static_version,
)
from jupyterhub_binder.web.pages.views import EnvironmentView, ServerView, server_link

if TYPE_CHECKING:
    import jinja2

    from jupyterhub_binder.builds.service import BuildProgress
    from jupyterhub_binder.launches.service import Server

_SERVERS_TIMEOUT_SECONDS = 3.0
_LANGUAGE_COOKIE = "jupyterhub-binder-language"
_HEADLINES = {
    401: N_("Signed out"),
    403: N_("Not allowed"),
    404: N_("Not found"),
    429: N_("Too many requests"),
}

_FAILED = N_("Something went wrong")

_SECRET_ARGUMENTS = ("code", "state")
"""Of the hub's answer to a log-in; no page repeats them."""

_AS_PAGES = ("document", "empty")
"""Sec-Fetch-Dest of a browser's page and our script's fetch."""

ID = r"([0-9a-z]{1,40})"
"""An id in a URL pattern."""


@dataclass(frozen=True, slots=True)
class PageSettings:
    """Settings of the pages; `handler.pages`."""

    templates: jinja2.Environment
    static_folder: Path
    static_version: str
    example_url: str = ""
    """Proposed on the empty list."""
    example_name: str = ""
    languages: tuple[str, ...] = field(default_factory=available_languages)
    """The first one is the default."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Template variables, like the hub's `template_vars`."""


def make_page_settings(
    *,
    template_paths: Sequence[str | Path] = (),
    example_url: str = "",
    example_name: str = "",
    languages: Sequence[str] = (),
    extra: Mapping[str, Any] | None = None,
) -> PageSettings:
    """Load templates, hash static files. Raises ConfigurationError."""
    known = available_languages()
    if unknown := [each for each in languages if each not in known]:
        raise ConfigurationError(
            f"JupyterHubBinder.languages: {unknown[0]!r} is not available. The available "
            f"languages are {', '.join(known)}."
        )
    folder = share_folder() / "static"
    return PageSettings(
        templates=make_templates(template_paths),
        static_folder=folder,
        static_version=static_version(folder),
        example_url=example_url,
        example_name=example_name or example_url.partition("://")[2] or example_url,
        languages=tuple(languages) or known,
        extra=dict(extra or {}),
    )


class PageHandler(BaseHandler):
    """A page in the hub's frame."""

    back = ""
    """Where an error page links to."""

    @property
    def pages(self) -> PageSettings:
        """The pages' settings."""
        return self.settings["pages"]

    @property
    def prefix(self) -> str:
        """The service's prefix."""
        return self.services.base_url

    async def prepare(self) -> None:
        """Refuse to be embedded in another page.

        A page may send requests to a repository's host in a person's name. Other sites' frames and
        images must not trigger that.
        """
        self._choose_language()
        if self.request.headers.get("Sec-Fetch-Dest", "document") not in _AS_PAGES:
            raise NotAllowed(
                "This page can't be shown inside another page. Open it in its own tab."
            )
        await super().prepare()

    def _choose_language(self) -> None:
        """Use the URL's language (and remember it), or the browser's."""
        asked = self.get_query_argument("lang", "")
        speak(
            choose_language(
                self.pages.languages,
                asked=asked,
                remembered=self.get_cookie(_LANGUAGE_COOKIE, "") or "",
                accepted=self.request.headers.get("Accept-Language", ""),
            )
        )
        if asked == spoken():
            self.set_cookie(
                _LANGUAGE_COOKIE,
                asked,
                path=self.prefix,
                expires_days=365,
                samesite="Lax",
                secure=self.request.protocol == "https",
            )

    def refuse_stranger(self) -> None:
        """Redirect to the hub's login; a form or a script's fetch is told to sign in."""
        if self.request.method not in ("GET", "HEAD") or "X-XSRFToken" in self.request.headers:
            self.back = self._page_before()
            raise NotSignedIn("You were signed out. Sign in again to go on where you were.")
        self.redirect(self.get_login_url())
        raise Finish

    def _page_before(self) -> str:
        """Return the page of ours that sent a form; empty if unknown."""
        before = urlsplit(self.request.headers.get("Referer", ""))
        mine = before.netloc == self.request.host and before.path.startswith(self.prefix)
        return before._replace(scheme="", netloc="", fragment="").geturl() if mine else ""

    # --- Rendering --------------------------------------------------------------------------

    def render_page(self, name: str, **values: Any) -> None:
        """Render a template."""
        template = self.pages.templates.get_template(f"binder/{name}")
        self.set_header("Content-Type", "text/html; charset=UTF-8")
        self.set_header("Cache-Control", "no-store")
        self.finish(template.render({**self._frame(), **values}))

    def _frame(self) -> dict[str, Any]:
        """Return variables of the hub's page.html and our base.html."""
        hub_url = self.services.hub_url
        makers = self.services.backend.makers
        return {
            **self.pages.extra,
            "binder": self._links,
            "base_url": hub_url,
            "prefix": hub_url.removesuffix("hub/"),
            "user": _frame_user(self),
            "logout_url": f"{hub_url}logout",
            "login_url": f"{hub_url}login",
            "no_spawner_check": True,
            "static_url": lambda path, **_: f"{self._hub_static}{path}",
            "xsrf_token": (self.xsrf_token or b"").decode("ascii") if self.user else "",
            "csp_nonce": self.csp_nonce,
            "page_title": _("Environments"),
            **self._language(),
            "example_url": self.pages.example_url,
            "example_name": self.pages.example_name,
            "named_servers": self.services.named_servers,
            "drain": self.services.drain.state,
            "builds_go_on": all(maker.goes_on_alone for maker in makers),
            "made_as": {each.name: each.made for each in makers} if len(makers) > 1 else {},
        }

    @property
    def _hub_static(self) -> str:
        """Where the hub's files are: below our own prefix if the hub has another origin.

        Browsers take no fonts from another origin.
        """
        if self.services.hub_host and hub_static_folders():
            return f"{self.prefix}hub-static/{self.pages.static_version}/"
        return f"{self.services.hub_url}static/"

    def _language(self) -> dict[str, Any]:
        """Return languages and texts for scripts."""
        arguments = {
            name: values[-1].decode(errors="replace")
            for name, values in self.request.query_arguments.items()
            if name not in _SECRET_ARGUMENTS
        }
        return {
            "language": spoken(),
            "languages": [
                (code, name, f"?{urlencode({**arguments, 'lang': code})}")
                for code, name in own_names(self.pages.languages)
            ],
            "script_words": dict(script_words(spoken())),
        }

    @cached_property
    def _links(self) -> dict[str, str]:
        return {
            "prefix": self.prefix,
            "api": f"{self.prefix}api/v1/",
            "static": f"{self.prefix}static/{self.pages.static_version}/",
        }

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Show an error page."""
        problem: Problem = kwargs["problem"]
        self.set_error_headers(status_code, problem)
        headline = _HEADLINES.get(status_code, _FAILED)
        self.render_page(
            "error.html",
            page_title=_(headline),
            headline=_(headline),
            message=say(problem.message),
            back=self.back if status_code != 404 else "",
            signed_out=status_code == 401,
            request_id=self.request_id,
        )

    # --- Reading ----------------------------------------------------------------------------

    @cached_property
    def form(self) -> Fields:
        """The submitted fields."""
        names = self.request.body_arguments
        return Fields({name: self.get_body_argument(name) for name in names})

    async def fetch_views(self, environments: Iterable[Environment]) -> list[EnvironmentView]:
        """Add running servers, unfinished builds, and what the rules refuse."""
        environments = tuple(environments)
        servers = await self.fetch_servers()
        newer = await self.services.upstreams.look(environments)
        preferred = await self.services.preferences.list(self.me, [e.id for e in environments])
        return [
            EnvironmentView(
                each,
                await self.fetch_progress(each),
                tuple(map(ServerView, servers.get(each.id, ()))),
                newer.get(each.id),
                preferred.get(each.id, Preference()),
                self.services.rules.judge(each, self.me.name),
            )
            for each in environments
        ]

    async def fetch_progress(self, of: Environment | Build) -> BuildProgress | None:
        """Return an unfinished build's progress."""
        if isinstance(of, Environment):
            if of.latest is None:
                return None
            of = of.latest.build
        return None if of.state.finished else await self.services.builds.progress(of)

    async def fetch_servers(self) -> dict[str, list[Server]]:
        """Return running servers by environment; empty without the hub."""
        try:
            async with asyncio.timeout(_SERVERS_TIMEOUT_SECONDS):
                servers = await self.services.launches.servers(self.me, self.token)
        except (HubError, TimeoutError):
            return {}
        running: dict[str, list[Server]] = {}
        for server in servers:
            if server.environment_id and server.ready and self.server_link(server.url):
                running.setdefault(server.environment_id, []).append(server)
        return running

    def address_of_build(self, build: Build) -> str:
        """Return a build's page with its host, for people to send."""
        return f"{self.request.protocol}://{self.request.host}{self.prefix}builds/{build.id}"

    def server_link(self, url: str | None) -> str | None:
        """Return a server's URL if it is on this hub, else None."""
        return server_link(url, self.services.hub_host)


def _frame_user(handler: PageHandler) -> dict[str, Any] | None:
    """Return the user for the hub's page.html."""
    if handler.user is None:
        return None
    escaped = json.dumps(handler.user.name)[1:-1]
    for character in "<>&'":
        escaped = escaped.replace(character, f"\\u{ord(character):04x}")
    return {
        "name": handler.user.name,
        "admin": handler.user.admin,
        "json_escaped_name": escaped,
    }
