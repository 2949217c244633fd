"""Commands for administrators, `jupyterhub-binder admin …`, over the REST API."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from jupyterhub_binder.admin import columns
from jupyterhub_binder.admin.columns import Column, Unit
from jupyterhub_binder.admin.usage import UseOrder
from jupyterhub_binder.cli.alerts import alerts
from jupyterhub_binder.cli.failure import NOT_FOUND, CommandFailed
from jupyterhub_binder.cli.overview import overview
from jupyterhub_binder.cli.session import Session, hub_command
from jupyterhub_binder.client.client import BinderClient, Json
from jupyterhub_binder.model import BuildState
from jupyterhub_binder.model.admin import Action, LimitName
from jupyterhub_binder.utils.terminal import ago, duration, plain

_POLL_SECONDS = 2.0
_PART = 200
"""Builds of one request."""


@click.group(short_help="Administer a running service: builds, people, rules, limits.")
def admin() -> None:
    """Administer a running service: builds, people, rules, limits, draining and the audit log.

    The token must belong to a hub admin or have the scope custom:binder:admin.

    \b
    See what needs attention:
      jupyterhub-binder admin overview
    \b
    List and cancel builds:
      jupyterhub-binder admin queue
      jupyterhub-binder admin cancel BUILD
    \b
    Choose which repositories may be built:
      jupyterhub-binder admin ban github.com/org/miner --reason "It mines coins" --cancel
      jupyterhub-binder admin rules
    \b
    Ban a person from builds and launches:
      jupyterhub-binder admin ban-person mallory --reason "Mined coins" --cancel --stop-servers
    \b
    Pause builds before an upgrade, resume afterwards:
      jupyterhub-binder admin drain --message "Upgrade at noon" --wait
      jupyterhub-binder admin resume
    """  # noqa: D301 - Click wants the character


admin.add_command(alerts)
admin.add_command(overview)


# --- Builds and environments ------------------------------------------------------------------


@admin.command()
@hub_command
def queue(session: Session) -> None:
    """List running builds, then waiting builds in queue order."""

    async def work(client: BinderClient) -> None:
        found = await _fetch_queue(client)
        items = [*found["running"], *found["waiting"]]
        if found["draining"]:
            session.say("Builds are paused. To resume: jupyterhub-binder admin resume", "yellow")
        _show(session, found, items, columns.QUEUE, "No builds are running or waiting.")

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
    """Cancel BUILD (id) for everyone who is waiting for it."""

    async def work(client: BinderClient) -> None:
        done = await client.cancel_build(build)
        session.result(done, f"{done['id']}: {done['state']}")

    session.run(work)


@admin.command()
@click.option("--state", type=click.Choice([each.value for each in BuildState]))
@click.option("--person", metavar="NAME", help="Only builds that this person requested first.")
@click.option("--repository", metavar="TEXT", help="Part of a repository's address.")
@click.option("--reason", metavar="CODE", help="Why it failed: a rule's id or a fingerprint.")
@click.option("--since", metavar="DAY", help="The first day in UTC, such as 2026-11-30.")
@click.option("--until", metavar="DAY", help="The last day.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@hub_command
def builds(session: Session, limit: int, **asked: str | None) -> None:
    """List everyone's builds, the newest first.

    \b
    Examples:
      jupyterhub-binder admin builds --state failed --since 2026-11-01
      jupyterhub-binder admin builds --person mallory --limit 1000
    """  # noqa: D301 - Click wants the character

    async def work(client: BinderClient) -> None:
        items = await _fetch_builds(client, limit, asked)
        rows = [{**each, "why": (each["reason"] or {}).get("message")} for each in items]
        _show(session, items, rows, columns.HISTORY, "No such builds.")

    session.run(work)


async def _fetch_builds(client: BinderClient, limit: int, asked: dict[str, Any]) -> list[Json]:
    found: list[Json] = []
    after: str | None = ""
    while after is not None and len(found) < limit:
        part = await client.admin(
            "GET", "builds", **asked, after=after, limit=min(limit - len(found), _PART)
        )
        found += part["items"]
        after = part["older"]
    return found


@admin.command()
@click.argument("search", default="")
@click.option("--person", metavar="NAME", help="Only environments of this person.")
@click.option("--deleted", is_flag=True, help="List deleted environments that can be restored.")
@hub_command
def environments(session: Session, search: str, person: str | None, deleted: bool) -> None:
    """List everyone's environments. SEARCH is part of a name or repository."""

    async def work(client: BinderClient) -> None:
        items = await client.admin_all(
            "environments", search=search, person=person, deleted="1" if deleted else ""
        )
        _show(session, items, items, columns.ENVIRONMENTS, "No environments found.")

    session.run(work)


@admin.command()
@click.argument("environment")
@hub_command
def delete(session: Session, environment: str) -> None:
    """Delete ENVIRONMENT (id) of any person. It can be restored for a while."""

    async def work(client: BinderClient) -> None:
        await client.delete(environment)
        session.result({"id": environment}, f"{environment}: deleted")

    session.run(work)


@admin.command()
@click.argument("environment")
@hub_command
def restore(session: Session, environment: str) -> None:
    """Restore a deleted ENVIRONMENT (id)."""

    async def work(client: BinderClient) -> None:
        done = await client.restore(environment)
        session.result(done, f"{done['id']}: {done['name']} restored")

    session.run(work)


@admin.command()
@hub_command
def featured(session: Session) -> None:
    """List the environments that are featured for everyone and for groups."""

    async def work(client: BinderClient) -> None:
        found = (await client.admin("GET", "featured"))["items"]
        rows = [{**each["environment"], **each} for each in found]
        _show(session, found, rows, columns.FEATURED, "No environment is featured.")

    session.run(work)


@admin.command(short_help="Feature an environment above everybody's list.")
@click.argument("environment")
@click.option("--group", metavar="NAME", help="Only for this group of the hub.")
@click.option(
    "--text", default="", help="Description to show.  [default: the first paragraph of the README]"
)
@hub_command
def feature(session: Session, environment: str, group: str | None, text: str) -> None:
    """Feature ENVIRONMENT (id) for everyone, or for a group.

    They find it above their lists of environments, and may launch it with their own home folders.
    The command also changes the text and the people of a featured environment.

    \b
    Examples:
      jupyterhub-binder admin feature 0123456789abcdef --text "Start here."
      jupyterhub-binder admin feature 0123456789abcdef --group astronomy
    """  # noqa: D301 - Click wants the character

    async def work(client: BinderClient) -> None:
        body = {"subject": f"group:{group}" if group else "everyone", "text": text}
        made = await client.admin("PUT", f"featured/{environment}", body=body)
        said = f"{made['environment']['name']} is featured for {made['subject']}."
        session.result(made, plain(said))

    session.run(work)


@admin.command()
@click.argument("environment")
@hub_command
def unfeature(session: Session, environment: str) -> None:
    """Stop featuring ENVIRONMENT (id). A share that came with it ends too."""

    async def work(client: BinderClient) -> None:
        ended = await client.admin("DELETE", f"featured/{environment}")
        session.result(ended, plain(f"{ended['environment']['name']} is no longer featured."))

    session.run(work)


@admin.command()
@click.option("--known", is_flag=True, help="List the failures that a rule explains.")
@hub_command
def failures(session: Session, known: bool) -> None:
    """List failed builds by kind, the most frequent first.

    A kind is the fingerprint of a failure that no rule explains. To write rules of your own, see
    `jupyterhub-binder explain --help`.
    """

    async def work(client: BinderClient) -> None:
        items = await client.admin_all("failures", known="1" if known else "")
        rows = [{**(item["reason"] or {}), **item} for item in items]
        _show(session, items, rows, columns.FAILURES, "No such failures.")

    session.run(work)


@admin.command()
@hub_command
def backends(session: Session) -> None:
    """Show whether builds work, and the state of each BinderHub."""

    async def work(client: BinderClient) -> None:
        found = (await client.admin("GET", "backends"))["items"]
        rows = [
            {"name": each["name"], "state": each["health"] or "ok", "reason": each["description"]}
            for each in found
        ]
        rows += [host for each in found for host in each["hosts"]]
        _show(session, found, rows, columns.HOSTS, "No backends found.")

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
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV for a spreadsheet.")
@hub_command
def use(session: Session, search: str, days: str, sort: str, as_csv: bool) -> None:
    """Show usage by person. SEARCH is part of a name.

    Builds, build seconds and launches cover the period. Environments and image bytes are
    counted as of now.

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
        _show(session, items, items, columns.USE, "No usage yet.")

    session.run(work)


# --- Rules --------------------------------------------------------------------------------------


@admin.command()
@click.argument("search", default="")
@hub_command
def rules(session: Session, search: str) -> None:
    """List the rules on which repositories and people are banned or allowed.

    Rules without an id come from the configuration.
    """

    async def work(client: BinderClient) -> None:
        items = await client.admin_all("rules", search=search)
        _show(session, items, items, columns.RULES, "No rules: every repository may be built.")

    session.run(work)


@admin.command()
@click.argument("pattern")
@click.option("--reason", default="", help="Reason, shown to people whose repository is refused.")
@click.option("--hide-reason", is_flag=True, help="Show the reason only to admins.")
@click.option("--cancel", is_flag=True, help="Also cancel its running and waiting builds.")
@hub_command
def ban(session: Session, pattern: str, reason: str, hide_reason: bool, cancel: bool) -> None:
    """Ban the repositories that match PATTERN from builds and launches.

    PATTERN is a repository in any form that people write it; * matches any text. Ban it again to
    change the reason.

    \b
    Examples:
      jupyterhub-binder admin ban https://github.com/owner/name --reason "Too large for us"
      jupyterhub-binder admin ban 'gh/owner/*' --cancel
    """  # noqa: D301 - Click wants the character
    body = _ban_of("ban", pattern, reason, hide_reason, cancel)
    session.run(lambda client: _add_rule(session, client, body))


@admin.command("ban-person")
@click.argument("name")
@click.option("--reason", default="", help="Reason, shown to the person.")
@click.option("--hide-reason", is_flag=True, help="Show the reason only to admins.")
@click.option("--cancel", is_flag=True, help="Also cancel their running and waiting builds.")
@click.option(
    "--stop-servers", is_flag=True, help="Also cancel their launches and stop all their servers."
)
@hub_command
def ban_person(
    session: Session, name: str, reason: str, hide_reason: bool, cancel: bool, stop_servers: bool
) -> None:
    """Ban the person NAME (of the hub) from builds and launches.

    To stop servers, the service's role needs the scope delete:servers. To end the ban, use
    `remove-rule NAME`.

    \b
    Examples:
      jupyterhub-binder admin ban-person mallory --reason "Mined coins" --cancel --stop-servers
      jupyterhub-binder admin ban-person mallory --reason "Ticket 1234" --hide-reason
      jupyterhub-binder admin remove-rule mallory
    """  # noqa: D301 - Click wants the character
    body = _ban_of("ban_person", name, reason, hide_reason, cancel)
    body["stop_servers"] = stop_servers
    session.run(lambda client: _add_rule(session, client, body))


def _ban_of(kind: str, pattern: str, reason: str, hide_reason: bool, cancel: bool) -> Json:
    shown = {"reason": reason, "shows_reason": not hide_reason}
    return {"kind": kind, "pattern": pattern, **shown, "cancel": cancel}


@admin.command()
@click.argument("pattern")
@click.option("--reason", default="", help="A note for other admins.")
@hub_command
def allow(session: Session, pattern: str, reason: str) -> None:
    """Allow the repositories that match PATTERN. Repositories that no allow rule matches are refused."""
    body = {"kind": "allow", "pattern": pattern, "reason": reason}
    session.run(lambda client: _add_rule(session, client, body))


async def _add_rule(session: Session, client: BinderClient, body: Json) -> None:
    done = await client.admin("POST", "rules", body=body)
    rule, builds = done["rule"], done["builds"]
    session.result(done, f"{rule['id']}: {rule['pattern']}")
    left = [build["id"] for build in builds if build["state"] in ("pending", "running")]
    if done["cancelled"]:
        session.say(f"{done['cancelled']} builds cancelled.")
    if servers := done["servers"]:
        session.say(f"{len(servers['stopped'])} servers are stopping.")
        if servers["problem"]:
            said = "Servers still run: " if servers["left"] else ""
            session.say(f"{said}{servers['problem']}", "yellow")
    if left and rule["kind"] != "allow":
        session.say(f"Still running or waiting: {' '.join(left)}. Use --cancel to cancel them.")


@admin.command("remove-rule")
@click.argument("rule")
@hub_command
def remove_rule(session: Session, rule: str) -> None:
    """Remove RULE (id or pattern, as listed by `rules`)."""

    async def work(client: BinderClient) -> None:
        items = await client.admin_all("rules")
        found = [
            each["id"] for each in items if each["id"] and rule in (each["id"], each["pattern"])
        ]
        if not found:
            raise CommandFailed(
                f"No rule {rule} can be removed. List them: jupyterhub-binder admin rules",
                NOT_FOUND,
            )
        done = [await client.admin("DELETE", f"rules/{each}") for each in found]
        session.result(done, "\n".join(f"{each['pattern']}: removed" for each in done))

    session.run(work)


@admin.command()
@hub_command
def detections(session: Session) -> None:
    """List the reports of a detector of forbidden programs that wait for a decision.

    Ban the repository or the person, or dismiss the report. The detector's webhook is described in
    the documentation, under "Protect the hub from abuse".
    """

    async def work(client: BinderClient) -> None:
        items = await client.admin_all("detections")
        rows = [{**each, "repository": each["repository"] or each["named"]} for each in items]
        _show(session, items, rows, columns.DETECTIONS, "No reports wait for a decision.")

    session.run(work)


@admin.command()
@click.argument("report")
@hub_command
def dismiss(session: Session, report: str) -> None:
    """Dismiss REPORT (id, as listed by `detections`). Nothing is banned."""

    async def work(client: BinderClient) -> None:
        done = await client.admin("DELETE", f"detections/{report}")
        session.result(done, f"{done['id']}: dismissed")

    session.run(work)


# --- Limits -------------------------------------------------------------------------------------


@admin.command()
@click.argument("search", default="")
@click.option(
    "--person",
    metavar="NAME",
    help="Show the limits that apply to this person, and where each comes from.",
)
@hub_command
def limits(session: Session, search: str, person: str | None) -> None:
    """List the default limits and those of groups and people."""

    async def work(client: BinderClient) -> None:
        found = await client.admin("GET", "limits", person=person, limit=1)
        if person:
            held = found["person"]["limits"]
            rows = [{"name": name, **held[name]} for name in LimitName]
            _show(session, found["person"], rows, columns.CHOSEN, "")
            return
        items = await client.admin_all("limits", search=search)
        rows = [{"holder": "default", "name": "", **found["defaults"]}]
        rows += [{**each, **each["limits"]} for each in items]
        result = {"defaults": found["defaults"], "items": items}
        _show(session, result, rows, columns.OVERRIDES, "")

    session.run(work)


class _Amount(click.ParamType):
    """A whole number, or ``default``."""

    name = "NUMBER|default"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return an int or ``default``."""
        if value == "default" or isinstance(value, int):
            return value
        return click.INT.convert(value, param, ctx)


@admin.command()
@click.option("--person", metavar="NAME", help="Set limits for this person.")
@click.option("--group", metavar="NAME", help="Set limits for this group.")
@click.option("--environments", type=_Amount(), help="Maximum number of environments.")
@click.option("--builds", type=_Amount(), help="Maximum number of builds waiting or running.")
@click.option("--running", type=_Amount(), help="Maximum number of builds running at once.")
@click.option("--share", type=_Amount(), help="Turns in the queue; everyone else has 1.")
@hub_command
def limit(session: Session, person: str | None, group: str | None, **amounts: Any) -> None:
    """Set limits for a person or a group. Limits you don't name stay unchanged.

    A person's own limit applies first, then the highest limit of their groups, then the limit for new
    people, then the default. The value "default" removes a limit.

    \b
    Examples:
      jupyterhub-binder admin limit --group astronomy --environments 300 --share 2
      jupyterhub-binder admin limit --person ada --builds default
    """  # noqa: D301 - Click wants the character
    if bool(person) == bool(group):
        raise click.UsageError("Give either --person or --group.")
    holder, name = ("person", person) if person else ("group", group)

    async def work(client: BinderClient) -> None:
        items = await client.admin_all("limits", search=name)
        kept = (i["limits"] for i in items if (i["holder"], i["name"]) == (holder, name))
        values = {**next(kept, {}), **{k: v for k, v in amounts.items() if v is not None}}
        body = {k: v for k, v in values.items() if v != "default"}
        done = await client.admin("PUT", "limits", body={**body, str(holder): name})
        words = ", ".join(f"{k} {v}" for k, v in done["limits"].items()) or "default"
        session.result(done, f"{holder} {done['name']}: {words}")

    session.run(work)


# --- Draining -----------------------------------------------------------------------------------


@admin.command()
@click.option("--message", default="", help="Message shown on every page.")
@click.option("--wait", is_flag=True, help="Wait until no build is running.")
@click.option(
    "--timeout",
    type=click.FloatRange(0),
    metavar="SECONDS",
    help="With --wait: stop waiting after this time, with exit status 1. Builds stay paused.",
)
@hub_command
def drain(session: Session, message: str, wait: bool, timeout: float | None) -> None:
    """Pause builds before an upgrade.

    Running builds finish. New builds wait in the queue, also across a restart of the service. To
    end the pause, use `resume`.

    \b
    Examples:
      jupyterhub-binder admin drain --message "Upgrade at noon" --wait --timeout 3600
    """  # noqa: D301 - Click wants the character

    async def work(client: BinderClient) -> None:
        state = await client.admin("PUT", "drain", body={"message": message})
        if wait:
            state = await _wait_until_idle(session, client, state, timeout)
        session.result(
            state, f"Builds are paused: {state['running']} running, {state['waiting']} waiting"
        )

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
        raise CommandFailed(f"{state['running']} builds are still running after {still}.") from None
    if not state["draining"]:
        raise CommandFailed("Another admin resumed builds.")
    return state


@admin.command()
@hub_command
def resume(session: Session) -> None:
    """Resume builds after `drain`."""

    async def work(client: BinderClient) -> None:
        state = await client.admin("DELETE", "drain")
        now = f"{state['running']} running, {state['waiting']} waiting"
        session.result(state, f"Builds resumed: {now}")

    session.run(work)


# --- The audit log --------------------------------------------------------------------------------


@admin.command()
@click.option("--person", metavar="NAME", help="Only entries of this person.")
@click.option(
    "--action", type=click.Choice([each.value for each in Action]), help="Only this action."
)
@click.option("--limit", type=click.IntRange(1, 200), default=50, show_default=True)
@click.option("--lines", is_flag=True, help="Print the whole log as JSON Lines, oldest first.")
@hub_command
def audit(
    session: Session, person: str | None, action: str | None, limit: int, lines: bool
) -> None:
    """Show the audit log, newest first.

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
        _show(session, page, page["items"], columns.AUDIT, "No matching entries.")

    session.run(work)


# --- Showing ------------------------------------------------------------------------------------


def _show(
    session: Session, result: Any, rows: Sequence[Json], shown: Sequence[Column], nothing: str
) -> None:
    """Print JSON, a table, or tab-separated rows in a pipe."""
    cells = [[_text(row.get(column.name)) for column in shown] for row in rows]
    session.rows(result, cells, lambda: _table(rows, shown), nothing)


def _show_lines(text: str) -> None:
    """Print a file's text, with control characters made visible."""
    for line in io.StringIO(text):
        click.echo(plain(line))


def _table(rows: Sequence[Json], shown: Sequence[Column]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in shown:
        table.add_column(str(column.title), overflow="fold")
    for row in rows:
        table.add_row(*(Text(_format(row.get(column.name), column.unit)) for column in shown))
    return table


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_text(each)}" for name, each in value.items())
    return "" if value is None else plain(value)


def _format(value: Any, unit: Unit) -> str:
    if value is None:
        return ""
    match unit:
        case Unit.TIME:
            return ago(value) or ""
        case Unit.COMMIT:
            return _text(value)[:7]
        case Unit.SECONDS:
            return duration(value)
        case Unit.BYTES:
            return f"{value / 1e9:,.1f} GB"
        case _:
            return _text(value)
