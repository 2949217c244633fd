"""The service as a program: its options, its command line, its start and its end.

Which parts there are, and what each needs, is in `parts`.
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
from jupyterhub_binder.logs import (
    JSONFormatter,
    PersonFormatter,
    learn_secrets,
    log_everything_here,
)
from jupyterhub_binder.parts import CONFIGURABLES, start_parts
from jupyterhub_binder.web.application import make_application
from jupyterhub_binder.web.context import Services
from jupyterhub_binder.web.listen import listen
from jupyterhub_binder.web.pages import make_page_settings

CONFIG_VARIABLE = "JUPYTERHUB_BINDER_CONFIG"
"""The environment variable by which the hub's configuration sets ours: JSON, class to traits."""


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
        self.classes = [type(self), *CONFIGURABLES, *loadable_backends()]
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
            self.parts.store.watch(when_ousted=lambda: self._oust(loop, stopping))
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

    parts: Services
    """The running parts, once `start_service` has returned."""

    # --- Start and stop ---------------------------------------------------------------------

    async def start_service(self) -> None:
        """Start every part, listening last. Raises ConfigurationError; then nothing is left."""
        began = time.monotonic()
        self._stack = contextlib.AsyncExitStack()
        try:
            self.parts = await start_parts(self, self._stack)
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
        """Stop every part in the reverse order; builds go on at the next start."""
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
    """Close the connections that JupyterHub 6 keeps for asking who somebody is."""
    try:
        from jupyterhub.httpclient import JupyterHubHTTPClient
    except ImportError:
        return
    if JupyterHubHTTPClient.initialized():
        await JupyterHubHTTPClient.loop_instance().close()


def _derive(secret: str, purpose: str) -> bytes:
    """Return a key for one purpose that reveals nothing of the secret it comes from."""
    return hmac.digest(secret.encode(), f"jupyterhub-binder {purpose}".encode(), hashlib.sha256)


main = JupyterHubBinder.launch_instance

if __name__ == "__main__":
    main()
