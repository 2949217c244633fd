"""Commands for an environment's past: its builds, and which one is current since when."""

from __future__ import annotations

import click
from rich.table import Table
from rich.text import Text

from jupyterhub_binder.cli.find import find_build, find_environment
from jupyterhub_binder.cli.session import Session, hub_command
from jupyterhub_binder.client.client import BinderClient, Json
from jupyterhub_binder.utils.terminal import ago, plain

_CAUSES = {
    "asked": "requested",
    "by_itself": "automatic update",
    "rolled_back": "rolled back",
    "chosen": "chosen",
}


@click.command(short_help="Show which builds of an environment were current, since when and why.")
@click.argument("environment")
@hub_command
def history(session: Session, environment: str) -> None:
    """Show each change of the build that servers in ENVIRONMENT (id or name) start from.

    In a pipe, the output is tab-separated: number, time, build before, build after, cause, person,
    reason.

    \b
    Examples:
      jupyterhub-binder history my-analysis
      jupyterhub-binder history my-analysis --json | jq -r '.[] | select(.cause == "rolled_back")'
    """  # noqa: D301 - Click wants the character

    async def work(client: BinderClient) -> list[Json]:
        found = await find_environment(client, environment)
        return await client.changes(found["id"])

    found: list[Json] = session.run(work)
    columns = ("number", "time", "from_number", "to_number", "cause", "by", "reason")
    rows = [["" if each.get(key) is None else each[key] for key in columns] for each in found]
    session.rows(found, rows, lambda: _table(found), "No build has succeeded yet.")


def _table(found: list[Json]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("Build", "Since", "Cause", "By", "Reason"):
        table.add_column(title, overflow="fold" if title == "Reason" else "ellipsis")
    for each in found:
        before = f"{each['from_number']} → " if each["from_number"] else ""
        table.add_row(
            Text(f"{before}{each['to_number']}"),
            Text(ago(each["time"])),
            Text(_CAUSES.get(each["cause"], plain(each["cause"]))),
            Text(plain(each.get("by") or "")),
            Text(plain(each["reason"])),
        )
    return table


@click.command(short_help="Go back to an earlier build of an environment.")
@click.argument("environment")
@click.argument("number", type=click.IntRange(min=1))
@click.option("--reason", default="", help="Why; kept in the environment's history.")
@hub_command
def use(session: Session, environment: str, number: int, reason: str) -> None:
    """Make build NUMBER of ENVIRONMENT (id or name) the one that servers start from.

    If its image was removed, the same commit is built again. Running servers keep their build.

    \b
    Examples:
      jupyterhub-binder use my-analysis 3 --reason "numpy 2.1 breaks exercise 4"
    """  # noqa: D301 - Click wants the character

    async def work(client: BinderClient) -> Json:
        found = await find_environment(client, environment)
        return await client.choose(found["id"], number, reason=reason)

    changed: Json = session.run(work)
    session.result(changed, _said(changed, number))


def _said(changed: Json, number: int) -> str:
    if changed["current"] and changed["current"]["number"] == number:
        return f"The next launch of {changed['name']} uses build {number}."
    latest = changed["latest"]
    if changed["current"] and changed["current"]["number"] == latest["number"]:
        return f"The next launch of {changed['name']} uses build {latest['number']}, the same."
    return (
        f"The image of build {number} was removed. Build {latest['number']} makes it again from "
        "the same commit."
    )


@click.command(short_help="List the packages of a build, or what differs between two.")
@click.argument("build")
@click.option("--diff", is_flag=True, help="Show what differs from the successful build before.")
@click.option(
    "--compare",
    type=click.IntRange(min=1),
    metavar="NUMBER",
    help="Show what differs from build NUMBER of the environment.",
)
@hub_command
def packages(session: Session, build: str, diff: bool, compare: int | None) -> None:
    """List the packages in the image of BUILD: a build's id, or an environment's id or name.

    An environment stands for its newest build. In a pipe, the output is tab-separated: name,
    version, and what installed it; of a comparison: name, version before, version after.

    \b
    Examples:
      jupyterhub-binder packages my-analysis
      jupyterhub-binder packages my-analysis --diff
      jupyterhub-binder packages my-analysis --compare 3
    """  # noqa: D301 - Click wants the character

    async def work(client: BinderClient) -> Json:
        build_id = await find_build(client, build)
        if diff or compare:
            return await client.difference(build_id, number=compare or 0)
        return await client.packages(build_id)

    found: Json = session.run(work)
    if diff or compare:
        _show_difference(session, found)
        return
    rows = [(each["name"], each["version"], each["source"]) for each in found["items"]]
    nothing = "No packages were found." if found["known"] else _UNKNOWN
    titles = ("Package", "Version", "Installed by")
    session.rows(found, rows, lambda: _plain_table(titles, rows), nothing)


_UNKNOWN = "The packages of this build are unknown."


def _show_difference(session: Session, found: Json) -> None:
    rows = [
        *((each["name"], each["before"], each["after"]) for each in found["changed"]),
        *((each["name"], "", each["version"]) for each in found["added"]),
        *((each["name"], each["version"], "") for each in found["removed"]),
    ]
    rows.sort()
    nothing = "The same packages in the same versions." if found["known"] else _UNKNOWN
    if found["from_number"] is None:
        nothing = "There is no earlier build to compare with."
    titles = ("Package", f"Build {found['from_number']}", f"Build {found['to_number']}")
    session.rows(found, rows, lambda: _plain_table(titles, rows), nothing)


def _plain_table(titles: tuple[str, ...], rows: list[tuple[str, str, str]]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in titles:
        table.add_column(title)
    for row in rows:
        table.add_row(*(Text(plain(cell)) for cell in row))
    return table


COMMANDS: tuple[click.Command, ...] = (history, use, packages)
"""In the order of the help page."""
