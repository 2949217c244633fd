"""The pages: they show what the service holds, and take the forms of browsers without scripts.

A GET changes nothing; a POST changes one thing and answers with a redirect. Scripts fetch
the same pages again and take the changed parts out of them; actions and logs they have from
the REST API. What a state looks like is decided in `views`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from tornado.routing import URLSpec
from tornado.web import Finish, RequestHandler, StaticFileHandler

from jupyterhub_binder.clientip import client_ip
from jupyterhub_binder.errors import BinderError, Conflict, HubError, InvalidInput, NotFound
from jupyterhub_binder.model import Build, ContentMode, Environment, Link, Page, Severity
from jupyterhub_binder.slugs import server_name as safe_server_name
from jupyterhub_binder.web.base import BaseHandler
from jupyterhub_binder.web.errors import Problem
from jupyterhub_binder.web.parse import Fields, query_choice, query_integer, query_text
from jupyterhub_binder.web.templates import make_templates, share_folder, static_version
from jupyterhub_binder.web.views import BuildView, EnvironmentView, LaunchView, server_path

if TYPE_CHECKING:
    import jinja2

    from jupyterhub_binder.environments import Preview

__all__ = ["PageSettings", "make_page_settings", "make_templates", "page_handlers"]

PAGE_SIZE = 50
HISTORY_SIZE = 50
TAIL_LINES = 300
"""Lines of a log on a page without scripts."""
_FRESH_SECONDS = 30
"""How long after its end a launch that becomes ready still opens its server by itself."""
_SERVERS_TIMEOUT_SECONDS = 3.0

_HINTS = {
    "ref_not_found": "Look at the repository's branches and tags; upper and lower case count.",
    "host_not_found": "Check the spelling. It may be the hub that has no way to that host.",
    "repository_not_found": "Check the spelling. Private repositories cannot be built here yet.",
    "upstream_unavailable": "The host may be busy. Try again in a minute.",
}
_REF_WORDS = {"branch": "Branch", "tag": "Tag", "commit": "Commit", "version": "Version"}
_SAID = {
    "": "",
    "saved": "Saved.",
    "newest": "This is the newest commit already, and it is built.",
}
"""What a page says of the form that led to it."""
_HEADLINES = {401: "Signed out", 403: "Not allowed", 404: "Not found", 429: "Too much at once"}


@dataclass(frozen=True, slots=True)
class PageSettings:
    """What the pages need beside the services; `handler.pages`."""

    templates: jinja2.Environment
    static_folder: Path
    static_version: str
    example_url: str = ""
    """A repository that the empty list proposes."""
    example_name: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """More variables for the templates, as the hub's `template_vars`."""


def make_page_settings(
    *,
    template_paths: Sequence[str | Path] = (),
    example_url: str = "",
    example_name: str = "",
    extra: Mapping[str, Any] | None = None,
) -> PageSettings:
    """Load the templates and fingerprint the static files."""
    folder = share_folder() / "static"
    return PageSettings(
        templates=make_templates(template_paths),
        static_folder=folder,
        static_version=static_version(folder),
        example_url=example_url,
        example_name=example_name or example_url.partition("://")[2] or example_url,
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
            "page_title": "Environments",
            "example_url": self.pages.example_url,
            "example_name": self.pages.example_name,
            "named_servers": self.services.named_servers,
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
        self.render_page(
            "error.html",
            page_title=_HEADLINES.get(status_code, "Error"),
            headline=_HEADLINES.get(status_code, "That did not work"),
            message=problem.message,
            back=self.back if status_code != 404 else "",
            request_id=self.request_id if status_code >= 500 else "",
        )

    # --- Reading ----------------------------------------------------------------------------

    @cached_property
    def form(self) -> Fields:
        """The fields of the form that was sent."""
        names = self.request.body_arguments
        return Fields({name: self.get_body_argument(name) for name in names})

    async def fetch_views(self, environments: Iterable[Environment]) -> list[EnvironmentView]:
        """Return views of environments, with their running servers and unfinished builds."""
        servers = await self._servers_by_environment()
        return [
            EnvironmentView(each, await self.fetch_standing(each), servers.get(each.id))
            for each in environments
        ]

    async def fetch_standing(self, of: Environment | Build) -> Any:
        """Return how far an unfinished build is, None for a finished one."""
        if isinstance(of, Environment):
            if of.latest is None:
                return None
            of = of.latest.build
        return None if of.state.finished else await self.services.builds.standing(of)

    async def _servers_by_environment(self) -> dict[str, Any]:
        """Return the person's running servers; none when the hub does not say."""
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


# --- My environments --------------------------------------------------------------------------


class EnvironmentsPage(PageHandler):
    """``/``: what I have, whether it is ready, and a button that starts it."""

    async def get(self) -> None:
        """Show a part of the list."""
        search = query_text(self, "search", most=200)
        order = query_choice(self, "order", ("recent", "name"))
        page = await self.services.environments.list(
            self.me,
            search=search,
            order=order,  # type: ignore[arg-type]
            offset=query_integer(self, "offset", default=0),
            limit=PAGE_SIZE,
        )
        items = await self.fetch_views(page.items)
        self.render_page(
            "environments.html",
            page=Page(tuple(items), page.total, page.offset, page.limit),
            search=search,
            searching=bool(search),
            order=order,
            unfinished=any(item.unfinished for item in items),
            previous_url=self._url(search, order, max(0, page.offset - page.limit)),
            next_url=self._url(search, order, page.offset + page.limit),
            name_url=self._url(search, "name", 0),
            recent_url=self._url(search, "recent", 0),
            **await self._deleted(),
        )

    async def _deleted(self) -> dict[str, str]:
        """Return what was deleted just now, for the offer to undo it."""
        deleted = query_text(self, "deleted", most=40)
        if not deleted:
            return {}
        try:
            environment = await self.services.environments.get_deleted(self.me, deleted)
        except NotFound:
            return {}
        return {"deleted": deleted, "deleted_name": environment.name}

    def _url(self, search: str, order: str, offset: int) -> str:
        given = {"search": search, "order": order if order != "recent" else "", "offset": offset}
        query = urlencode({name: value for name, value in given.items() if value})
        return f"{self.prefix}?{query}" if query else self.prefix


# --- A new one --------------------------------------------------------------------------------


class NewPage(PageHandler):
    """``/new``: did it understand my link, and what will happen."""

    async def get(self) -> None:
        """Show the form, and what was understood of a link if there is one."""
        await self._show(query_text(self, "url", most=2000), query_text(self, "ref", most=250))

    async def post(self) -> None:
        """Make the environment, build it, and launch it if that was asked for."""
        url = self.form.text("url", most=2000, required=True) or ""
        ref = self.form.text("ref", most=250) or ""
        try:
            environment = await self.services.environments.create(
                self.me,
                link=self._link(url, ref),
                name=self.form.text("name", most=200) or None,
                content=self.form.choice("content", ContentMode) or ContentMode.COPY,
            )
        except BinderError as error:
            await self._refuse(url, ref, error)
            return
        if self.form.text("then", most=20) == "launch":
            await start_launch(self, environment.id)
            return
        self.redirect(page_of_newest_build(self.prefix, environment), status=303)

    async def _refuse(self, url: str, ref: str, error: BinderError) -> None:
        self.set_status(error.status)
        self._show_form(url, ref, problem=_problem(error))

    def _link(self, url: str, ref: str) -> Link:
        providers = self.services.providers
        link = providers.understand(url)
        return providers.at_ref(link, ref) if ref else link

    async def _show(self, url: str, ref: str) -> None:
        if not url.strip():
            self._show_form("", "")
            return
        try:
            preview = await self.services.environments.preview(self.me, self._link(url, ref))
            limits = await self.services.environments.limits(self.me)
        except BinderError as error:
            self._show_form(url, ref, problem=_problem(error))
            return
        provider = self.services.providers[preview.resolved.spec.provider]
        self._show_form(
            url,
            ref,
            preview=preview,
            preview_problems=[f for f in preview.findings if f.severity is Severity.PROBLEM],
            findings=preview.findings,
            files=_files(preview),
            ref_word=_REF_WORDS.get(preview.resolved.ref_kind, "Version"),
            provider_name=provider.display_name,
            limit_words=_limit_words(limits.get("builds")),
        )

    def _show_form(self, url: str, ref: str, **values: Any) -> None:
        providers = [
            {"name": each.display_name, "placeholder": each.placeholder}
            for each in self.services.providers
        ]
        self.render_page(
            "new.html",
            page_title="New environment",
            url=url,
            ref=ref,
            providers=providers,
            content=ContentMode.COPY,
            **values,
        )


def _problem(error: BinderError) -> dict[str, str]:
    code = error.error_code
    return {"code": code, "message": error.message, "hint": _HINTS.get(code, "")}


def _files(preview: Preview) -> list[dict[str, Any]]:
    """Join the recipe's files with what the backend will do with each."""
    actions = {action.path: action for action in preview.assessment.actions}
    files = []
    for file in preview.recipe.files:
        action = actions.get(file.path)
        words = action.action if action else ("" if file.used else "Not used: another file counts")
        supported = action.supported if action else True
        files.append(
            {"path": file.path, "used": file.used, "supported": supported, "action": words}
        )
    return files


def _limit_words(limit: Any) -> str:
    """Say how many builds a person may run; nothing where there is no limit."""
    if limit is None or limit.limit is None:
        return ""
    running = {0: "none is running", 1: "one is running"}.get(
        limit.used, f"{limit.used} are running"
    )
    builds = "1 build" if limit.limit == 1 else f"{limit.limit} builds"
    return f"You may run {builds} at once; {running}"


def page_of_newest_build(prefix: str, environment: Environment) -> str:
    """Return the page to show after a build was asked for."""
    if environment.latest is None or environment.latest.build.state.finished:
        return f"{prefix}environments/{environment.id}"
    return f"{prefix}builds/{environment.latest.build.id}"


# --- One environment --------------------------------------------------------------------------


class EnvironmentPage(PageHandler):
    """``/environments/<id>``: one environment, its builds and settings."""

    async def get(self, environment_id: str) -> None:
        """Show it."""
        environments = self.services.environments
        environment = await environments.get(self.me, environment_id)
        history = await environments.history(self.me, environment_id, limit=HISTORY_SIZE)
        (item,) = await self.fetch_views([environment])
        self.render_page(
            "environment.html",
            page_title=environment.name,
            page_state=item.pill.kind,
            item=item,
            said=_SAID[query_choice(self, "said", tuple(_SAID))],
            history=history,
            builds=[
                BuildView(request.build, None, environment, request) for request in history.items
            ],
        )


class EnvironmentAction(PageHandler):
    """``POST /environments/<id>/<action>``: the forms of browsers without scripts."""

    async def post(self, environment_id: str, action: str) -> None:
        """Do one thing, and show the page that it leads to."""
        self.back = self._page(environment_id)
        act = getattr(self, f"_{action}")
        self.redirect(await act(environment_id), status=303)

    async def _settings(self, environment_id: str) -> str:
        await self.services.environments.update(
            self.me,
            environment_id,
            name=self.form.text("name", most=200, required=True) if "name" in self.form else None,
            path=self.form.path("path"),
            content=self.form.choice("content", ContentMode),
        )
        return f"{self._page(environment_id)}?said=saved"

    async def _build(self, environment_id: str) -> str:
        environment = await self.services.environments.build(
            self.me,
            environment_id,
            ref=self.form.text("ref", most=250) or None,
            force=self.form.text("force", most=5) == "1",
        )
        page = page_of_newest_build(self.prefix, environment)
        return f"{page}?said=newest" if page == self.back else page

    async def _choose(self, environment_id: str) -> str:
        number = self.form.text("number", most=10, required=True) or ""
        if not (number.isascii() and number.isdecimal()):
            raise InvalidInput("'number' must be a whole number.")
        await self.services.environments.choose(self.me, environment_id, int(number))
        return self._page(environment_id)

    async def _delete(self, environment_id: str) -> str:
        await self.services.environments.delete(self.me, environment_id)
        return f"{self.prefix}?deleted={environment_id}"

    async def _restore(self, environment_id: str) -> str:
        await self.services.environments.restore(self.me, environment_id)
        return self.prefix

    def _page(self, environment_id: str) -> str:
        return f"{self.prefix}environments/{environment_id}"


# --- One build --------------------------------------------------------------------------------


class BuildPage(PageHandler):
    """``/builds/<id>``: how far, how long, what went wrong."""

    async def get(self, build_id: str) -> None:
        """Show the build, and the end of its log for browsers without scripts."""
        build, environment, request = await self.services.environments.request_of(self.me, build_id)
        view = BuildView(build, await self.fetch_standing(build), environment, request)
        after = max(0, build.lines - TAIL_LINES)
        events = await self.services.builds.fetch_log(build_id, after=after, limit=TAIL_LINES)
        self.render_page(
            "build.html",
            page_title=f"{view.pill.label} · {environment.name if environment else build.label}",
            page_state=view.pill.kind,
            view=view,
            events=events,
            first_line=after + 1,
            refresh=None if view.finished else 10,
        )


class BuildCancel(PageHandler):
    """``POST /builds/<id>/cancel``."""

    async def post(self, build_id: str) -> None:
        """Withdraw this person's wish for the build."""
        await self.services.environments.request_of(self.me, build_id)
        self.back = f"{self.prefix}builds/{build_id}"
        await self.services.builds.cancel(build_id, user=self.me)
        self.redirect(f"{self.prefix}builds/{build_id}", status=303)


# --- Launches ---------------------------------------------------------------------------------


class LaunchNewPage(PageHandler):
    """``/environments/<id>/launch``: asks what to start, and starts it."""

    async def get(self, environment_id: str) -> None:
        """Show what would be started; start nothing."""
        environment = await self.services.environments.get(self.me, environment_id)
        await show_launch_form(self, environment, path=environment.path)

    async def post(self, environment_id: str) -> None:
        """Start it."""
        self.back = f"{self.prefix}environments/{environment_id}"
        await start_launch(
            self,
            environment_id,
            server_name=self.form.text("server_name", most=30) or "",
            path=self.form.path("path"),
            restart=self.form.text("restart", most=5) == "1",
        )


async def start_launch(
    handler: PageHandler,
    environment_id: str,
    *,
    server_name: str = "",
    path: str | None = None,
    restart: bool = False,
) -> None:
    """Launch, and show the progress, the server, or what stands in the way."""
    try:
        launch = await handler.services.launches.create(
            handler.me,
            handler.token,
            environment_id,
            server_name=server_name,
            path=path,
            restart=restart,
            client_ip=client_ip(handler.request),
        )
    except Conflict as error:
        if error.error_code != "server_running":
            raise
        environment = await handler.services.environments.get(handler.me, environment_id)
        handler.set_status(409)
        await show_launch_form(
            handler, environment, path=path, conflict=_conflict(error, server_name)
        )
        return
    url = server_path(launch.url)
    handler.redirect(url or f"{handler.prefix}launch/{launch.id}", status=303)


async def show_launch_form(
    handler: PageHandler,
    environment: Environment,
    *,
    path: str | None,
    conflict: Mapping[str, str] | None = None,
) -> None:
    """Show the form of a launch, or the choice that a running server leaves."""
    (item,) = await handler.fetch_views([environment])
    handler.render_page(
        "launch_new.html",
        page_title=f"Launch {environment.name}",
        item=item,
        path=environment.path if path is None else path,
        server_name="",
        suggested_server=safe_server_name(environment.name),
        conflict=conflict,
    )


def _conflict(error: Conflict, server_name: str) -> dict[str, str]:
    """Read the detail of a server that runs already."""
    detail = error.detail
    running = detail.get("environment")
    return {
        "server_name": str(detail.get("server_name") or server_name),
        "environment": str(
            (running.get("name") if isinstance(running, Mapping) else running) or ""
        ),
        "url": server_path(detail.get("url")) or "",
    }


class LaunchPage(PageHandler):
    """``/launch/<id>``: the progress of one launch, and then the server."""

    async def get(self, launch_id: str) -> None:
        """Show how far it is."""
        launch = await self.services.launches.get(self.me, launch_id, token=self.token)
        environment = await self._environment(launch.environment_id)
        url = server_path(launch.url)
        ended = launch.finished
        fresh = ended is None or (datetime.now(UTC) - ended).total_seconds() < _FRESH_SECONDS
        view = LaunchView(launch, environment, await self._build(launch.build_id))
        self.render_page(
            "launch.html",
            page_title=f"{view.pill.label} · {environment.name if environment else 'server'}",
            page_state=view.pill.kind,
            view=view,
            url=url,
            fresh=fresh,
            refresh=f"3; url={url}" if url and fresh else None if launch.state.finished else 3,
        )

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
        return BuildView(build, await self.fetch_standing(build))


class LaunchCancel(PageHandler):
    """``POST /launch/<id>/cancel``."""

    async def post(self, launch_id: str) -> None:
        """Cancel it, and stop what it started."""
        await self.services.launches.cancel(self.me, launch_id, self.token)
        self.redirect(f"{self.prefix}launch/{launch_id}", status=303)


# --- Files and routes -------------------------------------------------------------------------


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


_ID = r"([0-9a-z]{1,40})"
_ACTIONS = "settings|build|choose|delete|restore"


def page_handlers(base_url: str, settings: PageSettings) -> list[URLSpec]:
    """Return the pages' routes below the service's prefix, which ends in a slash."""
    files = {"path": str(settings.static_folder)}
    routes: list[tuple[str, type[RequestHandler], dict[str, Any]]] = [
        (r"", EnvironmentsPage, {}),
        (r"new", NewPage, {}),
        (rf"environments/{_ID}", EnvironmentPage, {}),
        (rf"environments/{_ID}/launch", LaunchNewPage, {}),
        (rf"environments/{_ID}/({_ACTIONS})", EnvironmentAction, {}),
        (rf"builds/{_ID}", BuildPage, {}),
        (rf"builds/{_ID}/cancel", BuildCancel, {}),
        (rf"launch/{_ID}", LaunchPage, {}),
        (rf"launch/{_ID}/cancel", LaunchCancel, {}),
        (r"static/(.+)", StaticFiles, files),
        (r"(.+)", UnknownPage, {}),
    ]
    return [URLSpec(base_url + path, handler, kwargs) for path, handler, kwargs in routes]
