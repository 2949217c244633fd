"""The command that lists what is featured."""

from __future__ import annotations

import click
from rich.table import Table
from rich.text import Text

from jupyterhub_binder.cli.session import Session, hub_command
from jupyterhub_binder.client.client import BinderClient, Json
from jupyterhub_binder.utils.terminal import plain


@click.command(short_help="List the environments that are featured for me.")
@hub_command
def featured(session: Session) -> None:
    """List the environments that administrators feature for me.

    Launch one by its name or id, or make my own with `copy`. In a pipe, the output is
    tab-separated: id, name, repository, text.

    \b
    Examples:
      jupyterhub-binder featured
      jupyterhub-binder launch "Astronomy 101"
    """  # noqa: D301 - Click wants the character

    async def work(client: BinderClient) -> list[Json]:
        return await client.featured()

    found: list[Json] = session.run(work)
    shown = ("id", "name", "label")
    rows = [(*(each["environment"][name] for name in shown), each["text"]) for each in found]

    def table() -> Table:
        lines = Table(box=None, header_style="bold", pad_edge=False)
        for title in ("Id", "Name", "Repository", "Text"):
            lines.add_column(title, overflow="fold")
        for row in rows:
            lines.add_row(*(Text(plain(cell)) for cell in row))
        return lines

    session.rows(found, rows, table, "Nothing is featured for you.")
