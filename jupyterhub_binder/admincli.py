"""The commands of administrators: `jupyterhub-binder admin …`, over the REST API with a token.

Each prints a table on a terminal, tab-separated lines into a pipe, and JSON where that is asked
for.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from jupyterhub_binder.client import BinderClient, Json
from jupyterhub_binder.follow import NOT_FOUND, Failure
from jupyterhub_binder.oversight import Action, LimitName
from jupyterhub_binder.session import Session, hub_command
from jupyterhub_binder.terminal import ago, plain
from jupyterhub_binder.usage import UseOrder

_POLL_SECONDS = 2.0


@click.group(short_help="Administer a running service: builds, people, rules, limits.")
def admin() -> None:
    """Administer a running service: builds, people, rules, limits, draining and the audit log.

    The token is an admin's, or one with the scope custom:binder:admin.

    \b
    What runs, and ending it:
      jupyterhub-binder admin queue
      jupyterhub-binder admin cancel BUILD
    \b
    What may be built:
      jupyterhub-binder admin ban github.com/org/miner --reason "It mines coins" --cancel
      jupyterhub-binder admin rules
    \b
    Before an upgrade, and after:
      jupyterhub-binder admin drain --message "Upgrade at noon" --wait
      jupyterhub-binder admin resume
    """  # noqa: D301 - Click wants the character


# --- Builds and environments ------------------------------------------------------------------


@admin.command()
@hub_command
def queue(session: Session) -> None:
    """List the builds that run, then those that wait, in the order of the queue."""

    async def work(client: BinderClient) -> None:
        found = await _fetch_queue(client)
        items = [*found["running"], *found["waiting"]]
        if found["draining"]:
            session.say("Builds are paused: the service is being drained.", "yellow")
        columns = ("id", "state", "label", "resolved_ref", "requested_by", "people")
        _show(session, found, items, columns, "Nothing is being built, and nothing waits.")

    session.run(work)


async def _fetch_queue(client: BinderClient) -> Json:
    found = await client.admin("GET", "queue", limit=200)
    while len(found["waiting"]) < found["waiting_total"]:
        more = await client.admin("GET", "queue", offset=len(found["waiting"]), limit=200)
        if not more["waiting"]:
            break
        found["waiting"] += more["waiting"]
    return found


@admin.command()
@click.argument("build")
@hub_command
def cancel(session: Session, build: str) -> None:
    """End BUILD, an id, for everybody who wants it."""

    async def work(client: BinderClient) -> None:
        done = await client.cancel_build(build)
        session.result(done, f"{done['id']}: {done['state']}")

    session.run(work)


@admin.command()
@click.argument("search", default="")
@click.option("--person", metavar="NAME", help="Only this person's.")
@click.option("--deleted", is_flag=True, help="Those that were deleted and can be restored.")
@hub_command
def environments(session: Session, search: str, person: str | None, deleted: bool) -> None:
    """List everybody's environments; SEARCH is part of a name or a repository."""

    async def work(client: BinderClient) -> None:
        items = await client.admin_all(
            "environments", search=search, person=person, deleted="1" if deleted else ""
        )
        columns = ("id", "owner", "name", "state", "label", "ref", "launched")
        _show(session, items, items, columns, "There is no such environment.")

    session.run(work)


@admin.command()
@click.argument("environment")
@hub_command
def delete(session: Session, environment: str) -> None:
    """Delete ENVIRONMENT, an id of anybody's; for a while it can be restored."""

    async def work(client: BinderClient) -> None:
        await client.delete(environment)
        session.result({"id": environment}, f"{environment}: deleted")

    session.run(work)


@admin.command()
@click.argument("environment")
@hub_command
def restore(session: Session, environment: str) -> None:
    """Bring a deleted ENVIRONMENT back."""

    async def work(client: BinderClient) -> None:
        done = await client.restore(environment)
        session.result(done, f"{done['id']}: {done['name']} is back")

    session.run(work)


@admin.command()
@hub_command
def backends(session: Session) -> None:
    """Say whether builds work, and how each BinderHub stands."""

    async def work(client: BinderClient) -> None:
        found = (await client.admin("GET", "backends"))["items"]
        rows = [
            {"name": each["name"], "state": each["health"] or "ok", "reason": each["description"]}
            for each in found
        ]
        rows += [host for each in found for host in each["hosts"]]
        columns = ("name", "state", "running", "built", "build_failures", "host_failures", "reason")
        _show(session, found, rows, columns, "There is no backend.")

    session.run(work)


@admin.command()
@click.argument("search", default="")
@click.option("--days", type=click.Choice(["7", "30", "90"]), default="30", show_default=True)
@click.option(
    "--sort",
    type=click.Choice([each.value for each in UseOrder]),
    default="builds",
    show_default=True,
)
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, for a spreadsheet.")
@hub_command
def use(session: Session, search: str, days: str, sort: str, as_csv: bool) -> None:
    """Say what people use; SEARCH is part of a name.

    Builds, their seconds and launches are of the period; environments and the bytes of the
    images that they need are as they are now.

    \b
    Examples:
      jupyterhub-binder admin use --days 7 --sort image_bytes
      jupyterhub-binder admin use --csv > use.csv
    """  # noqa: D301 - Click wants the character

    async def work(client: BinderClient) -> None:
        asked = {"days": days, "sort": sort, "search": search}
        if as_csv:
            _show_lines(await client.admin_text("use.csv", **asked))
            return
        items = await client.admin_all("use", **asked)
        columns = (
            "name", "builds", "build_seconds", "launches", "environments", "image_bytes"
        )  # fmt: skip
        _show(session, items, items, columns, "Nobody has used anything.")

    session.run(work)


# --- Rules --------------------------------------------------------------------------------------


@admin.command()
@click.argument("search", default="")
@hub_command
def rules(session: Session, search: str) -> None:
    """List which repositories are banned, and which alone are allowed.

    Rules without an id are of the configuration.
    """

    async def work(client: BinderClient) -> None:
        items = await client.admin_all("rules", search=search)
        columns = ("id", "kind", "pattern", "reason", "created_by", "created")
        _show(session, items, items, columns, "There is no rule: everything may be built.")

    session.run(work)


@admin.command()
@click.argument("pattern")
@click.option("--reason", default="", help="What people read whose repository is refused.")
@click.option("--cancel", is_flag=True, help="End the builds of it that run or wait.")
@hub_command
def ban(session: Session, pattern: str, reason: str, cancel: bool) -> None:
    """Let nobody build or launch the repositories of PATTERN.

    PATTERN is a repository in any way in which people write it; * stands for any text. Done
    again, it changes the reason.

    \b
    Examples:
      jupyterhub-binder admin ban https://github.com/org/name --reason "Too large for us"
      jupyterhub-binder admin ban 'gh/org/*' --cancel
    """  # noqa: D301 - Click wants the character
    body = {"kind": "ban", "pattern": pattern, "reason": reason, "cancel": cancel}
    session.run(lambda client: _add_rule(session, client, body))


@admin.command()
@click.argument("pattern")
@click.option("--reason", default="", help="A note for other admins.")
@hub_command
def allow(session: Session, pattern: str, reason: str) -> None:
    """Allow the repositories of PATTERN, and from now on no others that are not allowed, too."""
    body = {"kind": "allow", "pattern": pattern, "reason": reason}
    session.run(lambda client: _add_rule(session, client, body))


async def _add_rule(session: Session, client: BinderClient, body: Json) -> None:
    done = await client.admin("POST", "rules", body=body)
    rule, builds = done["rule"], done["builds"]
    session.result(done, f"{rule['id']}: {rule['pattern']}")
    left = [build["id"] for build in builds if build["state"] in ("pending", "running")]
    if done["cancelled"]:
        session.say(f"{done['cancelled']} builds were ended.")
    if left and rule["kind"] == "ban":
        session.say(f"Still under way: {' '.join(left)}. --cancel ends them.")


@admin.command("remove-rule")
@click.argument("rule")
@hub_command
def remove_rule(session: Session, rule: str) -> None:
    """Remove RULE, an id or a pattern as `rules` lists it."""

    async def work(client: BinderClient) -> None:
        items = await client.admin_all("rules")
        found = [
            each["id"] for each in items if each["id"] and rule in (each["id"], each["pattern"])
        ]
        if not found:
            raise Failure(f"There is no rule {rule} that could be removed.", NOT_FOUND)
        done = [await client.admin("DELETE", f"rules/{each}") for each in found]
        session.result(done, "\n".join(f"{each['pattern']}: removed" for each in done))

    session.run(work)


# --- Limits -------------------------------------------------------------------------------------


@admin.command()
@click.argument("search", default="")
@click.option("--person", metavar="NAME", help="Say which limits hold for somebody, and whose.")
@hub_command
def limits(session: Session, search: str, person: str | None) -> None:
    """List everybody's limits, and those of groups and people that differ."""

    async def work(client: BinderClient) -> None:
        found = await client.admin("GET", "limits", person=person, limit=1)
        if person:
            held = found["person"]["limits"]
            rows = [{"name": name, **held[name]} for name in LimitName]
            _show(session, found["person"], rows, ("name", "limit", "source", "group"), "")
            return
        items = await client.admin_all("limits", search=search)
        rows = [{"holder": "everybody", "name": "", **found["defaults"]}]
        rows += [{**each, **each["limits"]} for each in items]
        result = {"defaults": found["defaults"], "items": items}
        _show(session, result, rows, ("holder", "name", *LimitName), "")

    session.run(work)


class _Amount(click.ParamType):
    """A whole number, or ``default`` for none of one's own."""

    name = "NUMBER|default"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return a number, or the word."""
        if value == "default" or isinstance(value, int):
            return value
        return click.INT.convert(value, param, ctx)


@admin.command()
@click.option("--person", metavar="NAME", help="Whose: a person's,")
@click.option("--group", metavar="NAME", help="or a group's.")
@click.option("--environments", type=_Amount(), help="Environments kept.")
@click.option("--builds", type=_Amount(), help="Builds waiting or running.")
@click.option("--running", type=_Amount(), help="Builds running at once.")
@click.option("--share", type=_Amount(), help="Turns in the queue, next to 1 of everybody else.")
@hub_command
def limit(session: Session, person: str | None, group: str | None, **amounts: Any) -> None:
    """Set limits of a person or a group; those that are not named stay as they are.

    A person's own limit holds, else the largest of their groups', else everybody's.

    \b
    Examples:
      jupyterhub-binder admin limit --group astronomy --environments 300 --share 2
      jupyterhub-binder admin limit --person ada --builds default
    """  # noqa: D301 - Click wants the character
    if bool(person) == bool(group):
        raise click.UsageError("Name either --person or --group.")
    holder, name = ("person", person) if person else ("group", group)

    async def work(client: BinderClient) -> None:
        items = await client.admin_all("limits", search=name)
        kept = (i["limits"] for i in items if (i["holder"], i["name"]) == (holder, name))
        values = {**next(kept, {}), **{k: v for k, v in amounts.items() if v is not None}}
        body = {k: v for k, v in values.items() if v != "default"}
        done = await client.admin("PUT", "limits", body={**body, str(holder): name})
        words = ", ".join(f"{k} {v}" for k, v in done["limits"].items()) or "as everybody"
        session.result(done, f"{holder} {done['name']}: {words}")

    session.run(work)


# --- Draining -----------------------------------------------------------------------------------


@admin.command()
@click.option("--message", default="", help="What everybody reads on every page.")
@click.option("--wait", is_flag=True, help="Return when no build runs any more.")
@click.option(
    "--timeout",
    type=click.FloatRange(0),
    metavar="SECONDS",
    help="With --wait: give up after so long, with exit status 1; draining goes on.",
)
@hub_command
def drain(session: Session, message: str, wait: bool, timeout: float | None) -> None:
    """Pause all builds, before an upgrade.

    What runs goes on to its end, what people ask for waits in the queue, and a restart of the
    service changes nothing of that. `resume` ends the pause.

    \b
    Examples:
      jupyterhub-binder admin drain --message "Upgrade at noon" --wait --timeout 3600
    """  # noqa: D301 - Click wants the character

    async def work(client: BinderClient) -> None:
        state = await client.admin("PUT", "drain", body={"message": message})
        if wait:
            state = await _wait_until_idle(session, client, state, timeout)
        session.result(state, f"Draining: {state['running']} running, {state['waiting']} waiting")

    session.run(work)


async def _wait_until_idle(
    session: Session, client: BinderClient, state: Json, seconds: float | None
) -> Json:
    said = None
    try:
        async with asyncio.timeout(seconds):
            while state["running"]:
                if said != state["running"]:
                    said = state["running"]
                    session.say(f"{said} still running")
                await asyncio.sleep(_POLL_SECONDS)
                state = await client.admin("GET", "drain")
    except TimeoutError:
        still = timedelta(seconds=seconds or 0)
        raise Failure(f"{state['running']} builds still run after {still}.") from None
    if not state["draining"]:
        raise Failure("Somebody resumed builds meanwhile.")
    return state


@admin.command()
@hub_command
def resume(session: Session) -> None:
    """Resume builds after `drain`."""

    async def work(client: BinderClient) -> None:
        state = await client.admin("DELETE", "drain")
        now = f"{state['running']} running, {state['waiting']} waiting"
        session.result(state, f"Builds are resumed: {now}")

    session.run(work)


# --- The audit log --------------------------------------------------------------------------------


@admin.command()
@click.option("--person", metavar="NAME", help="Only what this person did.")
@click.option("--action", type=click.Choice([each.value for each in Action]), help="Only this.")
@click.option("--limit", type=click.IntRange(1, 200), default=50, show_default=True)
@click.option("--lines", is_flag=True, help="All of it, the oldest first, as JSON lines.")
@hub_command
def audit(
    session: Session, person: str | None, action: str | None, limit: int, lines: bool
) -> None:
    """Say who did what when, the newest first.

    \b
    Examples:
      jupyterhub-binder admin audit --person ada
      jupyterhub-binder admin audit --lines > audit.jsonl
    """  # noqa: D301 - Click wants the character

    async def work(client: BinderClient) -> None:
        if lines:
            text = await client.admin_text("audit.jsonl", person=person, action=action)
            _show_lines(text)
            return
        page = await client.admin("GET", "audit", person=person, action=action, limit=limit)
        columns = ("time", "actor", "action", "target", "detail")
        _show(session, page, page["items"], columns, "Nothing of that kind has happened.")

    session.run(work)


# --- Showing ------------------------------------------------------------------------------------


def _show(
    session: Session, result: Any, rows: Sequence[Json], columns: Iterable[str], nothing: str
) -> None:
    """Print rows: JSON, a table for a person, or tab-separated lines for a pipe."""
    names = list(columns)
    cells = [[_text(row.get(name)) for name in names] for row in rows]
    session.rows(result, cells, lambda: _table(rows, names), nothing)


def _show_lines(text: str) -> None:
    """Print what is made for a file, and may be printed on a terminal all the same."""
    for line in io.StringIO(text):
        click.echo(plain(line))


def _table(rows: Sequence[Json], names: Sequence[str]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in names:
        table.add_column(name.replace("_", " ").capitalize(), overflow="fold")
    for row in rows:
        table.add_row(*(Text(_FORMATS.get(name, _text)(row.get(name))) for name in names))
    return table


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_text(each)}" for name, each in value.items())
    return "" if value is None else plain(value)


_FORMATS: dict[str, Callable[[Any], str]] = {
    "launched": lambda value: ago(value) or "never",
    "created": lambda value: ago(value) or "",
    "time": lambda value: ago(value) or "",
    "resolved_ref": lambda value: _text(value)[:7],
    "build_seconds": lambda value: str(timedelta(seconds=round(value))),
    "image_bytes": lambda value: f"{value / 1e9:,.1f} GB",
}
