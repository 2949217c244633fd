"""What every page shares: the hub's frame, errors as pages, forms, views of environments.

Which pages there are is not decided here.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from tornado.web import Finish

from jupyterhub_binder.errors import ConfigurationError, HubError, NotAllowed
from jupyterhub_binder.model import Build, Environment
from jupyterhub_binder.web.base import BaseHandler
from jupyterhub_binder.web.errors import Problem
from jupyterhub_binder.web.i18n import (
    N_,
    available_languages,
    choose_language,
    own_names,
    script_words,
    speak,
    spoken,
)
from jupyterhub_binder.web.i18n import gettext as _
from jupyterhub_binder.web.parse import Fields
from jupyterhub_binder.web.sentences import say
from jupyterhub_binder.web.templates import make_templates, share_folder, static_version
from jupyterhub_binder.web.views import EnvironmentView, server_path

if TYPE_CHECKING:
    import jinja2

    from jupyterhub_binder.builds import Standing
    from jupyterhub_binder.launches import Server

_SERVERS_TIMEOUT_SECONDS = 3.0
_LANGUAGE_COOKIE = "jupyterhub-binder-language"
_HEADLINES = {
    401: N_("Signed out"),
    403: N_("Not allowed"),
    404: N_("Not found"),
    429: N_("Too much at once"),
}

_FAILED = N_("That did not work")

_AS_PAGES = ("document", "empty")
"""What a browser may want a page for: to show it, or because a script of ours fetches it."""

ID = r"([0-9a-z]{1,40})"
"""An id in a pattern of addresses."""


@dataclass(frozen=True, slots=True)
class PageSettings:
    """What the pages need beside the services; `handler.pages`."""

    templates: jinja2.Environment
    static_folder: Path
    static_version: str
    example_url: str = ""
    """A repository that the empty list proposes."""
    example_name: str = ""
    languages: tuple[str, ...] = field(default_factory=available_languages)
    """What the pages speak; the first to those who ask for none of them."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """More variables for the templates, as the hub's `template_vars`."""


def make_page_settings(
    *,
    template_paths: Sequence[str | Path] = (),
    example_url: str = "",
    example_name: str = "",
    languages: Sequence[str] = (),
    extra: Mapping[str, Any] | None = None,
) -> PageSettings:
    """Load the templates and fingerprint the static files.

    Raises ConfigurationError for a language without a catalogue.
    """
    known = available_languages()
    if unknown := [each for each in languages if each not in known]:
        raise ConfigurationError(
            f"JupyterHubBinder.languages: there is no {unknown[0]!r}, but {', '.join(known)}."
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
    """A page in the hub's frame, for somebody who is signed in."""

    back = ""
    """Where a page that says what went wrong leads back to."""

    @property
    def pages(self) -> PageSettings:
        """The pages' own settings."""
        return self.settings["pages"]

    @property
    def prefix(self) -> str:
        """The service's prefix."""
        return self.services.base_url

    async def prepare(self) -> None:
        """Refuse a browser that wants the page as a part of another one, before anything is asked.

        A page may ask a repository's host in somebody's name: no foreign site's frame or picture
        may be what makes it.
        """
        self._choose_language()
        if self.request.headers.get("Sec-Fetch-Dest", "document") not in _AS_PAGES:
            raise NotAllowed("This page cannot be a part of another one. Open it by itself.")
        await super().prepare()

    def _choose_language(self) -> None:
        """Speak what the address asks for, which is remembered, or what the browser likes."""
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
        """Send a browser to the hub's login, and back here."""
        if self.request.method not in ("GET", "HEAD"):
            super().refuse_stranger()
        self.redirect(self.get_login_url())
        raise Finish

    # --- Rendering --------------------------------------------------------------------------

    def render_page(self, name: str, **values: Any) -> None:
        """Answer with one of our templates."""
        template = self.pages.templates.get_template(f"binder/{name}")
        self.set_header("Content-Type", "text/html; charset=UTF-8")
        self.set_header("Cache-Control", "no-store")
        self.finish(template.render({**self._frame(), **values}))

    def _frame(self) -> dict[str, Any]:
        """Return what the hub's page.html and our base.html expect."""
        hub_url = self.services.hub_url
        return {
            **self.pages.extra,
            "binder": self._links,
            "base_url": hub_url,
            "prefix": hub_url.removesuffix("hub/"),
            "user": _frame_user(self),
            "logout_url": f"{hub_url}logout",
            "login_url": f"{hub_url}login",
            "no_spawner_check": True,
            "static_url": lambda path, **_: f"{hub_url}static/{path}",
            "xsrf_token": (self.xsrf_token or b"").decode("ascii") if self.user else "",
            "csp_nonce": self.csp_nonce,
            "page_title": _("Environments"),
            **self._language(),
            "example_url": self.pages.example_url,
            "example_name": self.pages.example_name,
            "named_servers": self.services.named_servers,
            "drain": self.services.command.drain.state,
        }

    def _language(self) -> dict[str, Any]:
        """Return what is spoken, what else could be, and the texts of the scripts."""
        arguments = {
            name: values[-1].decode(errors="replace")
            for name, values in self.request.query_arguments.items()
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
        """Answer an error as a page with its sentence."""
        problem: Problem = kwargs["problem"]
        self.set_error_headers(status_code, problem)
        headline = _HEADLINES.get(status_code, _FAILED)
        self.render_page(
            "error.html",
            page_title=_(headline),
            headline=_(headline),
            message=say(problem.message),
            back=self.back if status_code != 404 else "",
            request_id=self.request_id,
        )

    # --- Reading ----------------------------------------------------------------------------

    @cached_property
    def form(self) -> Fields:
        """The fields of the form that was sent."""
        names = self.request.body_arguments
        return Fields({name: self.get_body_argument(name) for name in names})

    async def fetch_views(self, environments: Iterable[Environment]) -> list[EnvironmentView]:
        """Return views of environments, with their running servers and unfinished builds."""
        servers = await self.fetch_servers()
        return [
            EnvironmentView(each, await self.fetch_standing(each), servers.get(each.id))
            for each in environments
        ]

    async def fetch_standing(self, of: Environment | Build) -> Standing | None:
        """Return how far an unfinished build is, None for a finished one."""
        if isinstance(of, Environment):
            if of.latest is None:
                return None
            of = of.latest.build
        return None if of.state.finished else await self.services.builds.standing(of)

    async def fetch_servers(self) -> dict[str, Server]:
        """Return the person's running servers by environment; none when the hub does not say."""
        try:
            async with asyncio.timeout(_SERVERS_TIMEOUT_SECONDS):
                servers = await self.services.launches.servers(self.me, self.token)
        except (HubError, TimeoutError):
            return {}
        return {
            server.environment_id: server
            for server in servers
            if server.environment_id and server.ready and server_path(server.url)
        }


def _frame_user(handler: PageHandler) -> dict[str, Any] | None:
    """Return the user as the hub's page.html reads it."""
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
