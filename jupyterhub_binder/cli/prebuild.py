"""Commands for building ahead: webhooks and schedules."""

from __future__ import annotations

import sys

import click
from rich.table import Table
from rich.text import Text

from jupyterhub_binder.cli.failure import USAGE, CommandFailed
from jupyterhub_binder.cli.find import find_environment
from jupyterhub_binder.cli.session import Session, hub_command
from jupyterhub_binder.client.client import BinderClient, Json
from jupyterhub_binder.utils.terminal import ago, plain

_HOSTS = ("github", "gitlab", "gitea")
_WORDS = {
    "accepted": "accepted: the repository will be checked soon",
    "ping": "a test by the host: it works",
    "ignored": "ignored: not a push",
    "repeated": "seen before",
    "refused": "signature wrong",
    "building": "build",
    "nothing_new": "nothing new",
    "failed_before": "nothing new: the build of this commit failed",
    "on_hold": "not built: updates are paused",
    "not_built": "not built",
}


@click.command(short_help="Show, create or remove webhooks that build an environment ahead.")
@click.argument("environment")
@click.option(
    "--create",
    "host",
    type=click.Choice(_HOSTS),
    help="Create a webhook for a repository at this kind of host. gitea: also Forgejo, Codeberg and "
    "Gogs.",
)
@click.option("--new-secret", metavar="ID", help="Replace the secret of a webhook.")
@click.option(
    "--status-token",
    "with_token",
    metavar="ID",
    help="Let a webhook set the status of commits: reads a token of the host from a prompt or from "
    "standard input.",
)
@click.option("--no-status-token", "without", metavar="ID", help="Forget a webhook's token.")
@click.option("--remove", "removed", metavar="ID", help="Remove a webhook.")
@hub_command
def hooks(
    session: Session,
    environment: str,
    host: str | None,
    new_secret: str | None,
    with_token: str | None,
    without: str | None,
    removed: str | None,
) -> None:
    """Let the host of the repository tell the hub about each push to ENVIRONMENT (id or name).

    The service then checks the repository, and builds the newest commit before anybody waits for
    it. Give the host the address and the secret that --create prints; the secret is never shown
    again. Without options, the command lists the webhooks; in a pipe, the output is tab-separated:
    id, host, address, last delivery, outcome, build, and when the token for commit statuses was set.

    \b
    Examples:
      jupyterhub-binder hooks course --create github
      jupyterhub-binder hooks course --status-token 4f1c0d6a < token.txt
      jupyterhub-binder hooks course --json | jq '.hooks[].deliveries'
    """  # noqa: D301 - Click wants the character
    if sum(each is not None for each in (host, new_secret, with_token, without, removed)) > 1:
        names = "--create, --new-secret, --status-token, --no-status-token, --remove"
        raise CommandFailed(f"Give one of {names}.", USAGE, code="usage")
    token = _read_token() if with_token else ""

    async def work(client: BinderClient) -> None:
        found = await find_environment(client, environment)
        if host or new_secret:
            made = await (
                client.create_hook(found["id"], host)
                if host
                else client.replace_hook_secret(found["id"], new_secret or "")
            )
            address = client.page_url(made["url"])
            rows = [(address, made["secret"])]
            session.rows({**made, "url": address}, rows, lambda: _secret(*rows[0]), "")
            session.say("Give the address and the secret to the host. This was the only time.")
            return
        if with_token:
            shown = await client.put_hook_token(found["id"], with_token, token)
            _list(session, client, shown)
            session.say("The webhook has the token. It is not shown again.")
            return
        if without:
            _list(session, client, await client.delete_hook_token(found["id"], without))
            session.say("The token is forgotten. Revoke it at the host, too.")
            return
        if removed:
            _list(session, client, await client.delete_hook(found["id"], removed))
            session.say("The webhook is removed. Remove it at the host, too.")
            return
        _list(session, client, await client.prebuild(found["id"]))

    session.run(work)


def _read_token() -> str:
    """Read a token. It is no argument, because other people of the machine can read arguments."""
    if sys.stdin.isatty():
        return click.prompt("Token of the host", hide_input=True, err=True)
    return sys.stdin.readline().strip()


def _secret(address: str, secret: str) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_row(Text("Address", style="dim"), Text(plain(address)))
    table.add_row(Text("Secret", style="dim"), Text(plain(secret)))
    return table


def _list(session: Session, client: BinderClient, found: Json) -> None:
    rows = []
    for hook in found["hooks"]:
        last = next(iter(hook["deliveries"]), {})
        rows.append(
            (
                hook["id"],
                hook["host"],
                client.page_url(hook["url"]),
                last.get("time", ""),
                last.get("outcome", ""),
                last.get("number") or "",
                hook["token_set"] or "",
            )
        )
    session.rows(found, rows, lambda: _table(rows), "The environment has no webhooks.")
    for hook in found["hooks"]:
        if hook["report"] and hook["report"]["message"]:
            session.say(f"Status of {hook['report']['commit'][:7]}: {hook['report']['message']}")


def _table(rows: list[tuple[object, ...]]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("Id", "Host", "Last delivery", "Outcome", "Commit statuses"):
        table.add_column(title, overflow="fold")
    for id_, host, _, time, outcome, number, token_set in rows:
        said = f"{_WORDS.get(str(outcome), outcome)} {number}".strip()
        when = (ago(str(time)) or "") if time else "never"
        statuses = f"token set {ago(str(token_set))}" if token_set else "no token"
        table.add_row(*(Text(plain(str(cell))) for cell in (id_, host, when, said, statuses)))
    return table


@click.command(short_help="Show or set when an environment is built ahead.")
@click.argument("environment")
@click.argument("cron", required=False)
@click.option(
    "--time-zone",
    default="UTC",
    show_default=True,
    help="The schedule's time zone, such as Europe/Berlin.",
)
@click.option("--off", is_flag=True, help="End the schedule.")
@hub_command
def schedule(
    session: Session, environment: str, cron: str | None, time_zone: str, off: bool
) -> None:
    """Build the newest commit of ENVIRONMENT (id or name) on a schedule, before anybody waits for it.

    CRON has five fields: minute, hour, day of the month, month and day of the week. Without it, the
    command shows the schedule, its next times and the last look at the repository.

    \b
    Examples:
      jupyterhub-binder schedule course "30 4 * * 1" --time-zone Europe/Berlin
      jupyterhub-binder schedule course --off
    """  # noqa: D301 - Click wants the character
    if off and cron:
        raise CommandFailed("Give a schedule, or --off.", USAGE, code="usage")

    async def work(client: BinderClient) -> None:
        found = await find_environment(client, environment)
        if off or cron:
            shown = await client.put_schedule(found["id"], cron or "", time_zone)
        else:
            shown = await client.prebuild(found["id"])
        for line in [""] if session.as_json else _describe(shown):
            session.result(shown, line)

    session.run(work)


def _describe(found: Json) -> list[str]:
    planned, last = found["schedule"], found["last"]
    lines = ["No schedule."]
    if planned:
        lines = [f"{planned['words']} ({planned['cron']}, {planned['time_zone']})"]
        lines += [f"Next: {time}" for time in planned["next"]]
    if found["pending"]:
        lines.append(f"A check of the repository has been waiting since {found['pending']}.")
    if last:
        said = f"{_WORDS.get(last['outcome'], last['outcome'])} {last['number'] or ''}".strip()
        lines.append(f"Last check: {ago(last['time'])}, {said}. {last['message']}".strip())
    return lines


COMMANDS: tuple[click.Command, ...] = (hooks, schedule)
"""In the order of the help page."""
