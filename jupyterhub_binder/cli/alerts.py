"""The commands `jupyterhub-binder admin alerts`, over the REST API."""

from __future__ import annotations

import click
from rich.table import Table
from rich.text import Text

from jupyterhub_binder.cli.failure import CommandFailed
from jupyterhub_binder.cli.session import Session, hub_command
from jupyterhub_binder.client.client import BinderClient, Json
from jupyterhub_binder.utils.terminal import plain


@click.group(short_help="See which alerts are active, and send a test message.")
def alerts() -> None:
    """See which alerts are active, and send a test message to the destinations.

    Destinations are set in the service's configuration: Alerts.webhooks and Alerts.email_to.

    \b
    Examples:
      jupyterhub-binder admin alerts list
      jupyterhub-binder admin alerts test
      jupyterhub-binder admin alerts test chat
    """  # noqa: D301 - Click wants the character


@alerts.command("list")
@hub_command
def list_alerts(session: Session) -> None:
    """List the active alerts."""

    async def work(client: BinderClient) -> None:
        found = await client.admin("GET", "alerts")
        rows = [[each["name"], plain(each["text"])] for each in found["items"]]
        session.rows(found, rows, lambda: _table(("Alert", "Text"), rows), "No alerts are active.")

    session.run(work)


@alerts.command()
@click.argument("destination", default="")
@hub_command
def test(session: Session, destination: str) -> None:
    """Send a test message to DESTINATION, or to all.

    The exit status is 1 if a message could not be sent.
    """

    async def work(client: BinderClient) -> None:
        tested = await client.admin("POST", "alerts/test", body={"destination": destination})
        found = tested["items"]
        rows = [[plain(each["name"]), _result(each)] for each in found]
        session.rows(found, rows, lambda: _table(("Destination", "Result"), rows), "")
        if any(each["problem"] for each in found):
            raise CommandFailed("A test message could not be sent.")

    session.run(work)


def _result(delivery: Json) -> str:
    return plain(delivery["problem"]) or "sent"


def _table(titles: tuple[str, ...], rows: list[list[str]]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in titles:
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table
