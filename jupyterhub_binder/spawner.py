"""The hub's side of a start: an environment as a choice, its build waited for, its command run.

`BinderSpawnerMixin` wraps methods of any spawner and leaves an administrator's own hooks, forms
and settings as they are. It asks the service, in the person's name, what an environment is:
nothing that a browser sends is ever an image. What an environment's build does, and who may
use it, is the service's business.
"""

from __future__ import annotations

import asyncio
import html
import os
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp
import jupyterhub.spawner
from jupyterhub import orm
from jupyterhub.spawner import LocalProcessSpawner, SimpleLocalProcessSpawner, Spawner
from jupyterhub.utils import maybe_future
from tornado import web
from traitlets import Float, Unicode, default
from traitlets.config import Configurable

from jupyterhub_binder.aio import Broadcast
from jupyterhub_binder.slugs import is_id
from jupyterhub_binder.sse import EventParser, ServerEvent

OPTION = "environment"
"""The user option, and the form's field, that holds an environment's id; empty for none."""

PATH_OPTION = "path"
"""The user option that says what opens, relative to the repository's root."""

MOST_LINES = 1000
"""How many lines of a build's log a spawn page is given; the build's own page has them all."""

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-_])")
_VENV = re.compile(r"venv:([A-Za-z0-9][A-Za-z0-9_.-]*)")
_SINGLEUSER = {"jupyterhub-singleuser", "jupyter-labhub"}
_SILENCE_SECONDS = 60
_CONTENT_VARIABLE = "JUPYTERHUB_BINDER_CONTENT"
_RUN_CONTENT = f"import os; exec(os.environ.pop({_CONTENT_VARIABLE!r}))"
_BUILDING = {"queued", "building"}

if TYPE_CHECKING:
    _SpawnerBase = Spawner
else:
    _SpawnerBase = Configurable

_Refused: Any = getattr(jupyterhub.spawner, "SpawnException", web.HTTPError)
"""JupyterHub 6 has an exception for a start that is refused; 5 has any HTTPError below 500."""


class StartRefused(_Refused):
    """A start that cannot be, in words for the person; no failure of the hub."""

    def __init__(self, message: str, *, reason: str, html_message: str = "") -> None:
        if _Refused is web.HTTPError:
            super().__init__(400, message)
        else:
            super().__init__(message, reason=reason, message_html=html_message)
        self.jupyterhub_message = message
        if html_message:
            self.jupyterhub_html_message = html_message


class _Unreachable(Exception):
    """The service gave no answer."""


@dataclass(frozen=True, slots=True)
class EnvironmentSpec:
    """What the service says an environment is."""

    id: str
    name: str
    state: str
    build_id: str | None
    image: str | None
    content: str
    directory: str
    path: str
    repo_url: str
    resolved_ref: str

    @classmethod
    def read(cls, answer: Mapping[str, Any]) -> EnvironmentSpec:
        """Read the service's answer. Raises KeyError where it is none."""
        return cls(
            id=answer["environment_id"],
            name=answer["environment_name"],
            state=answer["state"],
            build_id=answer["build_id"],
            image=answer["image"],
            content=answer["content"],
            directory=answer["directory"],
            path=answer["path"],
            repo_url=answer["repo_url"],
            resolved_ref=answer["resolved_ref"],
        )


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

    _binder_progress: Broadcast[dict[str, Any]] | None = None
    _binder_lines: int = 0

    @default("binder_service_url")
    def _default_binder_service_url(self) -> str:
        service = orm.Service.find(self.user.db, self.binder_service_name)
        if service is None or service.server is None:
            return ""
        server = service.server
        return f"{server.proto}://{server.ip}:{server.port}{server.base_url}"

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
        chosen, rest = _split(form_data)
        return _merge(super().run_options_from_form(rest), chosen)

    def options_from_query(self, query_data: dict[str, Any]) -> Any:
        """Take our field out of the link's options; the rest is the administrator's."""
        chosen, rest = _split(query_data)
        return _merge(super().options_from_query(rest), chosen)

    async def _run_apply_user_options(self, user_options: dict[str, Any]) -> None:
        """Keep our options from hooks that do not know them; an environment brings its image."""
        ours = {OPTION, PATH_OPTION}
        with self._uncounted():
            chosen = self._chosen_environment()
        if chosen:
            ours.add("image")
            self.user_options = {k: v for k, v in user_options.items() if k != "image"}
        others = {key: value for key, value in user_options.items() if key not in ours}
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
            page = await self._ask("environments?limit=100&order=recent")
        except (_Unreachable, StartRefused) as error:
            if has_form and not last:
                return ""
            return _form(
                [],
                last,
                self._page_url(),
                note=str(
                    getattr(error, "jupyterhub_message", "")
                    or "The environments cannot be listed now: their service does not answer."
                ),
            )
        items = [item for item in page.get("items", ()) if isinstance(item, dict)]
        return _form(items, last, self._page_url()) if items or last else ""

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
        try:
            with self._uncounted():
                if chosen := self._chosen_environment():
                    self.binder_spec = await self._ready_spec(chosen)
            await maybe_future(super().run_pre_spawn_hook())
        except asyncio.CancelledError:
            # Else the hub would tell the page that the server is ready.
            with self._uncounted():
                raise StartRefused("The start was cancelled.", reason="cancelled") from None
        finally:
            self._progress().close()

    async def start(self) -> Any:
        """Start the server, in the environment if one was chosen."""
        spec = self.binder_spec
        if spec is None:
            return await maybe_future(super().start())
        with self._uncounted(), self.apply_environment(spec):
            return await maybe_future(super().start())

    @contextmanager
    def _uncounted(self) -> Any:
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
        if self._binder_progress is not None and self._binder_progress.closed:
            self._binder_progress = None
        self._binder_lines = 0

    async def progress(self) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the build's log, from its beginning for every page; then the spawner's own."""
        async for event in self._progress().read():
            yield event
        async with aclosing(super().progress()) as events:
            async for event in events:
                yield event

    def _progress(self) -> Broadcast[dict[str, Any]]:
        if self._binder_progress is None:
            self._binder_progress = Broadcast(keep=2 * MOST_LINES)
        return self._binder_progress

    def _say(self, message: str, **more: Any) -> None:
        if not self._progress().closed:
            self._progress().publish({"message": message, **more})

    # --- Waiting for a build -------------------------------------------------------------------------

    async def _ready_spec(self, environment_id: str) -> EnvironmentSpec:
        """Return the environment once there is an image to start. Raises StartRefused."""
        try:
            async with asyncio.timeout(self.binder_wait_seconds):
                spec = await self._fetch_spec(environment_id)
                while spec.image is None and spec.state in _BUILDING and spec.build_id:
                    await self._wait_for_build(spec, spec.build_id)
                    spec = await self._fetch_spec(environment_id)
        except TimeoutError:
            raise self._refusal(
                "The build takes longer than a start may wait. It goes on: start again later",
                reason="build",
            ) from None
        except _Unreachable as error:
            raise StartRefused(
                "The service that knows your environments does not answer. Try again in a "
                "moment, or start a server without an environment.",
                reason="service",
            ) from error
        if spec.image is None:
            raise self._refusal(_why_no_image(spec), reason="build", page=f"environments/{spec.id}")
        self._say(f"Starting {spec.name}", progress=45)
        return spec

    async def _fetch_spec(self, environment_id: str) -> EnvironmentSpec:
        answer = await self._ask(f"environments/{environment_id}/launch-spec")
        try:
            return EnvironmentSpec.read(answer)
        except KeyError as error:
            raise _Unreachable(f"The answer lacks {error}") from error

    async def _wait_for_build(self, spec: EnvironmentSpec, build_id: str) -> None:
        """Follow the build to its end, across restarts of the service."""
        link = f"{self._page_url()}builds/{build_id}"
        self._say(
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
                async for event in self._follow(build_id, seen):
                    if event.event == "end":
                        return
                    seen = max(seen, self._show(event))
                    lost, pause = loop.time(), 0.2
            except _Unreachable:
                if loop.time() - lost > self.binder_patience_seconds:
                    raise
            await asyncio.sleep(pause)
            pause = min(pause * 2, 5)

    def _show(self, event: ServerEvent) -> int:
        """Pass an event of the build on to the spawn page; return its sequence number."""
        data = event.json()
        if event.event == "build":
            self._say_standing(data)
            return 0
        seq = data.get("seq")
        message = str(data.get("message", ""))
        if not message.endswith("\r"):  # provisional: the next line is shown in its place
            self._say_line(message)
        return seq if isinstance(seq, int) else 0

    def _say_line(self, message: str) -> None:
        self._binder_lines += 1
        text = _ANSI.sub("", message).strip()
        if self._binder_lines < MOST_LINES and text:
            self._say(text[:2000])
        elif self._binder_lines == MOST_LINES:
            self._say("The log goes on, on the page of the build.")

    def _say_standing(self, build: Mapping[str, Any]) -> None:
        position = build.get("queue_position")
        expected, elapsed = build.get("expected_seconds"), build.get("elapsed_seconds")
        more: dict[str, Any] = {}
        if isinstance(expected, int | float) and isinstance(elapsed, int | float) and expected > 0:
            more["progress"] = 5 + round(35 * min(elapsed / expected, 1))
        if position:
            self._say(f"The build is number {position} in the queue", **more)
        elif build.get("phase"):
            self._say(f"Build: {build['phase']}", **more)

    # --- Asking the service --------------------------------------------------------------------------

    async def _ask(self, path: str) -> dict[str, Any]:
        """Return the service's answer to a question in the person's name.

        Raises StartRefused with the service's words where it refuses, _Unreachable where it
        does not answer.
        """
        limits = aiohttp.ClientTimeout(total=self.binder_timeout_seconds)
        async with self._request(path, limits) as response:
            answer = await response.json(content_type=None)
        if not isinstance(answer, dict):
            raise _Unreachable("The answer is no JSON object")
        return answer

    async def _follow(self, build_id: str, after: int) -> AsyncIterator[ServerEvent]:
        limits = aiohttp.ClientTimeout(
            total=None, connect=self.binder_timeout_seconds, sock_read=_SILENCE_SECONDS
        )
        parser = EventParser()
        async with self._request(f"builds/{build_id}/events?after={after}", limits) as response:
            async for chunk in response.content.iter_any():
                for event in parser.feed(chunk):
                    yield event

    @asynccontextmanager
    async def _request(
        self, path: str, limits: aiohttp.ClientTimeout
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        if not self.binder_service_url:
            raise _Unreachable("There is no such service")
        url = f"{self.binder_service_url.rstrip('/')}/api/v1/{path}"
        try:
            async with aiohttp.ClientSession(timeout=limits) as session:
                with self._token() as token:
                    response = await session.get(
                        url, headers={"Authorization": f"Bearer {token}"}, allow_redirects=False
                    )
                async with response:
                    await _raise_for_status(response)
                    yield response
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            self.log.warning("%s does not answer: %s", self.binder_service_name, error)
            raise _Unreachable(str(error)) from error

    @contextmanager
    def _token(self) -> Any:
        """Yield a token of the person's that opens nothing but the service, for this question."""
        try:
            token = self.user.new_api_token(
                note="Asks for an environment",
                expires_in=60,
                scopes=[f"access:services!service={self.binder_service_name}"],
            )
        except ValueError as error:
            raise StartRefused(
                "You may not use environments. Ask an administrator of the hub.", reason="access"
            ) from error
        try:
            yield token
        finally:
            db = self.user.db
            if (known := orm.APIToken.find(db, token)) is not None:
                db.delete(known)
                db.commit()

    def _page_url(self) -> str:
        """Return where a browser finds the service's pages."""
        if self.binder_service_url:
            return urlsplit(self.binder_service_url).path.rstrip("/") + "/"
        return f"{self.hub.base_url.removesuffix('hub/')}services/{self.binder_service_name}/"

    def _refusal(self, message: str, *, reason: str, page: str = "") -> StartRefused:
        link = html.escape(self._page_url() + page)
        return StartRefused(
            f"{message}.",
            reason=reason,
            html_message=f'{html.escape(message)}: <a href="{link}">your environments</a>',
        )


def _why_no_image(spec: EnvironmentSpec) -> str:
    why = {
        "failed": "could not be built. Its page says why",
        "cancelled": "was not built: the build was cancelled. Build it again on its page",
    }
    return f"{spec.name} {why.get(spec.state, 'is not built yet. Build it on its page')}"


def _split(data: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return our field's value, and the other fields."""
    rest = dict(data)
    value = rest.pop(OPTION, "")
    if isinstance(value, list | tuple):
        value = value[0] if value else ""
    return str(value).strip(), rest


async def _merge(options: Any, chosen: str) -> dict[str, Any]:
    """Return the administrator's options, which may need waiting for, with ours."""
    return {**(await maybe_future(options) or {}), OPTION: chosen}


async def _raise_for_status(response: aiohttp.ClientResponse) -> None:
    """Raise what fits the service's answer, in its own words where it has any."""
    if response.status == 200:
        return
    if response.status >= 500 or response.status < 400:
        raise _Unreachable(f"The service answered with status {response.status}")
    answer = await response.json(content_type=None)
    error = answer.get("error") if isinstance(answer, dict) else None
    message = str((error if isinstance(error, dict) else {}).get("message", ""))
    if response.status == 404:
        message = "There is no such environment any more. Choose another one."
    raise StartRefused(
        message or f"The service refused with status {response.status}.", reason="environment"
    )


def _form(items: list[dict[str, Any]], last: str, page: str, *, note: str = "") -> str:
    """Return our part of the spawn page's form; every name in it is a stranger's."""
    rows = [_row("", "None: this hub's own software", selected=not last)]
    for item in items:
        identity, state = str(item.get("id", "")), str(item.get("state", ""))
        startable = bool(item.get("current")) or state in _BUILDING
        text = f"{item.get('name', '')} ({item.get('label', '')})"
        if not item.get("current"):
            text += ", being built" if startable else ", not built"
        rows.append(_row(identity, text, selected=identity == last, disabled=not startable))
    if last and all(item.get("id") != last for item in items):
        rows.append(_row(last, "The one of last time", selected=True))
    extra = f'<div class="form-text text-danger">{html.escape(note)}</div>' if note else ""
    return (
        '<div class="mb-3 form-group">'
        '<label class="form-label" for="binder-environment">Environment</label>'
        f'<select class="form-select form-control" id="binder-environment" name="{OPTION}">'
        f"{''.join(rows)}</select>{extra}"
        f'<div class="form-text"><a href="{html.escape(page)}">Make or change environments</a>'
        "</div></div>"
    )


def _row(value: str, text: str, *, selected: bool = False, disabled: bool = False) -> str:
    marks = (" selected" if selected else "") + (" disabled" if disabled else "")
    return f'<option value="{html.escape(value)}"{marks}>{html.escape(text)}</option>'


# --- Servers that are local processes ----------------------------------------------------------------


class BinderProcessMixin(BinderSpawnerMixin):
    """Starts the environments of the venv backend as local processes."""

    def apply_environment(self, spec: EnvironmentSpec) -> Any:
        """Return a context in which the environment's own command is the spawner's."""
        folder = self._environment_folder(spec)
        return self._as_command(self._command(spec, folder))

    @contextmanager
    def _as_command(self, command: list[str]) -> Any:
        before = self.cmd
        self.cmd = command
        try:
            yield
        finally:
            self.cmd = before

    def get_env(self) -> dict[str, str]:
        """Return the server's environment variables: the environment's own programs come first."""
        env = super().get_env()
        spec = self.binder_spec
        if spec is None:
            return env
        folder = self._environment_folder(spec)
        for name in ("PYTHONPATH", "PYTHONHOME", "CONDA_DEFAULT_ENV", "CONDA_PREFIX"):
            if name not in self.environment:
                env.pop(name, None)
        path = env.get("PATH") or os.defpath
        env["PATH"] = f"{folder / 'bin'}{os.pathsep}{path}"
        env["VIRTUAL_ENV"] = str(folder)
        env["BINDER_REPO_URL"] = spec.repo_url
        env[_CONTENT_VARIABLE] = content_script()
        return env

    def _environment_folder(self, spec: EnvironmentSpec) -> Path:
        found = _VENV.fullmatch(spec.image or "")
        if found is None:
            raise StartRefused(
                "This hub starts local processes; the environment is a container's image.",
                reason="configuration",
            )
        if not self.environments_root:
            raise StartRefused(
                "An administrator has to set BinderSpawnerMixin.environments_root.",
                reason="configuration",
            )
        folder = Path(self.environments_root) / found[1]
        if not (folder / "bin" / "jupyterhub-singleuser").is_file():
            raise self._refusal(
                f"The files of {spec.name} are not on this machine any more. Build it again",
                reason="environment",
                page=f"environments/{spec.id}",
            )
        return folder

    def _command(self, spec: EnvironmentSpec, folder: Path) -> list[str]:
        """Return the spawner's command with the environment's server in the place of the hub's.

        What an administrator put before and after it (a wrapper, arguments) stays.
        """
        program = str(folder / "bin" / "jupyterhub-singleuser")
        before, after = [], []
        for index, word in enumerate(self.cmd):
            if Path(word).name in _SINGLEUSER:
                before, after = list(self.cmd[:index]), list(self.cmd[index + 1 :])
        path = self.user_options.get(PATH_OPTION)
        bring = [
            *(str(folder / "bin" / "python"), "-I", "-c", _RUN_CONTENT),
            *(f"--from={folder / 'repo'}", f"--to={spec.directory}", f"--mode={spec.content}"),
            *(f"--origin={spec.repo_url}", f"--ref={spec.resolved_ref}"),
            f"--path={path if isinstance(path, str) else spec.path}",
        ]
        return [*before, *bring, "--", program, *after]


def content_script() -> str:
    """Return the script that brings a repository's files into a home, as text.

    It is handed over by an environment variable, so that neither the person nor an image needs
    to be able to read the hub's own files.
    """
    return files("jupyterhub_binder").joinpath("content.py").read_text(encoding="utf-8")


def binder_spawner(spawner: type[Spawner]) -> type[Spawner]:
    """Return a spawner's class that starts environments, too; one that does already as it is.

    Raises TypeError for a spawner that starts something other than local processes.
    """
    if issubclass(spawner, BinderSpawnerMixin):
        return spawner
    if not issubclass(spawner, LocalProcessSpawner):
        raise TypeError(
            f"{spawner.__name__} starts no local processes; there is no mixin for it yet."
        )
    return type(
        f"Binder{spawner.__name__}",
        (BinderProcessMixin, spawner),
        {"__module__": __name__, "__doc__": f"{spawner.__name__} that starts environments."},
    )


class BinderLocalSpawner(BinderProcessMixin, LocalProcessSpawner):
    """Starts environments as local processes of the people's own accounts on this machine."""


class BinderSimpleSpawner(BinderProcessMixin, SimpleLocalProcessSpawner):
    """Starts environments as processes of the hub's own account: for trying things out."""
