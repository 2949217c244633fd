"""The service's program: options, start and stop."""

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
from os import environ
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import platformdirs
from traitlets import Bool, Dict, Enum, Int, List, TraitError, Unicode, default, observe, validate
from traitlets.config import Application, Config
from traitlets.config.application import catch_config_error

from jupyterhub_binder._version import __version__
from jupyterhub_binder.backends.installed import loadable_backends
from jupyterhub_binder.errors import ConfigurationError
from jupyterhub_binder.launches.reports import event_logger_class
from jupyterhub_binder.repositories.providers.registry import loadable_providers
from jupyterhub_binder.utils.known_options import refuse_unknown_options
from jupyterhub_binder.utils.log_format import (
    JSONFormatter,
    PersonFormatter,
    learn_secrets,
    log_everything_here,
)
from jupyterhub_binder.web.application import listen, make_application
from jupyterhub_binder.web.pages import make_page_settings
from jupyterhub_binder.web.services import Services
from jupyterhub_binder.wiring import CONFIGURABLES, Options, start_parts

CONFIG_VARIABLE = "JUPYTERHUB_BINDER_CONFIG"
"""`hubconfig.configure`'s settings in JSON."""


class JupyterHubBinder(Application):
    """Serves environments, built from repositories, to JupyterHub users."""

    name = "jupyterhub-binder"
    version = __version__
    description = """
    Build, keep and launch environments on a JupyterHub, from a repository's URL.

    It runs as a service of the hub. The hub usually starts it and configures it with environment
    variables (JUPYTERHUB_API_TOKEN, JUPYTERHUB_SERVICE_URL and so on).
    In jupyterhub_config.py one call adds the service, its scopes and the spawner:

        from jupyterhub_binder.hubconfig import configure
        configure(c)

    Everything else is set in that call, in jupyterhub_binder_config.py, or here by
    --Class.trait=value.
    """
    # No indent: traitlets strips the text before removing common indents.
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
            "Write every option with its explanation to the configuration file, then exit.",
        ),
    }

    config_file = Unicode(
        "jupyterhub_binder_config.py",
        help="The configuration file, written in Python like the hub's.",
    ).tag(config=True)
    generate_config = Bool(False, help="Write the configuration file, then exit.").tag(config=True)

    ip = Unicode(
        help="""The IP address that the service listens on.

        Default: the host of JUPYTERHUB_SERVICE_URL, else 127.0.0.1. Set it to ``0.0.0.0`` if the
        hub's proxy runs on another machine or in another pod.
        """
    ).tag(config=True)
    port = Int(
        min=0,
        max=65535,
        help="The port that the service listens on. 0 chooses a free port. Default: the port of "
        "JUPYTERHUB_SERVICE_URL, else 10101.",
    ).tag(config=True)
    base_url = Unicode(
        help="""The URL path of the service, with a slash at both ends.

        Default: JUPYTERHUB_SERVICE_PREFIX, else ``/services/binder/``.
        """
    ).tag(config=True)
    state_dir = Unicode(
        help="""The folder for the service's data: database, environments and checkouts.

        Default: ``jupyterhub-binder`` in the user's state folder. Use a persistent local disk. Do
        not use NFS, where SQLite is not safe.
        """
    ).tag(config=True)
    database_url = Unicode(
        help="""The URL of the database for environments and builds.

        Default: ``sqlite:///<state_dir>/binder.sqlite``. For PostgreSQL, write
        ``postgresql://user@host/name`` and install the extra ``jupyterhub-binder[postgres]``.
        """
    ).tag(config=True)
    backend = Unicode(
        "venv",
        help="""What builds environments. Default: ``venv``, which needs no container engine.

        ``repo2docker``, ``binderhub`` and ``federation`` make container images; ``fake`` makes
        nothing, for tests. Packages can add more with the entry points
        ``jupyterhub_binder.backends``.
        """,
    ).tag(config=True)
    named_servers = Bool(
        True,
        help="Whether people can have several servers. Set it to the same value as "
        "``JupyterHub.allow_named_servers``. Default: True.",
    ).tag(config=True)
    template_paths = List(
        Unicode(),
        help="Folders with templates that replace those of the service and the hub. Default: none.",
    ).tag(config=True)
    template_vars = Dict(
        help="Additional variables for the templates, like ``JupyterHub.template_vars``."
    ).tag(config=True)
    languages = List(
        Unicode(),
        help="""The languages of the pages. The first one is used if a browser asks for none of
        them. People can choose another one at the bottom of each page. Default: empty, which means
        all available languages, English first. Logs, the REST API and the commands are in English.
        """,
    ).tag(config=True)
    example_url = Unicode(
        help="The URL of a repository that the pages suggest to people without environments. "
        "Default: none."
    ).tag(config=True)
    example_name = Unicode(help="The name of `example_url` on the pages. Default: the URL.").tag(
        config=True
    )
    min_free_bytes = Int(
        10**9,
        min=0,
        help="""Minimum free disk space in `state_dir`, in bytes. With less, ``/health`` reports
        that the disk is almost full. Default: 1 GB.""",
    ).tag(config=True)
    authenticate_metrics = Bool(
        True,
        help="""Whether ``/metrics`` is restricted to admins and to tokens with the hub's scope
        `read:metrics` and access to this service. Default: True. Set it to False only if nobody
        except Prometheus can reach the service's URL, which is normally public below the hub's.""",
    ).tag(config=True)
    log_style = Enum(
        ["text", "json"],
        "text",
        help="""The format of the log on standard error. ``text`` writes lines for people.
        ``json`` writes one object per line with `time`, `level`, `logger`, `message` and, if known,
        `request`, `build` and `launch`; use it if a program collects the log. Secrets are removed
        from both. Default: ``text``.""",
    ).tag(config=True)
    tornado_settings = Dict(help="Additional settings for Tornado's Application.").tag(config=True)

    trusted_downstream_ips = List(
        Unicode(),
        help="""IP addresses of proxies in front of the hub's own whose X-Forwarded-For header is
        trusted. Set it to the same value as ``JupyterHub.trusted_downstream_ips``. Default: none.""",
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
        """Send all logs to our handlers."""
        level = logging.getLevelName(self.log_level)
        names = ("jupyterhub_binder", "tornado.application", "tornado.general")
        return {"loggers": {name: {"level": level, "handlers": ["console"]} for name in names}}

    # --- Command line -----------------------------------------------------------------------

    @catch_config_error
    def initialize(self, argv: list[str] | None = None) -> None:
        """Read the configuration file and command line; the latter wins."""
        self.classes = [
            type(self),
            *CONFIGURABLES,
            *loadable_backends(),
            *loadable_providers(),
        ]
        self.parse_command_line(argv)
        if self.generate_config:
            return
        self._load_hub_config()
        path = Path(self.config_file).absolute()
        if path.is_file():
            self.load_config_file(path.name, path=str(path.parent))
        elif "config_file" in self.config.JupyterHubBinder:
            self.exit_with(f"There is no configuration file {path}.")
        if events := event_logger_class(self.config):
            self.classes.append(events)
        try:
            refuse_unknown_options(self.config, self.classes)
        except ConfigurationError as error:
            self.exit_with(str(error))

    def _load_hub_config(self) -> None:
        try:
            given = json.loads(environ.get(CONFIG_VARIABLE) or "{}")
        except ValueError:
            return self.exit_with(f"{CONFIG_VARIABLE} is not valid JSON.")
        self.update_config(Config(given))
        return self.update_config(self.cli_config)

    def start(self) -> None:
        """Serve until SIGTERM or SIGINT; exit with status 1 on failure."""
        if self.generate_config:
            self._write_config()
            return
        log_everything_here()
        try:
            asyncio.run(self._serve())
        except (ConfigurationError, TraitError, OSError) as error:
            self.exit_with(str(error))

    def exit_with(self, message: str) -> None:
        """Exit without a stack trace."""
        self.log.critical("%s", message)
        sys.exit(1)

    def _write_config(self) -> None:
        path = Path(self.config_file).absolute()
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(self.generate_config_file())
        except FileExistsError:
            self.exit_with(f"{path} already exists. Nothing was written.")
        self.log.info("Wrote %s", path)

    async def _serve(self) -> None:
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.set)
        try:
            await self.start_service()
            self.parts.store.ownership_lost.connect(
                lambda: self._end_without_database(loop, stopping)
            )
            await stopping.wait()
            self.log.info("Stopping")
        finally:
            await self.stop_service()
            await _close_hub_client()
        if self._lost_database:
            sys.exit(1)

    def _end_without_database(
        self, loop: asyncio.AbstractEventLoop, stopping: asyncio.Event
    ) -> None:
        """Exit: the database's new owner knows the builds better."""
        self.log.critical(
            "The connection to the database was lost, and another jupyterhub-binder service has "
            "taken over the database. Stop one of the two services."
        )
        self._lost_database = True
        loop.call_soon_threadsafe(stopping.set)

    _lost_database = False

    parts: Services

    # --- Start and stop ---------------------------------------------------------------------

    async def start_service(self) -> None:
        """Start all parts, then listen. After a ConfigurationError nothing runs."""
        began = time.monotonic()
        self._stack = contextlib.AsyncExitStack()
        try:
            options = Options(
                backend=self.backend,
                base_url=self.base_url,
                database_url=self.database_url,
                min_free_bytes=self.min_free_bytes,
                named_servers=self.named_servers,
                state_dir=self.state_dir,
            )
            self.parts = await start_parts(self, options, self._stack)
            self._listen()
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
        """Stop in reverse order; the next start resumes builds."""
        stack, self._stack = self._stack, contextlib.AsyncExitStack()
        await stack.aclose()

    _stack = contextlib.AsyncExitStack()

    def _listen(self) -> None:
        application = make_application(
            self.parts,
            cookie_secret=_derive(self.parts.hub_auth.api_token, "cookies"),
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
        self.port, stop = listen(
            application,
            ip=self.ip,
            port=self.port,
            trusted_downstream=self.trusted_downstream_ips,
        )
        self._stack.push_async_callback(stop)


async def _close_hub_client() -> None:
    """Close JupyterHub 6's connections for authentication."""
    try:
        from jupyterhub.httpclient import JupyterHubHTTPClient
    except ImportError:
        return
    if JupyterHubHTTPClient.initialized():
        await JupyterHubHTTPClient.loop_instance().close()


def _derive(secret: str, purpose: str) -> bytes:
    """Derive a key that does not reveal the secret."""
    return hmac.digest(secret.encode(), f"jupyterhub-binder {purpose}".encode(), hashlib.sha256)


main = JupyterHubBinder.launch_instance

if __name__ == "__main__":
    main()
