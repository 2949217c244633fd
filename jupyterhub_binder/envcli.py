"""The commands that look at what a person keeps, and change it: list, show, edit, delete and back.

Building and launching are `cli`'s; finding an environment by its name is `follow`'s.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import click
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from jupyterhub_binder.client import ApiError, BinderClient, Json
from jupyterhub_binder.follow import FAILED, USAGE, Failure, find_environment
from jupyterhub_binder.session import Session, hub_command
from jupyterhub_binder.terminal import ago, plain, shorten

_STYLES = {"ready": "green", "failed": "red", "queued": "yellow", "building": "yellow"}
_LEAST_WIDTH = 12
"""Cells that a shortened repository still has."""
_OPENS = "What opens: notebooks/index.ipynb, or /rstudio; empty: the repository's folder."


@click.command("list", short_help="List my environments, and what runs.")
@click.argument("search", default="")
@click.option("--all", "everyone", is_flag=True, help="Everyone's, for an admin of the hub.")
@click.option("--deleted", is_flag=True, help="Those that were deleted and can be restored.")
@hub_command
def list_(session: Session, search: str, everyone: bool, deleted: bool) -> None:
    """List my environments, the most recently used first, and which of them run.

    SEARCH narrows the list. Into a pipe go tab-separated lines: id, name, state, repository, ref,
    and the word running where a server of mine does. With --json `servers` has those servers.

    \b
    Examples:
      jupyterhub-binder list
      jupyterhub-binder list --json | jq -r '.[] | select(.state == "failed") | .name'
      jupyterhub-binder list --json | jq -r '.[] | select(.servers != []) | .name'
    """  # noqa: D301 - Click wants the character
    owner = "*" if everyone else None

    async def work(client: BinderClient) -> list[Json]:
        found = await client.environments(search=search, owner=owner, deleted=deleted)
        return await _with_servers(client, found)

    found: list[Json] = session.run(work)
    columns = ("id", "name", "state", "repo_url", "ref")
    rows = [(*(i[key] for key in columns), "running" if i["servers"] else "") for i in found]
    none_yet = "No environment yet. Make one: jupyterhub-binder build URL --wait"
    nothing = "Nothing that could be restored." if deleted else none_yet
    session.rows(found, rows, lambda: _table(found), nothing)


def _table(found: list[Json]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("Name", "State", "Repository", "Ref", "Used", "Id"):
        table.add_column(title, overflow="ellipsis", no_wrap=title in ("State", "Used", "Id"))
    for item in found:
        state = plain(item["state"])
        table.add_row(
            Text(plain(item["name"])),
            Text(state, style=_STYLES.get(state, "")),
            _Middle(plain(item["label"])),
            Text(plain(item["ref"])),
            _use(item),
            Text(plain(item["id"]), style="dim"),
        )
    return table


def _use(item: Json) -> Text:
    if item["servers"]:
        return Text("running", style="green")
    return Text(ago(item.get("launched")) or "never")


@dataclass(frozen=True)
class _Middle:
    """A cell that leaves out its middle where it is narrow: its end tells the most."""

    text: str

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        wide = max(cell_len(self.text), 1)
        return Measurement(min(wide, _LEAST_WIDTH), wide)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        yield Text(shorten(self.text, options.max_width), no_wrap=True, overflow="ellipsis")


# --- One of them ------------------------------------------------------------------------------


@click.command(short_help="Show an environment, and what runs in it.")
@click.argument("environment")
@hub_command
def show(session: Session, environment: str) -> None:
    """Show ENVIRONMENT, an id or a name: what it is built of, what opens, what runs in it.

    Into a pipe go tab-separated lines of a word and its value. With --json it is the API's
    object, and `servers` has mine that run in it.

    \b
    Examples:
      jupyterhub-binder show my-analysis
      jupyterhub-binder show my-analysis --json | jq -r .current.resolved_ref
    """  # noqa: D301 - Click wants the character

    async def work(client: BinderClient) -> None:
        found = await find_environment(client, environment)
        [found] = await _with_servers(client, [found])
        facts = list(_facts(client, found))
        session.rows(found, facts, lambda: _fact_table(facts), "")

    session.run(work)


async def _with_servers(client: BinderClient, found: list[Json]) -> list[Json]:
    """Return environments with my servers of each; with none where the hub does not say."""
    try:
        servers = await client.servers() if found else []
    except ApiError:
        servers = []
    running: dict[str, list[Json]] = {}
    for each in servers:
        running.setdefault((each.get("environment") or {}).get("id", ""), []).append(each)
    return [{**each, "servers": running.get(each["id"], [])} for each in found]


def _facts(client: BinderClient, found: Json) -> Iterator[tuple[str, str]]:
    """Yield what there is to say of an environment: a word, and its value."""
    yield "name", found["name"]
    yield "id", found["id"]
    yield "state", found["state"]
    if reason := (found.get("latest") or {}).get("reason"):
        yield "reason", reason["message"]
    yield "repository", found["repo_url"]
    yield "ref", found["ref"]
    for word, build in (("starts from", found.get("current")), ("newest build", found["latest"])):
        if build:
            yield word, _build_words(build)
    yield "opens", found.get("path") or "the repository's folder"
    yield "files", _content_words(found)
    if used := ago(found.get("launched")):
        yield "used", used
    for server in found["servers"]:
        state = client.page_url(server["url"]) if server["url"] else "starting"
        yield "server", f"{server['name']} {state}".strip()
    yield "page", client.page_url(str((found.get("links") or {}).get("page") or ""))


def _build_words(build: Json) -> str:
    number = f"build {build['number']}, " if build.get("number") else ""
    return f"{number}{build.get('resolved_ref', '')}, {build['state']}"


def _content_words(found: Json) -> str:
    mode, url, ref = (found.get(key) or "" for key in ("content", "content_url", "content_ref"))
    if mode == "leave":
        return "left out of the home"
    said, joined = ("kept in step", "with") if mode == "sync" else ("copied once", "from")
    source = f" {joined} {url}" if url else ""
    at = f" at {ref}" if url and ref else ""
    return f"~/{found.get('directory', '')}, {said}{source}{at}"


def _fact_table(facts: list[tuple[str, str]]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    for word, value in facts:
        style = _STYLES.get(value, "") if word == "state" else ""
        table.add_row(Text(word.capitalize()), Text(plain(value), style=style))
    return table


@click.command(short_help="Rename an environment, or change what opens.")
@click.argument("environment")
@click.option("--name", help="What to call it from now on.")
@click.option("--path", help=_OPENS)
@click.option(
    "--content",
    type=click.Choice(["copy", "sync", "leave"]),
    help="Files in your home: copied once, kept in step, or left out.",
)
@click.option(
    "--content-url",
    help="Open the files of another git repository; empty: the environment's own again.",
)
@click.option("--content-ref", help="The branch, tag or commit of the files.")
@hub_command
def edit(session: Session, environment: str, **changes: str | None) -> None:
    """Rename ENVIRONMENT, an id or a name, or change what a start of it opens.

    To follow another branch, build it again: jupyterhub-binder build NAME --again --ref BRANCH

    \b
    Examples:
      jupyterhub-binder edit requirements --name "Spring course"
      jupyterhub-binder edit requirements --path notebooks/index.ipynb --content sync
    """  # noqa: D301 - Click wants the character
    wanted = {key: value for key, value in changes.items() if value is not None}

    async def work(client: BinderClient) -> None:
        if not wanted:
            raise Failure("Say what to change: --name, for example.", USAGE, code="usage")
        found = await find_environment(client, environment)
        changed = await client.update(found["id"], wanted)
        session.result(changed, f"Saved: {changed['name']}.")

    session.run(work)


@click.command(short_help="Stop my servers of an environment.")
@click.argument("environment")
@hub_command
def stop(session: Session, environment: str) -> None:
    """Stop my servers that run in ENVIRONMENT, an id or a name.

    Their kernels end; files that are saved stay. A launch under way is given up. With --json
    the servers that end are listed.

    \b
    Examples:
      jupyterhub-binder stop requirements
    """  # noqa: D301 - Click wants the character

    async def work(client: BinderClient) -> None:
        found = await find_environment(client, environment)
        ended = await client.stop(found["id"])
        names = ", ".join(f"“{each['name']}”" if each["name"] else "your server" for each in ended)
        said = f"Stopped: {names}." if ended else f"No server of yours runs in {found['name']}."
        session.result(ended, said)

    session.run(work)


# --- Away, and back ---------------------------------------------------------------------------


@click.command(short_help="Delete an environment; restore undoes that.")
@click.argument("environment")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@hub_command
def delete(session: Session, environment: str, yes: bool) -> None:
    """Delete ENVIRONMENT, an id or a name; for a while, restore undoes that.

    Files in your home stay, and a server that runs goes on running.

    \b
    Examples:
      jupyterhub-binder delete requirements
      jupyterhub-binder list --json | jq -r '.[] | select(.state == "failed") | .id' \\
        | xargs -n 1 jupyterhub-binder delete --yes
    """  # noqa: D301 - Click wants the character
    found: Json = session.run(lambda client: find_environment(client, environment))
    question = f"Delete “{plain(found['name'])}” ({plain(found['label'])})?"
    if not yes and not click.confirm(question, err=True):
        session.say("Nothing was deleted.")
        raise SystemExit(FAILED)
    deleted: Json = session.run(lambda client: client.delete(found["id"]))
    session.result(deleted, f"Deleted: {found['name']}.")
    session.say(f"Undo it, for a while: jupyterhub-binder restore {found['id']}")


@click.command(short_help="Bring back an environment that was deleted.")
@click.argument("environment")
@hub_command
def restore(session: Session, environment: str) -> None:
    """Bring back ENVIRONMENT, an id or a name, that was deleted a short while ago.

    \b
    Examples:
      jupyterhub-binder list --deleted
      jupyterhub-binder restore requirements
    """  # noqa: D301 - Click wants the character

    async def work(client: BinderClient) -> None:
        found = await find_environment(client, environment, deleted=True)
        restored = await client.restore(found["id"])
        session.result(restored, f"Restored: {restored['name']}.")

    session.run(work)


COMMANDS: tuple[click.Command, ...] = (list_, show, edit, stop, delete, restore)
"""In the order in which one needs them."""
