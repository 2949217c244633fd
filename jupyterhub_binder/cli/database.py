"""The commands `jupyterhub-binder db`, which call `store.upkeep`."""

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

from jupyterhub_binder.errors import BinderError
from jupyterhub_binder.utils.terminal import plain
from jupyterhub_binder.utils.time import utc_now
from jupyterhub_binder.utils.units import format_bytes

if TYPE_CHECKING:
    from jupyterhub_binder.store.upkeep import DatabaseFinding

_MAX_NAMED = 5


@click.group()
def db() -> None:
    """Back up, restore and check the database of the service.

    The database holds environments, builds and their logs, launches, rules, limits and the audit
    log. It does not hold images: a missing image is built again when somebody starts it.

    \b
    Every night, while the service runs:
      jupyterhub-binder db backup --state /srv/jupyterhub/binder --keep 7 /backup

    \b
    Restore a backup while the service is stopped:
      jupyterhub-binder db restore --state /srv/jupyterhub/binder /backup/binder-2026-03-01T031500.sqlite
      jupyterhub-binder db check --state /srv/jupyterhub/binder

    The exit status is 0, or 1 if something is wrong.
    """  # noqa: D301 - Click wants the character


def _database_command(function: Callable[..., None]) -> Callable[..., None]:
    """Add the database options; pass the application."""

    @click.option(
        "--config",
        metavar="FILE",
        type=click.Path(exists=True, dir_okay=False),
        help="The service's configuration file.  [default: JUPYTERHUB_BINDER_CONFIG, or "
        "./jupyterhub_binder_config.py]",
    )
    @click.option(
        "--state",
        metavar="FOLDER",
        type=click.Path(file_okay=False),
        help="State folder of the service: `state_dir` of configure(...). Environments are looked up "
        "next to it, where configure(...) puts them.",
    )
    @click.option(
        "--database",
        envvar="JUPYTERHUB_BINDER_DATABASE_URL",
        show_envvar=True,
        metavar="URL",
        help="URL of the database. Put a password into the variable or the configuration, because "
        "other users can see arguments in the process list.",
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
    """Return the configured application, not started."""
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
@click.argument("target", metavar="FILE|FOLDER")
@click.option(
    "--keep",
    metavar="N",
    type=click.IntRange(min=1),
    help="After a backup into FOLDER, remove all but its newest N backups.",
)
@_database_command
def backup(application: Any, target: str, keep: int | None) -> None:
    """Copy the database while the service runs.

    The copy is FILE, or a file in FOLDER that is named after the time in UTC, or goes to standard
    output with -. It is a consistent snapshot: an SQLite file for SQLite, a pg_dump archive for
    PostgreSQL (pg_dump must be installed). Only the user who made it can read it, because it names
    people and what they build.

    \b
    Examples:
      jupyterhub-binder db backup binder-$(date +%F).sqlite
      jupyterhub-binder db backup --keep 7 /backup
      jupyterhub-binder db backup - | gzip > binder.sqlite.gz
    """  # noqa: D301 - Click wants the character
    from jupyterhub_binder.store import upkeep

    path = Path(target)
    url = application.database_url
    if keep and not path.is_dir():
        raise click.UsageError(f"--keep needs a folder, and {target} is none.")
    if target != "-":
        if path.is_dir():
            path /= upkeep.name_backup(url, now=utc_now())
        written = upkeep.backup(url, path)
        click.echo(f"Wrote {path}, {format_bytes(written)}.", err=True)
        _note(url)
        if keep:
            for old in upkeep.remove_old_backups(path.parent, keep=keep):
                click.echo(f"Removed {old}.", err=True)
        return
    if sys.stdout.isatty():
        raise click.UsageError("A backup is binary. Give a file name, or pipe the output.")
    with tempfile.TemporaryDirectory(prefix="jupyterhub-binder-") as folder:
        copy = Path(folder) / "backup"
        upkeep.backup(url, copy)
        with copy.open("rb") as opened:
            while block := opened.read(2**20):
                sys.stdout.buffer.write(block)
        sys.stdout.buffer.flush()
    _note(url)


def _note(url: str) -> None:
    """Tell the service that there is a backup, for its alert."""
    from jupyterhub_binder.store import upkeep

    if not upkeep.note_backup(url, now=utc_now()):
        click.echo(
            "Could not tell the service about the backup: the database can't be written.", err=True
        )


@db.command()
@click.argument(
    "source", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@_database_command
def restore(application: Any, source: Path) -> None:
    """Replace the database with a backup and upgrade it to this version.

    Stop the service first: a database in use is refused, as are a damaged file, a file of a newer
    version and a file of another kind of database. The old data is kept: for SQLite next to the
    database, for PostgreSQL next to FILE.

    \b
    Example:
      jupyterhub-binder db restore /backup/binder-2026-03-01.sqlite
    """  # noqa: D301 - Click wants the character
    from jupyterhub_binder.store import upkeep

    done = upkeep.restore(application.database_url, source, now=utc_now())
    click.echo(f"Restored {source} (revision {done.revision}).")
    if done.replaced is not None:
        click.echo(f"The old data is kept in {done.replaced}.")
    _bring_up(application.database_url, done.revision)
    click.echo("Builds that were unfinished in the backup continue when the service starts.")


@db.command()
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@_database_command
def check(application: Any, as_json: bool) -> None:
    """Check that the database is intact, has this version, and that its images exist.

    The service may be running. The exit status is 1 if something is wrong.
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


def _as_json(finding: DatabaseFinding) -> dict[str, Any]:
    """Return JSON data, with advice if needed."""
    return asdict(finding) | ({"advice": ""} if finding.ok else {})


def _show(finding: DatabaseFinding) -> None:
    mark = click.style("ok     ", fg="green") if finding.ok else click.style("problem", fg="red")
    click.echo(f"{mark}  {finding.about}: {plain(finding.message)}")
    if not finding.ok and finding.advice:
        click.echo(f"         {plain(finding.advice)}")


def _check_images(application: Any, images: Mapping[str, int]) -> DatabaseFinding:
    """Check image folders; engines and registries are not checked."""
    from jupyterhub_binder.backends.venv.backend import VenvBackend
    from jupyterhub_binder.backends.venv.folders import PREFIX
    from jupyterhub_binder.store.upkeep import DatabaseFinding

    backend = VenvBackend(parent=application)
    here = [image for image in images if image.startswith(PREFIX)]
    others = len(images) - len(here)
    note = (
        f" {others} are in a container engine or registry and were not checked." if others else ""
    )

    async def find() -> list[str]:
        keys = [image.removeprefix(PREFIX) for image in here]
        return [key for key in keys if await backend.find_image(key) is None]

    gone = asyncio.run(find())
    if not gone:
        said = "The 1 folder exists." if len(here) == 1 else f"All {len(here)} folders exist."
        return DatabaseFinding(True, "images", said + note)
    named = ", ".join(gone[:_MAX_NAMED]) + (", ..." if len(gone) > _MAX_NAMED else "")
    people = sum(images[PREFIX + key] for key in gone)
    folders = "1 folder is" if len(here) == 1 else f"{len(gone)} of {len(here)} folders are"
    current = "1 environment" if people == 1 else f"{people} environments"
    return DatabaseFinding(
        False,
        "images",
        f"{folders} missing from {backend.environments_root}, used by {current}: {named}.{note}",
        "You don't have to do anything: each is built again when somebody starts it. If they are "
        "in another folder, set VenvBackend.environments_root to it in a configuration file and "
        "pass that file with --config.",
    )


@db.command()
@_database_command
def upgrade(application: Any) -> None:
    """Upgrade the tables to this version. The service does the same when it starts.

    Stop the service first. An SQLite file is copied before the upgrade; for PostgreSQL, make a
    backup yourself.
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
        click.echo(f"The tables are up to date (revision {revision}).")
    else:
        click.echo(f"Upgraded the tables from revision {revision} to {migrations.HEAD}.")


@db.command()
@_database_command
def version(application: Any) -> None:
    """Print the revision of the tables and the revision that this version needs."""
    from jupyterhub_binder.store import migrations, upkeep

    revision = upkeep.fetch_revision(application.database_url)
    click.echo(f"{revision or 'empty'}\t{migrations.HEAD}")
