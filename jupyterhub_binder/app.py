"""The service as a program: configuration, wiring, start and stop.

Each part is started after what it needs, and stopped before it. What the parts do is theirs.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import logging
import signal
import sys
import time
from functools import partial
from os import environ
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

import platformdirs
from jupyterhub.services.auth import HubOAuth
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application as WebApplication
from traitlets import Bool, Dict, Enum, Int, List, TraitError, Unicode, default, observe, validate
from traitlets.config import Application, Config
from traitlets.config.application import catch_config_error

from jupyterhub_binder._version import __version__
from jupyterhub_binder.audit import Audit
from jupyterhub_binder.backends import backend_class, loadable_backends
from jupyterhub_binder.builds import Builds
from jupyterhub_binder.cleanup import Cleanup, fetch_images_in_use
from jupyterhub_binder.command import Command
from jupyterhub_binder.download import Downloads
from jupyterhub_binder.environments import Environments
from jupyterhub_binder.errors import ConfigurationError
from jupyterhub_binder.fetch import Fetcher
from jupyterhub_binder.git import Git
from jupyterhub_binder.health import Health
from jupyterhub_binder.hub import HubClient
from jupyterhub_binder.launches import Launches
from jupyterhub_binder.logs import (
    JSONFormatter,
    PersonFormatter,
    learn_secrets,
    log_everything_here,
)
from jupyterhub_binder.previews import Previews
from jupyterhub_binder.providers import Providers
from jupyterhub_binder.redact import redactor
from jupyterhub_binder.registry import Registry
from jupyterhub_binder.retention import Retention
from jupyterhub_binder.rules import Rules
from jupyterhub_binder.starts import Starts
from jupyterhub_binder.store import Store
from jupyterhub_binder.web.application import make_application
from jupyterhub_binder.web.context import Services, Traffic
from jupyterhub_binder.web.events import Streams
from jupyterhub_binder.web.pages import make_page_settings

CONFIG_VARIABLE = "JUPYTERHUB_BINDER_CONFIG"
"""The environment variable by which the hub's configuration sets ours: JSON, class to traits."""

_BODY_BYTES = 1024 * 1024
_DRAIN_SECONDS = 5.0
_ACCESS_SCOPE = "access:services!service=binder"


class JupyterHubBinder(Application):
    """Serves environments, built from repositories, to the people of a JupyterHub."""

    name = "jupyterhub-binder"
    version = __version__
    description = """
    Build, keep and launch environments on a JupyterHub, from a repository's URL.

    It runs as a service of the hub, which usually starts it and tells it by environment
    variables (JUPYTERHUB_API_TOKEN, JUPYTERHUB_SERVICE_URL and so on) all it needs to know.
    In jupyterhub_config.py one call adds the service, its scopes and the spawner:

        from jupyterhub_binder.hubconfig import configure
        configure(c)

    Everything else is set in that call, in jupyterhub_binder_config.py, or here by
    --Class.trait=value.
    """
    # traitlets strips the text before it looks for a common indent: there must be none.
    examples = "\n".join(
        (
            "jupyterhub-binder serve --generate-config        write a file of all options, explained",
            "jupyterhub-binder serve -f /etc/binder.py        serve with the options of a file",
            "jupyterhub-binder serve --backend=fake --debug   try the pages without building anything",
            "jupyterhub-binder serve --help-all               every option there is",
        )
    )
    raise_config_file_errors = True

    aliases = {
        "f": "JupyterHubBinder.config_file",
        "config": "JupyterHubBinder.config_file",
        "ip": "JupyterHubBinder.ip",
        "port": "JupyterHubBinder.port",
        "backend": "JupyterHubBinder.backend",
        "state-dir": "JupyterHubBinder.state_dir",
        "database": "JupyterHubBinder.database_url",
        "log-level": "Application.log_level",
        "log-format": "JupyterHubBinder.log_style",
    }
    flags = {
        "debug": ({"Application": {"log_level": logging.DEBUG}}, "Log everything."),
        "generate-config": (
            {"JupyterHubBinder": {"generate_config": True}},
            "Write every option with its explanation to the configuration file, and end.",
        ),
    }

    config_file = Unicode(
        "jupyterhub_binder_config.py", help="The configuration file; Python, as a hub's."
    ).tag(config=True)
    generate_config = Bool(False, help="Write the configuration file, and end.").tag(config=True)

    ip = Unicode(
        help="""The address that the service listens at.

        Default: that of JUPYTERHUB_SERVICE_URL, else 127.0.0.1. Where the hub's proxy runs on
        another machine or in another pod, ``0.0.0.0``.
        """
    ).tag(config=True)
    port = Int(
        min=0,
        max=65535,
        help="The port that the service listens at; default: that of JUPYTERHUB_SERVICE_URL, "
        "else 10101. 0 chooses a free one.",
    ).tag(config=True)
    base_url = Unicode(
        help="""The path below which the service answers, with a slash at both ends.

        Default: JUPYTERHUB_SERVICE_PREFIX, else ``/services/binder/``.
        """
    ).tag(config=True)
    state_dir = Unicode(
        help="""The folder of all that the service keeps: database, environments, checkouts.

        Default: ``jupyterhub-binder`` in the user's folder for programs' state. Put it on a
        local disk that lasts; not on NFS, where SQLite is not safe.
        """
    ).tag(config=True)
    database_url = Unicode(
        help="""Where environments and builds are kept.

        Default: ``sqlite:///<state_dir>/binder.sqlite``. For PostgreSQL
        ``postgresql://user@host/name``, with the extra ``jupyterhub-binder[postgres]``.
        """
    ).tag(config=True)
    backend = Unicode(
        "venv",
        help="""What makes images: ``venv`` needs no container engine; ``fake`` makes nothing.

        Others may be installed: they are entry points of the group
        ``jupyterhub_binder.backends``.
        """,
    ).tag(config=True)
    named_servers = Bool(
        True,
        help="Whether the hub lets people have several servers: its "
        "``JupyterHub.allow_named_servers``.",
    ).tag(config=True)
    template_paths = List(
        Unicode(),
        help="Folders of templates that come before ours and the hub's, to change a page's look.",
    ).tag(config=True)
    template_vars = Dict(
        help="More variables for the templates, as the hub's option of the same name."
    ).tag(config=True)
    languages = List(
        Unicode(),
        help="""The languages of the pages. The first is for everybody whose browser asks for none
        of them; a person chooses another at the end of a page. Empty, the default: all that there
        are, English first. Logs, the REST API and the commands are in English.
        """,
    ).tag(config=True)
    example_url = Unicode(
        help="A repository's URL that the pages propose to somebody who has no environment yet."
    ).tag(config=True)
    example_name = Unicode(help="What the pages call `example_url`; default: the URL.").tag(
        config=True
    )
    least_free_bytes = Int(
        10**9,
        min=0,
        help="""Free bytes where `state_dir` is, below which ``/health`` says that the disk is
        almost full. Default: 1 GB.""",
    ).tag(config=True)
    authenticate_metrics = Bool(
        True,
        help="""Whether ``/metrics`` answers only admins, and tokens with the hub's scope
        `read:metrics` and access to this service. Switch it off only where nobody but
        Prometheus reaches the service's address: it is below the hub's own.""",
    ).tag(config=True)
    log_style = Enum(
        ["text", "json"],
        "text",
        help="""How the log is written to standard error: ``text``, a line for people, or ``json``,
        an object a line, with `time`, `level`, `logger`, `message`, and what it belongs to:
        `request`, `build`, `launch`. Secrets are left out of both. Default: ``text``; ``json``
        where something collects the log.""",
    ).tag(config=True)
    tornado_settings = Dict(help="Settings for tornado's Application.").tag(config=True)

    trusted_downstream_ips = List(
        Unicode(),
        help="""Proxies in front of the hub's own whose word counts for where a request came
        from, by address: the same as the hub's. Default: none.""",
    ).tag(config=True)

    @default("ip")
    def _default_ip(self) -> str:
        return urlsplit(environ.get("JUPYTERHUB_SERVICE_URL", "")).hostname or "127.0.0.1"

    @default("port")
    def _default_port(self) -> int:
        return urlsplit(environ.get("JUPYTERHUB_SERVICE_URL", "")).port or 10101

    @default("base_url")
    def _default_base_url(self) -> str:
        return environ.get("JUPYTERHUB_SERVICE_PREFIX") or "/services/binder/"

    @validate("base_url")
    def _slashes_at_both_ends(self, proposal: Any) -> str:
        return f"/{proposal.value.strip('/')}/".replace("//", "/")

    @default("state_dir")
    def _default_state_dir(self) -> str:
        return platformdirs.user_state_dir("jupyterhub-binder")

    @validate("state_dir")
    def _absolute(self, proposal: Any) -> str:
        return str(Path(proposal.value).expanduser().absolute())

    @default("database_url")
    def _default_database_url(self) -> str:
        return f"sqlite:///{self.state_dir}/binder.sqlite"

    @default("log_level")
    def _default_log_level(self) -> int:
        return logging.INFO

    @default("log_format")
    def _default_log_format(self) -> str:
        return "[%(levelname).1s %(asctime)s.%(msecs)03d %(name)s] %(message)s"

    @property
    def _log_formatter_cls(self) -> type[logging.Formatter]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return JSONFormatter if self.log_style == "json" else PersonFormatter

    @observe("log_style")
    def _log_otherwise(self, _: Any) -> None:
        self._configure_logging()

    @observe("config")
    def _keep_secrets(self, change: Any) -> None:
        learn_secrets(change.new)

    @default("logging_config")
    def _default_logging_config(self) -> dict[str, Any]:
        """Send what every part logs where the application logs."""
        level = logging.getLevelName(self.log_level)
        names = ("jupyterhub_binder", "tornado.application", "tornado.general")
        return {"loggers": {name: {"level": level, "handlers": ["console"]} for name in names}}

    # --- Command line -----------------------------------------------------------------------

    @catch_config_error
    def initialize(self, argv: list[str] | None = None) -> None:
        """Read the command line and the configuration file; the command line wins."""
        self.classes = [type(self), *_configurables(), *loadable_backends()]
        self.parse_command_line(argv)
        if self.generate_config:
            return
        self._load_hub_config()
        path = Path(self.config_file).absolute()
        if path.is_file():
            self.load_config_file(path.name, path=str(path.parent))
        elif "config_file" in self.config.JupyterHubBinder:
            self.exit_with(f"There is no configuration file {path}.")

    def _load_hub_config(self) -> None:
        """Take what `hubconfig.configure` was given; a file and the command line come after."""
        try:
            given = json.loads(environ.get(CONFIG_VARIABLE) or "{}")
        except ValueError:
            return self.exit_with(f"{CONFIG_VARIABLE} is no JSON.")
        self.update_config(Config(given))
        return self.update_config(self.cli_config)

    def start(self) -> None:
        """Serve until SIGTERM or SIGINT; exit with status 1 and a sentence if that fails."""
        if self.generate_config:
            self._write_config()
            return
        log_everything_here()
        try:
            asyncio.run(self._serve())
        except (ConfigurationError, TraitError, OSError) as error:
            self.exit_with(str(error))

    def exit_with(self, message: str) -> None:
        """End with a sentence for the admin instead of a stack trace."""
        self.log.critical("%s", message)
        sys.exit(1)

    def _write_config(self) -> None:
        path = Path(self.config_file).absolute()
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(self.generate_config_file())
        except FileExistsError:
            self.exit_with(f"{path} is there already; nothing was written.")
        self.log.info("Wrote %s", path)

    async def _serve(self) -> None:
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.set)
        try:
            await self.start_service()
            self.store.watch(when_ousted=lambda: self._oust(loop, stopping))
            await stopping.wait()
            self.log.info("Stopping")
        finally:
            await self.stop_service()
            await _close_hub_client()
        if self._ousted:
            sys.exit(1)

    def _oust(self, loop: asyncio.AbstractEventLoop, stopping: asyncio.Event) -> None:
        """End: what this process knows of builds is older than what another one makes of them."""
        self.log.critical(
            "The connection to the database was lost, and another jupyterhub-binder service owns "
            "the database now. One service owns a database: stop one of the two."
        )
        self._ousted = True
        loop.call_soon_threadsafe(stopping.set)

    _ousted = False

    # --- Start and stop ---------------------------------------------------------------------

    async def start_service(self) -> None:
        """Start every part, listening last. Raises ConfigurationError; then nothing is left."""
        began = time.monotonic()
        self._stack = contextlib.AsyncExitStack()
        try:
            await self._start_parts(self._stack)
        except BaseException:
            await self.stop_service()
            raise
        self.log.info(
            "jupyterhub-binder %s serves http://%s:%d%s with the %s backend after %.2f s",
            __version__,
            self.ip,
            self.port,
            self.base_url,
            self.backend,
            time.monotonic() - began,
        )

    async def stop_service(self) -> None:
        """Stop every part in the reverse order; builds go on at the next start."""
        stack, self._stack = self._stack, contextlib.AsyncExitStack()
        await stack.aclose()

    _stack = contextlib.AsyncExitStack()

    async def _start_parts(self, stack: contextlib.AsyncExitStack) -> None:
        self.hub_auth = self._make_hub_auth()
        _private_folder(self.state_dir)
        self.store = await Store.open(self.database_url)
        stack.push_async_callback(self.store.close)
        self.git = Git(parent=self)
        self.build_backend = backend_class(self.backend)(parent=self)
        self.providers = await _started(stack, self._make_providers())
        self.fetcher = Fetcher(parent=self, git=self.git, archives=self.providers)
        await _started(stack, self.build_backend)
        self.command = await _started(
            stack, Command(parent=self, store=self.store, providers=self.providers)
        )
        self.builds = self._make_builds()
        self.hub = await _started(stack, HubClient(parent=self))
        await _started(stack, self.builds)
        self.previews = self._make_previews()
        self.environments = await _started(stack, self._make_environments())
        self.starts = Starts(
            parent=self,
            environments=self.environments,
            providers=self.providers,
            backend=self.build_backend,
        )
        self.launches = await _started(stack, self._make_launches())
        await _started(stack, self._make_cleanup())
        self._listen(stack)

    def _make_hub_auth(self) -> HubOAuth:
        hub_auth = HubOAuth(parent=self, base_url=self.base_url)
        if not hub_auth.api_token:
            raise ConfigurationError(
                "HubOAuth.api_token is missing. A hub that starts the service gives it in "
                "JUPYTERHUB_API_TOKEN; otherwise set it to the service's api_token."
            )
        redactor.add([hub_auth.api_token])
        if not hub_auth.access_scopes:
            hub_auth.access_scopes = {_ACCESS_SCOPE}
        return hub_auth

    def _make_providers(self) -> Providers:
        return Providers(
            parent=self, git=self.git, buildable=lambda: self.build_backend.provider_prefixes
        )

    def _make_cleanup(self) -> Cleanup:
        audit = self.command.audit
        return Cleanup(
            parent=self,
            store=self.store,
            backend=self.build_backend,
            in_use=partial(fetch_images_in_use, self.hub, self.store),
            retention=Retention(parent=self, store=self.store, audit=audit),
            audit=audit,
        )

    def _make_builds(self) -> Builds:
        builds = Builds(
            parent=self,
            store=self.store,
            backend=self.build_backend,
            fetcher=self.fetcher,
            command=self.command,
        )
        if not builds.work_dir:
            builds.work_dir = str(Path(self.state_dir) / "work")
        return builds

    def _make_previews(self) -> Previews:
        return Previews(
            parent=self,
            store=self.store,
            providers=self.providers,
            fetcher=self.fetcher,
            backend=self.build_backend,
            builds=self.builds,
        )

    def _make_environments(self) -> Environments:
        return Environments(
            parent=self,
            store=self.store,
            previews=self.previews,
            backend=self.build_backend,
            builds=self.builds,
        )

    def _make_launches(self) -> Launches:
        return Launches(
            parent=self,
            store=self.store,
            builds=self.builds,
            environments=self.environments,
            starts=self.starts,
            hub=self.hub,
        )

    def _make_services(self, streams: Streams, traffic: Traffic) -> Services:
        return Services(
            hub_auth=self.hub_auth,
            hub=self.hub,
            providers=self.providers,
            backend=self.build_backend,
            builds=self.builds,
            previews=self.previews,
            environments=self.environments,
            starts=self.starts,
            launches=self.launches,
            command=self.command,
            store=self.store,
            streams=streams,
            traffic=traffic,
            health=Health(
                store=self.store,
                backend=self.build_backend,
                hub=self.hub,
                state_dir=self.state_dir,
                least_free_bytes=self.least_free_bytes,
            ).check,
            base_url=self.base_url,
            hub_url=self.hub_auth.hub_host + self.hub_auth.hub_prefix,
            named_servers=self.named_servers,
        )

    def _make_application(self, services: Services) -> WebApplication:
        return make_application(
            services,
            cookie_secret=_derive(self.hub_auth.api_token, "cookies"),
            pages=make_page_settings(
                template_paths=self.template_paths,
                example_url=self.example_url,
                example_name=self.example_name,
                languages=self.languages,
                extra=self.template_vars,
            ),
            settings=self.tornado_settings,
            state_dir=self.state_dir,
            authenticate_metrics=self.authenticate_metrics,
        )

    def _listen(self, stack: contextlib.AsyncExitStack) -> None:
        self.streams = streams = Streams()
        traffic = Traffic()
        application = self._make_application(self._make_services(streams, traffic))
        server = HTTPServer(
            application,
            max_body_size=_BODY_BYTES,
            xheaders=True,
            trusted_downstream=self.trusted_downstream_ips,
        )
        try:
            sockets = bind_sockets(self.port, self.ip)
        except OSError as error:
            raise ConfigurationError(
                f"JupyterHubBinder.port: cannot listen at {self.ip}:{self.port}: {error.strerror}"
            ) from error
        server.add_sockets(sockets)
        self.port = sockets[0].getsockname()[1]
        stack.push_async_callback(_stop_listening, server, streams, traffic)


class _Part(Protocol):
    """What begins with the service, and ends with it."""

    async def start(self) -> None: ...
    async def stop(self) -> None: ...


P = TypeVar("P", bound=_Part)


async def _started(stack: contextlib.AsyncExitStack, part: P) -> P:
    """Start a part, and have it stopped when the stack is closed."""
    stack.push_async_callback(part.stop)
    await part.start()
    return part


async def _stop_listening(server: HTTPServer, streams: Streams, traffic: Traffic) -> None:
    """Take no more requests, end the streams, and let what is being answered finish."""
    server.stop()
    await streams.close()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_DRAIN_SECONDS):
            await traffic.wait_idle()
    await server.close_all_connections()


async def _close_hub_client() -> None:
    """Close the connections that JupyterHub 6 keeps for asking who somebody is."""
    try:
        from jupyterhub.httpclient import JupyterHubHTTPClient
    except ImportError:
        return
    if JupyterHubHTTPClient.initialized():
        await JupyterHubHTTPClient.loop_instance().close()


def _configurables() -> list[type[Any]]:
    return [
        Builds,
        Cleanup,
        Previews,
        Environments,
        Launches,
        Providers,
        Git,
        Downloads,
        Fetcher,
        Registry,
        Rules,
        Retention,
        Audit,
        HubClient,
        HubOAuth,
    ]


def _derive(secret: str, purpose: str) -> bytes:
    """Return a key for one purpose that reveals nothing of the secret it comes from."""
    return hmac.digest(secret.encode(), f"jupyterhub-binder {purpose}".encode(), hashlib.sha256)


def _private_folder(path: str) -> None:
    try:
        Path(path).mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"JupyterHubBinder.state_dir: {path} cannot be made: {error.strerror}"
        ) from error


main = JupyterHubBinder.launch_instance

if __name__ == "__main__":
    main()
