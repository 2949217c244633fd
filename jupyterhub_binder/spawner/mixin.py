"""Lets any spawner start environments, and keeps the administrator's settings.

It asks the service, in the person's name, for the image; a browser never sends one.
"""

from __future__ import annotations

import asyncio
import html
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote, urljoin, urlsplit

import jupyterhub
from jupyterhub import orm
from jupyterhub.utils import maybe_future
from traitlets import Bool, Float, Integer, Unicode, default
from traitlets.config import Configurable

from jupyterhub_binder.model import LaunchSpec
from jupyterhub_binder.spawner.command import (
    CONTENT_VARIABLE,
    RECEIPT_VARIABLE,
    START_VARIABLE,
    content_script,
    pack_receipt,
)
from jupyterhub_binder.spawner.form import (
    BUILD_OPTION,
    BUILDING,
    IMAGE_OPTION,
    NAME_OPTION,
    OPTION,
    PATH_OPTION,
    RECORDED,
    REPOSITORY_OPTION,
    form,
    merge,
    split,
)
from jupyterhub_binder.spawner.refusal import StartRefused
from jupyterhub_binder.spawner.running import RunningEnvironment, describe
from jupyterhub_binder.spawner.service import Service, ServiceUnreachable, may_build
from jupyterhub_binder.spawner.startlog import StartLog
from jupyterhub_binder.utils.names import is_id
from jupyterhub_binder.utils.net import client_ip
from jupyterhub_binder.utils.wire import from_json

if TYPE_CHECKING:
    from jupyterhub.spawner import Spawner as _SpawnerBase
else:
    _SpawnerBase = Configurable

_OFFERED = 100
"""Maximum environments on the spawn page."""


class BinderSpawnerMixin(_SpawnerBase):
    """Lets a spawner start environments. Put it before the spawner's class.

    Subclasses implement `apply_environment`.
    """

    binder_service_name = Unicode(
        "binder",
        config=True,
        help="The name of the service in `JupyterHub.services`. Default: `binder`.",
    )
    binder_service_url = Unicode(
        config=True,
        help="""
        URL where the hub reaches the service, for example
        `http://127.0.0.1:10101/services/binder/`.

        Default: the URL in the hub's list of services.
        """,
    )
    binder_launch_host = Unicode(
        config=True,
        help="""
        URL of the service for browsers, for example `https://hub.example.org/services/binder/`.

        Servers get it as `BINDER_LAUNCH_HOST`. Default: the service's path below
        `JupyterHub.public_url`; if that is not set, the path alone.
        """,
    )
    binder_timeout_seconds = Float(
        20,
        min=1,
        config=True,
        help="How long the hub waits for an answer from the service, in seconds. Default: 20.",
    )
    binder_patience_seconds = Float(
        300,
        min=0,
        config=True,
        help="""
        How long a start that waits for a build keeps waiting while the service is down, in seconds.
        Default: 300.

        The build continues after a restart of the service, and so does the start.
        """,
    )
    binder_wait_seconds = Float(
        6 * 3600,
        min=1,
        config=True,
        help="""
        How long a start waits for the build of its environment, in seconds. Default: 21600 (6
        hours).

        This time does not count against `start_timeout`. Builds have their own limits.
        """,
    )
    binder_content_seconds = Float(
        20,
        min=1,
        config=True,
        help="""
        How long a start waits for the repository's files, in seconds. Default: 20.

        The server does not answer before that, so keep this below `Spawner.http_timeout`. If it
        takes longer, the work continues while the server runs: a new folder appears when it is
        complete, and updates of an existing folder wait for the next start.
        """,
    )
    binder_content_max_seconds = Float(
        3600,
        min=1,
        config=True,
        help="""
        Time limit for bringing the repository's files into the home directory, in seconds,
        including the start. Default: 3600.

        Raise it for very large repositories, or for slow hosts or home directories. After this time
        the work stops, and the next start begins it again.
        """,
    )
    binder_content_max_bytes = Integer(
        2 * 2**30,
        min=2**16,
        config=True,
        help="""
        Maximum size of a file that Git fetches into a home directory, in bytes. Default: 2 GiB.
        """,
    )
    binder_run_start = Bool(
        True,
        config=True,
        help="""
        Run a repository's `start` script when a server starts, as repo2docker does: with the
        server's command as its arguments. It runs in the person's server, with that person's
        rights. Default: True.

        False: servers start without it. Images whose entrypoint is not repo2docker's run what they
        have.
        """,
    )
    environments_root = Unicode(
        config=True,
        help="""
        The folder with the environments of the venv backend.

        Use the same value as for the service's `VenvBackend.environments_root`. Every user who
        starts a server must be able to read this folder.
        """,
    )

    binder_spec: LaunchSpec | None = None
    """For `pre_spawn_hook`; None without an environment."""

    binder_owned_options: ClassVar[frozenset[str]] = frozenset({"image"})
    """User options that an environment replaces."""

    _binder_log: StartLog | None = None
    _binder_asked_from: str = ""

    @default("binder_service_url")
    def _default_binder_service_url(self) -> str:
        service = orm.Service.find(self.user.db, self.binder_service_name)
        if service is None or service.server is None:
            return ""
        server = service.server
        return f"{server.proto}://{server.ip}:{server.port}{server.base_url}"

    @default("binder_launch_host")
    def _default_binder_launch_host(self) -> str:
        return urljoin(getattr(self, "public_hub_url", ""), self._page_url())

    def apply_environment(self, spec: LaunchSpec) -> Any:
        """Return a context manager for `start`. Raises StartRefused."""
        raise StartRefused(
            f"{type(self).__name__} can't start environments.", reason="configuration"
        )

    # --- Options: the environment's id, and nothing else of ours -------------------------------------

    async def get_options_form(self) -> str:
        """Put our field before the administrator's form."""
        theirs = await super().get_options_form() or ""
        return await self._environments_form(has_form=bool(theirs)) + theirs

    def run_options_from_form(self, form_data: dict[str, Any]) -> Any:
        """Read only our fields."""
        chosen, pasted, rest = split(form_data)
        return merge(super().run_options_from_form(rest), chosen, pasted)

    def options_from_query(self, query_data: dict[str, Any]) -> Any:
        """Read only our option. An address of a page begins no build."""
        chosen, _, rest = split(query_data)
        return merge(super().options_from_query(rest), chosen)

    async def _run_apply_user_options(self, user_options: dict[str, Any]) -> None:
        """Hide our options and replaced ones from hooks."""
        hidden = {OPTION, PATH_OPTION, REPOSITORY_OPTION, *RECORDED}
        with self._uncounted():
            chosen = self._chosen_environment()
        if chosen or self._pasted_repository():
            owned = self.binder_owned_options
            hidden |= owned
            self.user_options = {k: v for k, v in user_options.items() if k not in owned}
        others = {key: value for key, value in user_options.items() if key not in hidden}
        await super()._run_apply_user_options(others)

    def _chosen_environment(self) -> str:
        """Return the id or ''. Raises StartRefused."""
        options = self.user_options if isinstance(self.user_options, dict) else {}
        chosen = options.get(OPTION) or ""
        if chosen and not (isinstance(chosen, str) and is_id(chosen)):
            raise StartRefused("This is not a valid environment id.", reason="environment")
        return chosen

    def _pasted_repository(self) -> str:
        options = self.user_options if isinstance(self.user_options, dict) else {}
        pasted = options.get(REPOSITORY_OPTION)
        return pasted.strip() if isinstance(pasted, str) else ""

    async def _environments_form(self, *, has_form: bool) -> str:
        last = self._last_environment()
        paste = may_build(self.user)
        try:
            page = await self._service().ask(f"environments?limit={_OFFERED}&order=recent")
        except (ServiceUnreachable, StartRefused) as error:
            if has_form and not last:
                return ""
            return form([], last, self._page_url(), note=_why_no_list(error))
        items = [item for item in page.get("items", ()) if isinstance(item, dict)]
        if not items and not last and not (has_form and paste):
            return ""  # a hub without another form starts at once
        total = page.get("total")
        known = total if isinstance(total, int) else len(items)
        return form(items, last, self._page_url(), total=known, paste=paste)

    def _last_environment(self) -> str:
        options = self.orm_spawner.user_options if self.orm_spawner else None
        last = options.get(OPTION) if isinstance(options, dict) else None
        return last if isinstance(last, str) and is_id(last) else ""

    # --- The start -----------------------------------------------------------------------------------

    def run_pre_spawn_hook(self) -> Any:
        """Wait for the build, then run the administrator's hook."""
        return self._prepare_start()

    async def _prepare_start(self) -> None:
        self.binder_spec = None
        self._binder_asked_from = client_ip(self.handler.request) if self.handler else ""
        try:
            with self._uncounted():
                if pasted := self._pasted_repository():
                    await self._keep_pasted(pasted)
                if chosen := self._chosen_environment():
                    self.binder_spec = await self._ready_spec(chosen)
                    self._note_start(self.binder_spec)
            await maybe_future(super().run_pre_spawn_hook())
        except asyncio.CancelledError:
            # Without this, the page would say that the server is ready.
            self._start_log().close()
            with self._uncounted():
                raise StartRefused("The start was cancelled.", reason="cancelled") from None
        except BaseException:
            self._start_log().close()
            raise

    async def _keep_pasted(self, url: str) -> None:
        """Keep a pasted repository as an environment, and start that one from now on."""
        self._start_log().say(f"Looking for {url}", progress=1)
        try:
            body = {"url": url, "reuse": True}
            kept = await self._service().ask("environments", "POST", body)
        except ServiceUnreachable as error:
            raise _no_service(error) from error
        others = {k: v for k, v in self.user_options.items() if k != REPOSITORY_OPTION}
        self._note_options({**others, OPTION: str(kept.get("id", ""))})

    def _note_start(self, spec: LaunchSpec) -> None:
        """Record what starts, for the service and the home page."""
        noted = {
            IMAGE_OPTION: spec.image,
            NAME_OPTION: spec.environment_name,
            BUILD_OPTION: spec.build_number,
        }
        self._note_options({**self.user_options, **noted})

    def _note_options(self, options: dict[str, Any]) -> None:
        self.user_options = self.orm_spawner.user_options = options

    async def start(self) -> Any:
        """Start the server, in an environment if chosen."""
        spec = self.binder_spec
        try:
            if spec is None:
                return await self._begin()
            with self._uncounted(), self.apply_environment(spec):
                return await self._begin()
        finally:
            self._start_log().close()

    async def _begin(self) -> Any:
        """Start the server; pages now show its progress."""
        starting = super().start()
        self._start_log().close()
        return await maybe_future(starting)

    def get_env(self) -> dict[str, str]:
        """Add the environment's variables."""
        env = super().get_env()
        if self.binder_spec is not None:
            env |= self.environment_variables(self.binder_spec)
        return env

    def content_limits(self) -> list[str]:
        """Return the limits for bringing files."""
        return [
            f"--seconds={self.binder_content_seconds:g}",
            f"--max-seconds={self.binder_content_max_seconds:g}",
            f"--max-bytes={self.binder_content_max_bytes}",
        ]

    def environment_variables(self, spec: LaunchSpec) -> dict[str, str]:
        """Return BinderHub's variables and the script that brings the files.

        `BINDER_CLIENT_IP` is the request's address, never user input.
        """
        said = {
            "BINDER_REPO_URL": spec.repo_url,
            "BINDER_REF_URL": spec.ref_url or spec.repo_url,
            "BINDER_REQUEST": spec.request,
            "BINDER_PERSISTENT_REQUEST": spec.persistent_request,
            "BINDER_LAUNCH_HOST": self.binder_launch_host,
            "JUPYTERHUB_BINDER_ENVIRONMENT_URL": urljoin(
                f"{self.binder_launch_host.rstrip('/')}/", f"environments/{spec.environment_id}"
            ),
            "BINDER_CLIENT_IP": spec.client_ip or self._binder_asked_from,
            RECEIPT_VARIABLE: pack_receipt(spec.receipt),
        }
        known = {name: value for name, value in said.items() if value}
        without_start = {} if self.binder_run_start else {START_VARIABLE: ""}
        return {**known, **without_start, CONTENT_VARIABLE: content_script()}

    @contextmanager
    def _uncounted(self) -> Iterator[None]:
        """Keep refusals out of `consecutive_failure_limit`.

        JupyterHub 6 does so itself. In JupyterHub 5, a few failed builds in a row would stop the
        hub. The count is lowered before the hub raises it.
        """
        try:
            yield
        except StartRefused:
            if jupyterhub.version_info < (6,):
                settings = self.user.settings
                settings["failure_count"] = settings.get("failure_count", 0) - 1
            raise

    def clear_state(self) -> None:
        """Also forget the start's log."""
        super().clear_state()
        if self._binder_log is not None and self._binder_log.closed:
            self._binder_log = None

    async def progress(self) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the build's log, then the spawner's progress."""
        async for event in self._start_log().read():
            yield event
        async with aclosing(super().progress()) as events:
            async for event in events:
                yield event

    def _start_log(self) -> StartLog:
        if self._binder_log is None:
            self._binder_log = StartLog()
        return self._binder_log

    # --- Waiting for a build -------------------------------------------------------------------------

    async def _ready_spec(self, environment_id: str) -> LaunchSpec:
        """Wait for an image. Raises StartRefused."""
        try:
            async with asyncio.timeout(self.binder_wait_seconds):
                spec = await self._fetch_spec(environment_id, "POST")
                while spec.image is None and spec.state in BUILDING and spec.build_id:
                    await self._wait_for_build(spec, spec.build_id)
                    spec = await self._fetch_spec(environment_id)
        except TimeoutError:
            raise self.environment_refusal(
                "The build takes longer than a start can wait. The build continues; start "
                "the server again later",
                reason="build",
            ) from None
        except ServiceUnreachable as error:
            raise _no_service(error) from error
        if spec.image is None:
            raise self.environment_refusal(
                _why_no_image(spec), reason="build", page=f"environments/{spec.environment_id}"
            )
        self._start_log().say(f"Starting {spec.environment_name}", progress=45)
        return spec

    async def _fetch_spec(self, environment_id: str, method: str = "GET") -> LaunchSpec:
        """Fetch the launch spec; POST starts a missing build."""
        server = quote(self.name, safe="")
        answer = await self._service().ask(
            f"environments/{environment_id}/launch-spec?server_name={server}", method
        )
        try:
            return from_json(LaunchSpec, answer)
        except KeyError as error:
            raise ServiceUnreachable(f"The answer lacks {error}") from error
        except ValueError as error:
            raise ServiceUnreachable(f"The answer is invalid: {error}") from error

    async def _wait_for_build(self, spec: LaunchSpec, build_id: str) -> None:
        """Follow the build across restarts of the service."""
        link = f"{self._page_url()}builds/{build_id}"
        self._start_log().say(
            f"Waiting for the build of {spec.environment_name}",
            html_message=(
                f"Waiting for the build of {html.escape(spec.environment_name)}: "
                f'<a href="{html.escape(link)}" target="_blank">full log</a>'
            ),
            progress=5,
        )
        events = self._service().follow(build_id, patience_seconds=self.binder_patience_seconds)
        async with aclosing(events):
            async for event in events:
                self._start_log().show(event)

    # --- The hub's home page -------------------------------------------------------------------------

    async def describe_environment(self) -> RunningEnvironment | None:
        """Return what the home page says of a running server; None without an environment."""
        options = self.user_options if isinstance(self.user_options, dict) else {}
        chosen = options.get(OPTION)
        if not (isinstance(chosen, str) and is_id(chosen)):
            return None
        try:
            found = await self._service().ask(f"environments/{chosen}")
        except (ServiceUnreachable, StartRefused):
            found = {}
        return describe(self.name, options, found, page=f"{self._page_url()}environments/{chosen}")

    # --- The service ---------------------------------------------------------------------------------

    def _service(self) -> Service:
        return Service(
            name=self.binder_service_name,
            url=self.binder_service_url,
            user=self.user,
            timeout_seconds=self.binder_timeout_seconds,
            log=self.log,
        )

    def _page_url(self) -> str:
        """Return the path of the service's pages; on a hub with subdomains, their URL."""
        service = self.user.settings.get("services", {}).get(self.binder_service_name)
        host = service.host if service else ""
        if self.binder_service_url:
            return host + urlsplit(self.binder_service_url).path.rstrip("/") + "/"
        root = self.hub.base_url.removesuffix("hub/")
        return f"{host}{root}services/{self.binder_service_name}/"

    def environment_refusal(self, message: str, *, reason: str, page: str = "") -> StartRefused:
        """Return a refusal with a link; `message` has no full stop."""
        link = html.escape(self._page_url() + page)
        return StartRefused(
            f"{message}.",
            reason=reason,
            html_message=f'{html.escape(message)}: <a href="{link}">your environments</a>',
        )


def _no_service(error: ServiceUnreachable) -> StartRefused:
    return StartRefused(
        "The environments service does not answer. Try again in a moment, or start a "
        f"server without an environment.{error.hint}",
        reason="service",
    )


def _why_no_list(error: ServiceUnreachable | StartRefused) -> str:
    if isinstance(error, StartRefused):
        return error.jupyterhub_message
    return f"Your environments can't be listed because their service does not answer.{error.hint}"


def _why_no_image(spec: LaunchSpec) -> str:
    why = {
        "failed": "could not be built. See its page for the reason",
        "cancelled": "is not built because the build was cancelled. Build it again on its page",
    }
    return (
        f"{spec.environment_name} {why.get(spec.state, 'is not built yet. Build it on its page')}"
    )
