"""Commands for a person's environments."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import click
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from jupyterhub_binder.cli.explain import explanation_lines
from jupyterhub_binder.cli.failure import FAILED, USAGE, CommandFailed
from jupyterhub_binder.cli.find import find_environment
from jupyterhub_binder.cli.preferences import (
    find_application,
    profile_fields,
    profile_options,
)
from jupyterhub_binder.cli.session import Session, hub_command
from jupyterhub_binder.cli.sharing import use_by_others
from jupyterhub_binder.client.client import ApiError, BinderClient, Json
from jupyterhub_binder.model.words import STATUS_WORDS, server_words
from jupyterhub_binder.utils.terminal import ago, plain, shorten

_STYLES = {"good": "green", "bad": "red", "busy": "yellow"}
_KINDS = {"ready": "good", "failed": "bad", "queued": "busy", "building": "busy"}
_MIN_WIDTH = 12
"""In cells."""
_OPENS = "What to open: notebooks/index.ipynb, or /rstudio; empty for the repository's folder."


@click.command("list", short_help="List my environments and running servers.")
@click.argument("search", default="")
@click.option(
    "--all", "everyone", is_flag=True, help="List everyone's environments (hub admins only)."
)
@click.option("--deleted", is_flag=True, help="List deleted environments that can be restored.")
@hub_command
def list_(session: Session, search: str, everyone: bool, deleted: bool) -> None:
    """List my environments, most recently used first, then those that are shared with me.

    SEARCH filters the list. In a pipe, the output is tab-separated: id, name, state, repository,
    ref, "running" if a server of mine is running, and what the repository has newer. With --json,
    `servers` lists these servers.

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
    rows = [
        (*(i[key] for key in columns), "running" if i["servers"] else "", _newer(i)) for i in found
    ]
    none_yet = "No environments yet. Create one: jupyterhub-binder build URL --wait"
    nothing = "No deleted environments." if deleted else none_yet
    session.rows(found, rows, lambda: _table(found), nothing)


def _table(found: list[Json]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    shared = any(item.get("right", "own") != "own" for item in found)
    for title in (
        "Name",
        *(["From"] if shared else []),
        "State",
        "Repository",
        "Ref",
        "Newer",
        "Used",
        "Id",
    ):
        table.add_column(title, overflow="ellipsis", no_wrap=title in ("State", "Used", "Id"))
    for item in found:
        table.add_row(
            Text(plain(item["name"])),
            *([_from(item)] if shared else []),
            _state(item),
            _Middle(plain(item["label"])),
            Text(_ref(item)),
            Text(plain(_newer(item).partition(" · ")[0])),
            _use(item),
            Text(plain(item["id"]), style="dim"),
        )
    return table


def _ref(item: Json) -> str:
    """Return the ref as typed; for the default branch, its name if that is known."""
    branch = item.get("default_branch") if item["ref"] == "HEAD" else ""
    return plain(branch or item["ref"])


def _state(item: Json) -> Text:
    """Return what it is, and what its newest build does meanwhile: ``Ready, Building``."""
    state, status = item["state"], item.get("status") or item["state"]
    shown = [status, state] if status == "ready" and _KINDS.get(state) == "busy" else [status]
    said = Text()
    for number, each in enumerate(shown):
        said.append(", " if number else "")
        said.append(_word(each), style=_STYLES.get(_KINDS.get(each, ""), ""))
    return said


def _word(state: str) -> str:
    known = {str(each): words for each, words in STATUS_WORDS.items()}
    return known.get(state) or plain(state)


def _from(item: Json) -> Text:
    return Text("" if item.get("right", "own") == "own" else plain(item["owner"]))


def _newer(item: Json) -> str:
    return (item.get("newer") or {}).get("summary", "")


def _use(item: Json) -> Text:
    servers = [_server_words(each) for each in item["servers"]]
    if servers:
        return Text(", ".join(servers), style="green")
    return Text(ago(item.get("launched")) or "never")


def _server_words(server: Json) -> str:
    words = server_words(
        server["name"], server.get("build_number"), outdated=bool(server.get("outdated"))
    )
    return plain(words)


@dataclass(frozen=True)
class _Middle:
    """A cell that shortens its middle."""

    text: str

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        wide = max(cell_len(self.text), 1)
        return Measurement(min(wide, _MIN_WIDTH), wide)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        yield Text(shorten(self.text, options.max_width), no_wrap=True, overflow="ellipsis")


# --- One environment ------------------------------------------------------------------------------


@click.command(short_help="Show an environment and its running servers.")
@click.argument("environment")
@hub_command
def show(session: Session, environment: str) -> None:
    """Show ENVIRONMENT (id or name): its source, build, settings and running servers.

    In a pipe, the output is tab-separated lines of name and value; of a server, the value is its
    URL, and a third field says what it does. With --json, it is the API's object, and `servers`
    lists my running servers.

    \b
    Examples:
      jupyterhub-binder show my-analysis
      jupyterhub-binder show my-analysis --json | jq -r .current.resolved_ref
      jupyterhub-binder show my-analysis | awk -F '\\t' '$1 == "server" {print $2}'
    """  # noqa: D301 - Click wants the character

    async def work(client: BinderClient) -> None:
        found = await find_environment(client, environment)
        [found] = await _with_servers(client, [found])
        facts = list(_facts(client, found))
        session.rows(found, facts, lambda: _fact_table(facts), "")

    session.run(work)


async def _with_servers(client: BinderClient, found: list[Json]) -> list[Json]:
    """Add my servers, if the hub lists them."""
    try:
        servers = await client.servers() if found else []
    except ApiError:
        servers = []
    running: dict[str, list[Json]] = {}
    for each in servers:
        running.setdefault((each.get("environment") or {}).get("id", ""), []).append(each)
    return [{**each, "servers": running.get(each["id"], [])} for each in found]


def _facts(client: BinderClient, found: Json) -> Iterator[tuple[str, ...]]:
    yield "name", found["name"]
    yield "id", found["id"]
    if found.get("right", "own") != "own":
        yield "owner", found["owner"]
    yield "state", str(_state(found))
    if reason := (found.get("latest") or {}).get("reason"):
        yield "reason", reason["message"]
        yield from (("", line) for line in explanation_lines(reason))
    yield "repository", found["repo_url"]
    yield "ref", _ref(found)
    for word, build in (("starts from", found.get("current")), ("newest build", found["latest"])):
        if build:
            yield word, _build_words(build)
    yield "opens", found.get("path") or "the repository's folder"
    yield "files", _content_words(found)
    updates = found.get("updates", "ask")
    yield "updates", "automatic" if updates == "auto" else updates
    if hold := found.get("hold"):
        yield "paused", hold["message"]
    if newer := found.get("newer"):
        yield "newer", newer["summary"]
    if used := ago(found.get("launched")):
        yield "used", used
    for server in found["servers"]:
        where = client.page_url(server["url"]) if server["url"] else ""
        yield "server", where, _server_words(server) if where else "Starting"
    yield "page", client.page_url(str((found.get("links") or {}).get("page") or ""))


def _build_words(build: Json) -> str:
    number = f"build {build['number']}, " if build.get("number") else ""
    return f"{number}{build.get('resolved_ref', '')}, {build['state']}"


def _content_words(found: Json) -> str:
    mode, url, ref = (found.get(key) or "" for key in ("content", "content_url", "content_ref"))
    if mode == "leave":
        return "not copied"
    said, joined = ("kept updated", "from") if mode == "sync" else ("copied once", "from")
    source = f" {joined} {url}" if url else ""
    at = f" at {ref}" if url and ref else ""
    return f"~/{found.get('directory', '')}, {said}{source}{at}"


def _fact_table(facts: list[tuple[str, ...]]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    for word, *values in facts:
        table.add_row(Text(word.capitalize()), Text(plain(" ".join(reversed(values)).strip())))
    return table


@click.command(short_help="Change an environment's name or settings.")
@click.argument("environment")
@click.option("--name", help="New name.")
@click.option("--path", help=_OPENS)
@click.option(
    "--content",
    type=click.Choice(["copy", "sync", "leave"]),
    help="Repository files in your home folder: copy once, keep in sync, or don't copy.",
)
@click.option(
    "--content-url",
    help="Use the files of another Git repository; empty for the environment's own files.",
)
@click.option("--content-ref", help="Branch, tag or commit of the files.")
@click.option("--pin/--unpin", "pinned", default=None, help="Keep it at the top of my list.")
@click.option(
    "--updates",
    type=click.Choice(["never", "ask", "auto"]),
    help="When the repository has a newer commit: do nothing, tell me, or update automatically.",
)
@click.option("--resume", is_flag=True, default=None, help="End a pause of updates.")
@click.option(
    "--open-in",
    metavar="APPLICATION",
    help="Open this application when I launch it: jupyterlab, rstudio, vscode or another one that "
    "it has.",
)
@profile_options
@hub_command
def edit(
    session: Session,
    environment: str,
    pinned: bool | None,
    open_in: str | None,
    profile: str | None,
    profile_options: tuple[str, ...],
    **changes: str | bool | None,
) -> None:
    """Change the name of ENVIRONMENT (id or name), or what a server opens when it starts.

    A pin, --open-in and --profile are my own, also in an environment that somebody shares with me.
    To switch to another branch: jupyterhub-binder build NAME --again --ref BRANCH

    \b
    Examples:
      jupyterhub-binder edit requirements --name "Spring course"
      jupyterhub-binder edit requirements --path notebooks/index.ipynb --content sync
      jupyterhub-binder edit requirements --open-in rstudio --profile small
    """  # noqa: D301 - Click wants the character
    wanted = {key: value for key, value in changes.items() if value is not None}

    async def work(client: BinderClient) -> None:
        preferred = profile_fields(profile, profile_options)
        if pinned is not None:
            preferred["pinned"] = pinned
        if not wanted and not preferred and open_in is None:
            raise CommandFailed(
                "Nothing to change. Give an option, for example --name.", USAGE, code="usage"
            )
        found = await find_environment(client, environment)
        if open_in is not None:
            preferred["opens"] = await find_application(client, found["id"], open_in)
        if preferred:
            await client.set_preference(found["id"], preferred)
        changed = await client.update(found["id"], wanted) if wanted else found
        session.result(changed, f"Saved: {changed['name']}.")

    session.run(work)


@click.command(short_help="Stop my servers in an environment.")
@click.argument("environment")
@hub_command
def stop(session: Session, environment: str) -> None:
    """Stop my servers in ENVIRONMENT (id or name).

    Running notebooks stop; saved files are kept. A launch in progress is cancelled. With --json,
    the stopped servers are listed.

    \b
    Examples:
      jupyterhub-binder stop requirements
    """  # noqa: D301 - Click wants the character

    async def work(client: BinderClient) -> None:
        found = await find_environment(client, environment)
        ended = await client.stop(found["id"])
        names = ", ".join(f"“{each['name']}”" if each["name"] else "your server" for each in ended)
        said = f"Stopped: {names}." if ended else f"You have no server running in {found['name']}."
        session.result(ended, said)

    session.run(work)


# --- Delete and restore ---------------------------------------------------------------------------


@click.command(short_help="Delete an environment; undo with restore.")
@click.argument("environment")
@click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")
@hub_command
def delete(session: Session, environment: str, yes: bool) -> None:
    """Delete ENVIRONMENT (id or name). You can undo this for a while with restore.

    Files in your home folder are kept, and a running server keeps running.

    \b
    Examples:
      jupyterhub-binder delete requirements
      jupyterhub-binder list --json | jq -r '.[] | select(.state == "failed") | .id' \\
        | xargs -n 1 jupyterhub-binder delete --yes
    """  # noqa: D301 - Click wants the character
    found: Json = session.run(lambda client: find_environment(client, environment))
    if not yes:
        _ask_to_delete(session, found)
    deleted: Json = session.run(lambda client: client.delete(found["id"]))
    session.result(deleted, f"Deleted: {found['name']}.")
    session.say(f"To undo: jupyterhub-binder restore {found['id']}")


def _ask_to_delete(session: Session, found: Json) -> None:
    used: str = session.run(lambda client: use_by_others(client, found["id"]))
    if used:
        session.say(f"{used} They can't start it any more then.")
    question = f"Delete “{plain(found['name'])}” ({plain(found['label'])})?"
    if not click.confirm(question, err=True):
        session.say("Nothing was deleted.")
        raise SystemExit(FAILED)


@click.command(short_help="Restore a deleted environment.")
@click.argument("environment")
@hub_command
def restore(session: Session, environment: str) -> None:
    """Restore ENVIRONMENT (id or name), which was deleted recently.

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


@click.command(short_help="List the README and the notebooks of an environment.")
@click.argument("environment")
@click.argument("search", default="")
@hub_command
def files(session: Session, environment: str, search: str) -> None:
    """List the README and the notebooks in the repository of ENVIRONMENT (id or name).

    The list is of the commit of the current build. SEARCH shows only paths that contain its words.

    \b
    Examples:
      jupyterhub-binder files my-analysis
      jupyterhub-binder launch my-analysis --path "$(jupyterhub-binder files my-analysis week1)"
    """  # noqa: D301 - Click wants the character

    async def work(client: BinderClient) -> Json:
        found = await find_environment(client, environment)
        return await client.files(found["id"], search=search)

    found: Json = session.run(work)
    unknown = (
        "The files are unknown: it is not built, its servers get other files, or the service has "
        "no copy of the repository."
    )
    rows = [(each["path"],) for each in found["items"]]
    nothing = "No README or notebook was found." if found["known"] else unknown
    session.rows(found, rows, lambda: _path_table(rows), nothing)


def _path_table(rows: list[tuple[str]]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(overflow="fold")
    for (path,) in rows:
        table.add_row(Text(plain(path)))
    return table


COMMANDS: tuple[click.Command, ...] = (list_, show, files, edit, stop, delete, restore)
"""In the order of the help page."""
