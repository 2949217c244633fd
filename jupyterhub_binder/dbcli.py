"""The commands `jupyterhub-binder db`: an admin's hands on the database.

They find the database as the service does, from its configuration. What is done to it is
`store.upkeep`'s business.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jupyterhub_binder.clock import utc_now
from jupyterhub_binder.errors import BinderError
from jupyterhub_binder.terminal import plain
from jupyterhub_binder.units import format_bytes

if TYPE_CHECKING:
    from jupyterhub_binder.store.upkeep import Finding

_MOST_NAMED = 5


@click.group()
def db() -> None:
    """Back up, restore and check the database of the service.

    It holds environments, builds with their logs, launches and what admins decided. Images are
    not in it: where one is gone, it is built again when somebody starts it.

    \b
    Every night, while the service runs:
      jupyterhub-binder db backup --state /srv/jupyterhub/binder /backup/binder-$(date +%F).sqlite

    \b
    Back to a backup, with the service stopped:
      jupyterhub-binder db restore --state /srv/jupyterhub/binder /backup/binder-2026-03-01.sqlite
      jupyterhub-binder db check --state /srv/jupyterhub/binder

    The exit status is 0, or 1 where something is wrong.
    """  # noqa: D301 - Click wants the character


def _database_command(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that lead to a database, and the application as first argument."""

    @click.option(
        "--config",
        metavar="FILE",
        type=click.Path(exists=True, dir_okay=False),
        help="The service's configuration file.  [default: what JUPYTERHUB_BINDER_CONFIG or "
        "./jupyterhub_binder_config.py says]",
    )
    @click.option(
        "--state",
        metavar="FOLDER",
        type=click.Path(file_okay=False),
        help="The service's state folder: `state_dir` of configure(...). Environments are looked "
        "for beside it, where configure(...) has them lie.",
    )
    @click.option(
        "--database",
        envvar="JUPYTERHUB_BINDER_DATABASE_URL",
        show_envvar=True,
        metavar="URL",
        help="The database itself. A password belongs in the variable or in the configuration: "
        "arguments are seen in the list of processes.",
    )
    @wraps(function)
    def command(
        config: str | None, state: str | None, database: str | None, **options: Any
    ) -> None:
        application = _application(config, state, database)
        try:
            function(application, **options)
        except BinderError as error:
            click.echo(f"Error: {plain(error.message)}", err=True)
            raise SystemExit(1) from None

    return command


def _application(config: str | None, state: str | None, database: str | None) -> Any:
    """Return the service's application, configured and not started."""
    from jupyterhub_binder.app import JupyterHubBinder
    from jupyterhub_binder.hubconfig import environments_beside

    application = JupyterHubBinder(log_level=logging.WARNING)
    application.initialize([f"--config={config}"] if config else [])
    if state:
        application.state_dir = state
        application.config.VenvBackend.setdefault(
            "environments_root", str(environments_beside(Path(state).absolute()))
        )
    if database:
        application.database_url = database
    return application


@db.command()
@click.argument("target", metavar="FILE")
@_database_command
def backup(application: Any, target: str) -> None:
    """Copy the database into FILE, or to standard output for -, while the service runs.

    The copy is as the database is at one moment. SQLite's is an SQLite file; PostgreSQL's is made
    by pg_dump, which must be installed. Only whoever made it can read it: it names people, and
    what they build.

    \b
    Examples:
      jupyterhub-binder db backup binder-$(date +%F).sqlite
      jupyterhub-binder db backup - | gzip > binder.sqlite.gz
    """  # noqa: D301 - Click wants the character
    from jupyterhub_binder.store import upkeep

    if target != "-":
        written = upkeep.backup(application.database_url, Path(target))
        click.echo(f"Wrote {target}, {format_bytes(written)}.", err=True)
        return
    if sys.stdout.isatty():
        raise click.UsageError(
            "A backup is no text for a terminal: name a file, or a pipe after -."
        )
    with tempfile.TemporaryDirectory(prefix="jupyterhub-binder-") as folder:
        copy = Path(folder) / "backup"
        upkeep.backup(application.database_url, copy)
        with copy.open("rb") as opened:
            while block := opened.read(2**20):
                sys.stdout.buffer.write(block)
        sys.stdout.buffer.flush()


@db.command()
@click.argument(
    "source", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@_database_command
def restore(application: Any, source: Path) -> None:
    """Put a backup in the database's place, and bring it up to this version.

    The service must be stopped: while it owns the database, this is refused. A damaged file, one
    of a newer version, and one of the other kind of database are refused too. What was there is
    kept: SQLite's beside the database, PostgreSQL's beside FILE.

    \b
    Example:
      jupyterhub-binder db restore /backup/binder-2026-03-01.sqlite
    """  # noqa: D301 - Click wants the character
    from jupyterhub_binder.store import upkeep

    done = upkeep.restore(application.database_url, source, now=utc_now())
    click.echo(f"Restored {source} (revision {done.revision}).")
    if done.replaced is not None:
        click.echo(f"What was there is kept in {done.replaced}.")
    _bring_up(application.database_url, done.revision)
    click.echo("Builds that were under way then are taken up when the service starts.")


@db.command()
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@_database_command
def check(application: Any, as_json: bool) -> None:
    """Look the database over: whether it is whole, of this version, and has its images.

    The service may be running. The exit status is 1 where something is wrong.
    """
    from jupyterhub_binder.store import upkeep

    url = application.database_url
    findings = [*upkeep.check(url), _check_images(application, upkeep.list_images(url))]
    if as_json:
        click.echo(json.dumps([_as_json(finding) for finding in findings]))
    else:
        for finding in findings:
            _show(finding)
    raise SystemExit(0 if all(finding.ok for finding in findings) else 1)


def _as_json(finding: Finding) -> dict[str, Any]:
    """Return what a program reads of a finding: advice only where there is something to do."""
    return asdict(finding) | ({"advice": ""} if finding.ok else {})


def _show(finding: Finding) -> None:
    mark = click.style("ok     ", fg="green") if finding.ok else click.style("problem", fg="red")
    click.echo(f"{mark}  {finding.about}: {plain(finding.message)}")
    if not finding.ok and finding.advice:
        click.echo(f"         {plain(finding.advice)}")


def _check_images(application: Any, images: Mapping[str, int]) -> Finding:
    """Look for the images of folders; those of engines and registries are not looked at."""
    from jupyterhub_binder.backends.venv import VenvBackend
    from jupyterhub_binder.backends.venv_image import PREFIX
    from jupyterhub_binder.store.upkeep import Finding

    backend = VenvBackend(parent=application)
    here = [image for image in images if image.startswith(PREFIX)]
    others = len(images) - len(here)
    note = f" {others} are in an engine or a registry and were not looked at." if others else ""

    async def find() -> list[str]:
        keys = [image.removeprefix(PREFIX) for image in here]
        return [key for key in keys if await backend.find_image(key) is None]

    gone = asyncio.run(find())
    if not gone:
        said = (
            "The one folder is there."
            if len(here) == 1
            else f"All of {len(here)} folders are there."
        )
        return Finding(True, "images", said + note)
    named = ", ".join(gone[:_MOST_NAMED]) + (", ..." if len(gone) > _MOST_NAMED else "")
    people = sum(images[PREFIX + key] for key in gone)
    folders = "1 folder is" if len(here) == 1 else f"{len(gone)} of {len(here)} folders are"
    current = "1 environment" if people == 1 else f"{people} environments"
    return Finding(
        False,
        "images",
        f"{folders} gone from {backend.environments_root}, current in {current}: {named}.{note}",
        "Nothing has to be done: each is built again when somebody starts it. If they are "
        "elsewhere, name the folder as VenvBackend.environments_root in a file, and that by "
        "--config.",
    )


@db.command()
@_database_command
def upgrade(application: Any) -> None:
    """Bring the tables up to this version; the service does the same when it starts.

    Refused while the service runs. A copy of an SQLite file is kept beside it; of PostgreSQL make
    a backup first.
    """
    from jupyterhub_binder.store import upkeep

    url = application.database_url
    _bring_up(url, upkeep.fetch_revision(url))


def _bring_up(url: str, revision: str | None) -> None:
    from jupyterhub_binder.store import Store, migrations

    async def open_and_close() -> None:
        await (await Store.open(url)).close()

    asyncio.run(open_and_close())
    if revision == migrations.HEAD:
        click.echo(f"The tables are those of this version (revision {revision}).")
    else:
        click.echo(f"Upgraded the tables from revision {revision} to {migrations.HEAD}.")


@db.command()
@_database_command
def version(application: Any) -> None:
    """Print the revision of the tables, and the one that this version wants."""
    from jupyterhub_binder.store import migrations, upkeep

    revision = upkeep.fetch_revision(application.database_url)
    click.echo(f"{revision or 'empty'}\t{migrations.HEAD}")
