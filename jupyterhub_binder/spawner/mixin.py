"""The hub's side of a start: an environment as a choice, its build waited for, its command run.

`BinderSpawnerMixin` wraps methods of any spawner and leaves an administrator's own hooks, forms
and settings as they are. It asks the service, in the person's name, what an environment is:
nothing that a browser sends is ever an image. What an environment's build does, and who may
use it, is the service's business.
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
from traitlets import Float, Integer, Unicode, default
from traitlets.config import Configurable

from jupyterhub_binder.clientip import client_ip
from jupyterhub_binder.slugs import is_id
from jupyterhub_binder.spawner.command import CONTENT_VARIABLE, content_script
from jupyterhub_binder.spawner.form import (
    BUILDING,
    IMAGE_OPTION,
    OPTION,
    PATH_OPTION,
    form,
    merge,
    split,
)
from jupyterhub_binder.spawner.refusal import StartRefused
from jupyterhub_binder.spawner.service import Service, Unreachable
from jupyterhub_binder.spawner.spec import EnvironmentSpec
from jupyterhub_binder.spawner.startlog import StartLog

if TYPE_CHECKING:
    from jupyterhub.spawner import Spawner as _SpawnerBase
else:
    _SpawnerBase = Configurable

_OFFERED = 100
"""How many environments the spawn page offers: those used last. The list has a search."""


class BinderSpawnerMixin(_SpawnerBase):
    """Lets a spawner start environments. Put it before the spawner's class.

    ``binder_spawner(AnySpawner)`` makes such a class; `BinderLocalSpawner` is one. A subclass
    says in `apply_environment` how an image is started.
    """

    binder_service_name = Unicode(
        "binder",
        config=True,
        help="The name of the service in `JupyterHub.services`.",
    )
    binder_service_url = Unicode(
        config=True,
        help="""
        Where the hub reaches the service, `http://127.0.0.1:10101/services/binder/` for example.

        Default: where the hub's own list of services says that it is.
        """,
    )
    binder_launch_host = Unicode(
        config=True,
        help="""
        Where people's browsers find the service, `https://hub.example.org/services/binder/`.

        Servers are told it as `BINDER_LAUNCH_HOST`. Default: below `JupyterHub.public_url`;
        without that, the address without its host.
        """,
    )
    binder_timeout_seconds = Float(
        20,
        min=1,
        config=True,
        help="How long the service may take to answer a question of the hub, in seconds.",
    )
    binder_patience_seconds = Float(
        300,
        min=0,
        config=True,
        help="""
        For how long a start waits on while the service is away, in seconds.

        Only a start that waits for a build does: the build goes on after a restart of the
        service, and so does the waiting.
        """,
    )
    binder_wait_seconds = Float(
        6 * 3600,
        min=1,
        config=True,
        help="""
        How long a start waits for its environment's build, in seconds.

        It does not count against `start_timeout`. Builds have limits of their own.
        """,
    )
    binder_content_seconds = Float(
        20,
        min=1,
        config=True,
        help="""
        For how long a start waits for its files, in seconds. Default: 20.

        The server does not answer before, so stay below `Spawner.http_timeout`. What takes
        longer goes on while the server runs: a folder appears when all of it is there, and what
        is new in one that is there already waits for the next start.
        """,
    )
    binder_content_most_seconds = Float(
        3600,
        min=1,
        config=True,
        help="""
        For how long files may be brought in all, in seconds, the start included; an hour.

        Raise it for repositories so large, or hosts and homes so slow, that an hour is short.
        What takes longer is given up, and begun anew by the next start.
        """,
    )
    binder_content_most_bytes = Integer(
        2 * 2**30,
        min=2**16,
        config=True,
        help="How large a file may become that git fetches into a home, in bytes; 2 GiB.",
    )
    environments_root = Unicode(
        config=True,
        help="""
        The folder that holds the environments of the venv backend.

        The same as the service's `VenvBackend.environments_root`; everybody who starts a
        server must be able to read it.
        """,
    )

    binder_spec: EnvironmentSpec | None = None
    """What is being started, for an administrator's `pre_spawn_hook`; None without an environment."""

    binder_owned_options: ClassVar[frozenset[str]] = frozenset({"image"})
    """User options that an environment stands for, and that are taken out when one was chosen."""

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

    def apply_environment(self, spec: EnvironmentSpec) -> Any:
        """Return a context in which `start` starts this environment. Raises StartRefused."""
        raise StartRefused(
            f"{type(self).__name__} cannot start environments.", reason="configuration"
        )

    # --- Options: the environment's id, and nothing else of ours -------------------------------------

    async def get_options_form(self) -> str:
        """Return the form of the hub's spawn page: our choice, then the administrator's own."""
        theirs = await super().get_options_form() or ""
        return await self._environments_form(has_form=bool(theirs)) + theirs

    def run_options_from_form(self, form_data: dict[str, Any]) -> Any:
        """Take our field out of the form; the rest is the administrator's."""
        chosen, rest = split(form_data)
        return merge(super().run_options_from_form(rest), chosen)

    def options_from_query(self, query_data: dict[str, Any]) -> Any:
        """Take our field out of the link's options; the rest is the administrator's."""
        chosen, rest = split(query_data)
        return merge(super().options_from_query(rest), chosen)

    async def _run_apply_user_options(self, user_options: dict[str, Any]) -> None:
        """Keep our options from hooks that do not know them; an environment brings its image."""
        hidden = {OPTION, PATH_OPTION, IMAGE_OPTION}
        with self._uncounted():
            chosen = self._chosen_environment()
        if chosen:
            owned = self.binder_owned_options
            hidden |= owned
            self.user_options = {k: v for k, v in user_options.items() if k not in owned}
        others = {key: value for key, value in user_options.items() if key not in hidden}
        await super()._run_apply_user_options(others)

    def _chosen_environment(self) -> str:
        """Return the id of the environment that was chosen, or ''. Raises StartRefused."""
        options = self.user_options if isinstance(self.user_options, dict) else {}
        chosen = options.get(OPTION) or ""
        if chosen and not (isinstance(chosen, str) and is_id(chosen)):
            raise StartRefused("That is no environment's id.", reason="environment")
        return chosen

    async def _environments_form(self, *, has_form: bool) -> str:
        last = self._last_environment()
        try:
            page = await self._service().ask(f"environments?limit={_OFFERED}&order=recent")
        except (Unreachable, StartRefused) as error:
            if has_form and not last:
                return ""
            return form([], last, self._page_url(), note=_why_no_list(error))
        items = [item for item in page.get("items", ()) if isinstance(item, dict)]
        if not items and not last:
            return ""
        total = page.get("total")
        known = total if isinstance(total, int) else len(items)
        return form(items, last, self._page_url(), total=known)

    def _last_environment(self) -> str:
        options = self.orm_spawner.user_options if self.orm_spawner else None
        last = options.get(OPTION) if isinstance(options, dict) else None
        return last if isinstance(last, str) and is_id(last) else ""

    # --- The start -----------------------------------------------------------------------------------

    def run_pre_spawn_hook(self) -> Any:
        """Find the environment and wait for its build; then the administrator's own hook."""
        return self._prepare_start()

    async def _prepare_start(self) -> None:
        self.binder_spec = None
        self._binder_asked_from = client_ip(self.handler.request) if self.handler else ""
        try:
            with self._uncounted():
                if chosen := self._chosen_environment():
                    self.binder_spec = await self._ready_spec(chosen)
                    self._note_image(self.binder_spec)
            await maybe_future(super().run_pre_spawn_hook())
        except asyncio.CancelledError:
            # Else the hub would tell the page that the server is ready.
            self._start_log().close()
            with self._uncounted():
                raise StartRefused("The start was cancelled.", reason="cancelled") from None
        except BaseException:
            self._start_log().close()
            raise

    def _note_image(self, spec: EnvironmentSpec) -> None:
        """Say among the server's options what it runs: there the service can read it."""
        options = {**self.user_options, IMAGE_OPTION: spec.image}
        self.user_options = self.orm_spawner.user_options = options

    async def start(self) -> Any:
        """Start the server, in the environment if one was chosen."""
        spec = self.binder_spec
        try:
            if spec is None:
                return await self._begin()
            with self._uncounted(), self.apply_environment(spec):
                return await self._begin()
        finally:
            self._start_log().close()

    async def _begin(self) -> Any:
        """Start the server; from here on pages hear the spawner's own progress."""
        starting = super().start()
        self._start_log().close()
        return await maybe_future(starting)

    def get_env(self) -> dict[str, str]:
        """Return the server's environment variables: which environment it is, and whose start."""
        env = super().get_env()
        if self.binder_spec is not None:
            env |= self.environment_variables(self.binder_spec)
        return env

    def content_limits(self) -> list[str]:
        """Return the limits of the script that brings the files, as its arguments."""
        return [
            f"--seconds={self.binder_content_seconds:g}",
            f"--most-seconds={self.binder_content_most_seconds:g}",
            f"--most-bytes={self.binder_content_most_bytes}",
        ]

    def environment_variables(self, spec: EnvironmentSpec) -> dict[str, str]:
        """Return the variables that BinderHub sets too, and the script that brings the files.

        `BINDER_CLIENT_IP` is never taken from what a person sent: it is where their request to
        the service or to the hub came from.
        """
        said = {
            "BINDER_REPO_URL": spec.repo_url,
            "BINDER_REF_URL": spec.ref_url or spec.repo_url,
            "BINDER_REQUEST": spec.request,
            "BINDER_PERSISTENT_REQUEST": spec.persistent_request,
            "BINDER_LAUNCH_HOST": self.binder_launch_host,
            "BINDER_CLIENT_IP": spec.client_ip or self._binder_asked_from,
        }
        known = {name: value for name, value in said.items() if value}
        return {**known, CONTENT_VARIABLE: content_script()}

    @contextmanager
    def _uncounted(self) -> Iterator[None]:
        """Keep refusals out of `consecutive_failure_limit`.

        JupyterHub 6 does so itself; 5 counts every failure, and some failed builds in a row
        would end the hub. What it is about to add is taken away before.
        """
        try:
            yield
        except StartRefused:
            if jupyterhub.version_info < (6,):
                settings = self.user.settings
                settings["failure_count"] = settings.get("failure_count", 0) - 1
            raise

    def clear_state(self) -> None:
        """Forget the start, too: the next one has a log of its own."""
        super().clear_state()
        if self._binder_log is not None and self._binder_log.closed:
            self._binder_log = None

    async def progress(self) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the build's log, from its beginning for every page; then the spawner's own."""
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

    async def _ready_spec(self, environment_id: str) -> EnvironmentSpec:
        """Return the environment once there is an image to start. Raises StartRefused."""
        try:
            async with asyncio.timeout(self.binder_wait_seconds):
                spec = await self._fetch_spec(environment_id, "POST")
                while spec.image is None and spec.state in BUILDING and spec.build_id:
                    await self._wait_for_build(spec, spec.build_id)
                    spec = await self._fetch_spec(environment_id)
        except TimeoutError:
            raise self.environment_refusal(
                "The build takes longer than a start may wait. It goes on: start again later",
                reason="build",
            ) from None
        except Unreachable as error:
            raise StartRefused(
                "The service that knows your environments does not answer. Try again in a "
                f"moment, or start a server without an environment.{error.hint}",
                reason="service",
            ) from error
        if spec.image is None:
            raise self.environment_refusal(
                _why_no_image(spec), reason="build", page=f"environments/{spec.id}"
            )
        self._start_log().say(f"Starting {spec.name}", progress=45)
        return spec

    async def _fetch_spec(self, environment_id: str, method: str = "GET") -> EnvironmentSpec:
        """Return what the environment is; with POST a build begins where it has no image."""
        server = quote(self.name, safe="")
        answer = await self._service().ask(
            f"environments/{environment_id}/launch-spec?server_name={server}", method
        )
        try:
            return EnvironmentSpec.read(answer)
        except KeyError as error:
            raise Unreachable(f"The answer lacks {error}") from error

    async def _wait_for_build(self, spec: EnvironmentSpec, build_id: str) -> None:
        """Follow the build to its end, across restarts of the service."""
        link = f"{self._page_url()}builds/{build_id}"
        self._start_log().say(
            f"Waiting for the build of {spec.name}",
            html_message=(
                f"Waiting for the build of {html.escape(spec.name)}: "
                f'<a href="{html.escape(link)}" target="_blank">the whole log</a>'
            ),
            progress=5,
        )
        loop = asyncio.get_running_loop()
        lost, pause, seen = loop.time(), 0.2, 0
        while True:
            try:
                async with aclosing(self._service().follow(build_id, seen)) as events:
                    async for event in events:
                        if event.event == "end":
                            return
                        seen = max(seen, self._start_log().show(event))
                        lost, pause = loop.time(), 0.2
            except Unreachable:
                if loop.time() - lost > self.binder_patience_seconds:
                    raise
            await asyncio.sleep(pause)
            pause = min(pause * 2, 5)

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
        """Return where a browser finds the service's pages."""
        if self.binder_service_url:
            return urlsplit(self.binder_service_url).path.rstrip("/") + "/"
        return f"{self.hub.base_url.removesuffix('hub/')}services/{self.binder_service_name}/"

    def environment_refusal(self, message: str, *, reason: str, page: str = "") -> StartRefused:
        """Return a refusal that links to the service's page about it; `message` has no full stop."""
        link = html.escape(self._page_url() + page)
        return StartRefused(
            f"{message}.",
            reason=reason,
            html_message=f'{html.escape(message)}: <a href="{link}">your environments</a>',
        )


def _why_no_list(error: Unreachable | StartRefused) -> str:
    if isinstance(error, StartRefused):
        return error.jupyterhub_message
    return f"The environments cannot be listed now: their service does not answer.{error.hint}"


def _why_no_image(spec: EnvironmentSpec) -> str:
    why = {
        "failed": "could not be built. Its page says why",
        "cancelled": "was not built: the build was cancelled. Build it again on its page",
    }
    return f"{spec.name} {why.get(spec.state, 'is not built yet. Build it on its page')}"
