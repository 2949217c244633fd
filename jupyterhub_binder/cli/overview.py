"""`jupyterhub-binder admin overview`: what the page *Overview* shows, over the REST API."""

from __future__ import annotations

from collections.abc import Iterator

import click
from rich.table import Table
from rich.text import Text

from jupyterhub_binder.cli.session import Session, hub_command
from jupyterhub_binder.client.client import BinderClient, Json
from jupyterhub_binder.utils.terminal import ago, duration, plain
from jupyterhub_binder.utils.units import format_bytes

Row = tuple[str, str]

_TOTALS = {
    "built": "Builds that succeeded",
    "failed": "Builds that failed",
    "launches": "Launches",
    "failed_launches": "Launches that failed",
    "people": "People who launched",
}
_STYLES = {"Needs attention": "bold red", "Vulnerable": "bold red"}


@click.command(short_help="Show what needs attention, what runs, and what failed.")
@hub_command
def overview(session: Session) -> None:
    """Show what needs attention, what runs and waits, what failed, and how full the disk is.

    \b
    Examples:
      jupyterhub-binder admin overview
      jupyterhub-binder admin overview --json | jq '.attention[].text'
    """  # noqa: D301 - Click wants the character

    async def work(client: BinderClient) -> None:
        found = await client.admin("GET", "overview")
        rows = list(rows_of(found))
        session.rows(found, rows, lambda: _table(rows), "")

    session.run(work)


def rows_of(found: Json) -> Iterator[Row]:
    """Yield a title and a text for each line. Pure."""
    yield from _versions(found)
    for each in found["attention"]:
        yield "Needs attention", f"{each['title']}: {each['text']}"
    if not found["attention"]:
        yield "Needs attention", "nothing"
    yield from _queue(found)
    for name, title in _TOTALS.items():
        now, before = found["today"][name], found["week_ago"][name]
        yield title, f"{now} today, {before} by this time a week ago"
    for each in found["failures"]:
        why = (each["reason"] or {}).get("message") or each["kind"]
        last = f"the last {ago(each['last'])}: {each['label']}"
        times = _count(each["times"], "build")
        yield f"Failed in {found['failure_days']} days", f"{times}: {why} ({last})"
    for each in found["people_at_limit"]:
        yield "At a limit", f"{each['person']}: {each['limit']} {each['used']} of {each['most']}"
    if more := found["people_at_limit_total"] - len(found["people_at_limit"]):
        yield "At a limit", f"and {more} more"
    yield from _disk(found)
    for backend in found["backends"]:
        yield "Backend", f"{backend['name']}: {backend['health'] or 'works'}"
        for host in backend["hosts"]:
            yield "BinderHub", f"{host['name']}: {host['reason'] or host['state']}"


def _versions(found: Json) -> Iterator[Row]:
    hub = f", JupyterHub {found['hub_version']}" if found["hub_version"] else ""
    yield "Version", f"jupyterhub-binder {found['version']}{hub}"
    for each in found["software"]:
        for one in each["advisories"]:
            text = f"{each['package']} {each['version']} of {each['where']}: {one['ids'][0]}"
            yield "Vulnerable", f"{text} ({one['severity']}), fixed in {one['fixed']}"


def _queue(found: Json) -> Iterator[Row]:
    drain = found["drain"]
    if drain["draining"]:
        yield "Paused", f"by {drain['by']}, {ago(drain['since'])}: {drain['message']}"
    yield "Running", f"{drain['running']} of {found['max_running']} at once"
    oldest = found["oldest_wait_seconds"]
    yield "Waiting", f"{drain['waiting']}{f', the oldest for {duration(oldest)}' if oldest else ''}"
    yield "Launching", str(drain["launches"])


def _disk(found: Json) -> Iterator[Row]:
    if disk := found["disk"]:
        free, total = map(format_bytes, (disk["free_bytes"], disk["total_bytes"]))
        yield "Disk", f"{free} of {total} are free"
    else:
        yield "Disk", "can't be read"
    if use := found["images"]:
        size, cache = map(format_bytes, (use["image_bytes"], use["cache_bytes"]))
        yield "Images", f"{use['images']}, together {size}"
        yield "Cache of packages", cache
        removable, freed = _count(use["removable"], "image"), format_bytes(use["removable_bytes"])
        yield "Clean-up", f"would remove {removable} and free up to {freed}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun if number == 1 else f'{noun}s'}"


def _table(rows: list[Row]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    before = ""
    for title, text in rows:
        shown = Text(title if title != before else "")
        if text != "nothing":
            shown.stylize(_STYLES.get(title, ""))
        table.add_row(shown, Text(plain(text)))
        before = title
    return table
