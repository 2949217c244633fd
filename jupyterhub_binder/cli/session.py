"""Shared by hub commands: options, token and output."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jupyterhub_binder.cli.failure import (
    FAILED,
    INTERRUPTED,
    NOT_ALLOWED,
    NOT_FOUND,
    UNREACHABLE,
    USAGE,
    CommandFailed,
)
from jupyterhub_binder.client.client import ApiError, BinderClient, Unreachable
from jupyterhub_binder.errors import BinderError
from jupyterhub_binder.utils.terminal import plain

T = TypeVar("T")

_HINTS = {
    "server_running": "Use --restart to restart it, or --server-name NAME to start another server.",
}
"""Advice by error code."""


@dataclass
class Session:
    """One command's hub, token and output."""

    hub: str
    token: str
    as_json: bool = False
    out: Console = field(default_factory=lambda: Console(highlight=False, soft_wrap=True))
    err: Console = field(
        default_factory=lambda: Console(stderr=True, highlight=False, soft_wrap=True)
    )

    def run(self, work: Callable[[BinderClient], Awaitable[T]]) -> T:
        """Run the work with a client. Exit with the documented status on errors."""
        try:
            return asyncio.run(self._with_client(work))
        except (CommandFailed, BinderError) as error:
            self._explain(error)
            raise SystemExit(_exit_code(error)) from None
        except KeyboardInterrupt:
            self.say("Interrupted. Builds and launches continue on the hub.")
            raise SystemExit(INTERRUPTED) from None

    async def _with_client(self, work: Callable[[BinderClient], Awaitable[T]]) -> T:
        async with BinderClient(self.hub, self.token) as client:
            return await work(client)

    def _explain(self, error: CommandFailed | BinderError) -> None:
        code = error.code if isinstance(error, CommandFailed) else error.error_code
        if self.as_json:
            click.echo(json.dumps({"error": {"code": code, "message": str(error)}}), err=True)
        else:
            self.err.print(Text.assemble(("Error: ", "bold red"), plain(error)))
            for line in error.more if isinstance(error, CommandFailed) else ():
                self.err.print(Text(f"  {plain(line)}"))
            if code in _HINTS:
                self.err.print(_HINTS[code])

    def say(self, text: str, style: str = "") -> None:
        """Print a message to standard error."""
        self.err.print(Text(plain(text), style=style))

    def result(self, data: Any, text: str) -> None:
        """Print JSON or text."""
        if self.as_json:
            click.echo(json.dumps(data))
        else:
            self.out.print(Text(plain(text)))

    def rows(
        self,
        data: Any,
        rows: Sequence[Sequence[object]],
        table: Callable[[], Table],
        nothing: str,
    ) -> None:
        """Print JSON, a table, or tab-separated rows in a pipe."""
        if self.as_json:
            self.result(data, "")
        elif not rows:
            self.say(nothing)
        elif self.out.is_terminal:
            self.out.print(table(), soft_wrap=False)
        else:
            for row in rows:
                click.echo("\t".join(plain(cell).replace("\t", " ") for cell in row))


def _exit_code(error: CommandFailed | BinderError) -> int:
    if isinstance(error, CommandFailed):
        return error.exit_code
    if isinstance(error, Unreachable):
        return UNREACHABLE
    if isinstance(error, ApiError):
        known = {401: NOT_ALLOWED, 403: NOT_ALLOWED, 404: NOT_FOUND}
        return known.get(error.http_status, UNREACHABLE if error.http_status >= 502 else FAILED)
    return USAGE


def read_token(path: str | None) -> str:
    """Read the token from a file, standard input, the environment or a prompt."""
    if path == "-":
        return sys.stdin.readline().strip()
    if path:
        return _read_token_file(Path(path))
    names = ("JUPYTERHUB_BINDER_TOKEN", "JUPYTERHUB_API_TOKEN")
    if token := next((os.environ[name] for name in names if os.environ.get(name)), ""):
        return token
    if sys.stdin.isatty():
        return click.prompt("Token (from the hub's Token page)", hide_input=True, err=True)
    raise click.UsageError(
        "No token. Create one on the hub's Token page, then set JUPYTERHUB_BINDER_TOKEN or use "
        "--token-file."
    )


def _read_token_file(path: Path) -> str:
    try:
        token = path.read_text(encoding="utf-8").strip()
        mode = path.stat().st_mode
    except (OSError, UnicodeDecodeError) as error:
        raise click.UsageError(f"Can't read the token file: {error}") from None
    if mode & (stat.S_IRGRP | stat.S_IROTH) and stat.S_ISREG(mode):
        click.echo(f"Other users can read {path}. To fix this: chmod 600 {path}", err=True)
    return token


def hub_command(function: Callable[..., None]) -> Any:
    """Add the hub options; pass a Session."""

    @click.option(
        "--hub",
        envvar="JUPYTERHUB_BINDER_HUB",
        required=True,
        show_envvar=True,
        metavar="URL",
        help="URL of the hub, or of any page on it.",
    )
    @click.option(
        "--token-file",
        metavar="FILE",
        help="File with the token; - reads it from standard input. A token is never an argument "
        "because other users could see it in the process list.  "
        "[env: JUPYTERHUB_BINDER_TOKEN or JUPYTERHUB_API_TOKEN, the token itself]",
    )
    @click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
    @wraps(function)
    def command(hub: str, token_file: str | None, as_json: bool, **options: Any) -> None:
        function(Session(hub, read_token(token_file), as_json), **options)

    return command
