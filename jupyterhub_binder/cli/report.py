"""The command `jupyterhub-binder report`, over the REST API."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import click

from jupyterhub_binder.cli.failure import CommandFailed
from jupyterhub_binder.cli.session import Session, hub_command
from jupyterhub_binder.client.client import BinderClient, Json
from jupyterhub_binder.model.usage import PeriodKind, period_of
from jupyterhub_binder.utils.terminal import plain
from jupyterhub_binder.utils.time import utc_now


@click.command()
@click.option(
    "--quarter",
    metavar="QUARTER",
    help="A quarter, such as 2026Q3.  [default: the last complete quarter]",
)
@click.option("--year", metavar="YEAR", help="A year, such as 2026, instead of a quarter.")
@click.option(
    "--output",
    "-o",
    metavar="FOLDER",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write report.md, its pictures and report.json into FOLDER, which is created if it is missing. "
    "Files with the same names are replaced.  [default: print the text]",
)
@hub_command
def report(session: Session, quarter: str | None, year: str | None, output: Path | None) -> None:
    """Write the usage report of a quarter, for example for a funder.

    The report covers sessions by week and by quarter, with their change, the most used repositories,
    the number of people, builds, waiting times and failures. It names no person and no repository
    that may be private. With --json, the command prints the numbers instead of the text.

    \b
      jupyterhub-binder report --quarter 2026Q3 --output report-2026Q3
      jupyterhub-binder report --year 2026 --json

    The token must belong to a hub admin or have the scope custom:binder:admin, unless everybody can
    see the usage of the hub (UsageReports.public).
    """  # noqa: D301 - Click wants the character
    if quarter and year:
        raise click.UsageError("Give either --quarter or --year.")
    period = quarter or year or _last_quarter()

    async def work(client: BinderClient) -> None:
        found = await client.usage_report(period)
        if output is not None:
            _write(output, found["files"])
            shown = f"{output / 'report.md'}: {plain(found['period'])}, {len(found['files'])} files"
            session.result({"folder": str(output), "files": sorted(found["files"])}, shown)
        else:
            text = found["files"]["report.json" if session.as_json else "report.md"]
            click.echo("\n".join(map(plain, text.splitlines())))

    session.run(work)


def _last_quarter() -> str:
    present = period_of(PeriodKind.QUARTER, utc_now().date())
    return period_of(PeriodKind.QUARTER, present.first - timedelta(days=1)).name


def _write(folder: Path, files: Json) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            # The service names files, and no name leads elsewhere.
            (folder / Path(name).name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise CommandFailed(
            f"Can't write to {error.filename or folder}: {error.strerror}", code="not_written"
        ) from None
