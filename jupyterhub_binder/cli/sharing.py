"""Commands for sharing, copying and giving away environments."""

from __future__ import annotations

import click
from rich.table import Table
from rich.text import Text

from jupyterhub_binder.cli.failure import USAGE, CommandFailed
from jupyterhub_binder.cli.find import find_environment
from jupyterhub_binder.cli.session import Session, hub_command
from jupyterhub_binder.client.client import BinderClient, Json
from jupyterhub_binder.utils.terminal import ago, plain

_RIGHTS = {"launch": "may launch it", "manage": "may manage it"}


@click.command(short_help="Show or change who may use an environment.")
@click.argument("environment")
@click.option(
    "--with",
    "subjects",
    multiple=True,
    metavar="WHO",
    help="Share with a person (NAME), a group of the hub (group:NAME) or everyone.",
)
@click.option("--manage", is_flag=True, help="They may also rename, build and share it.")
@click.option("--remove", "removed", multiple=True, metavar="WHO", help="End a share.")
@hub_command
def share(
    session: Session,
    environment: str,
    subjects: tuple[str, ...],
    manage: bool,
    removed: tuple[str, ...],
) -> None:
    """Say who may use ENVIRONMENT (id or name) besides me.

    They launch it with their own home folders. Without options, the command lists the shares; in a
    pipe, the output is tab-separated: who, right, since. Whose share ends can't start servers any
    more; running ones stay.

    \b
    Examples:
      jupyterhub-binder share course --with group:astronomy --with everyone
      jupyterhub-binder share course --with grace --manage
      jupyterhub-binder share course --remove everyone
    """  # noqa: D301 - Click wants the character

    async def work(client: BinderClient) -> Json:
        found = await find_environment(client, environment)
        shares = await client.shares(found["id"])
        if not subjects and not removed:
            return shares
        rights = {each["subject"]: each["right"] for each in shares["shares"]}
        rights |= {_subject(text): "manage" if manage else "launch" for text in subjects}
        for text in removed:
            rights.pop(_subject(text), None)
        wanted = [{"subject": subject, "right": right} for subject, right in rights.items()]
        return await client.put_shares(found["id"], wanted)

    found: Json = session.run(work)
    rows = [(each["subject"], each["right"], each["since"]) for each in found["shares"]]
    session.rows(found, rows, lambda: _table(found["shares"]), "Only you may use it.")
    if found["people"]:
        session.say(_use(found))


def _subject(text: str) -> str:
    """Complete a person's name."""
    return text if ":" in text or text == "everyone" else f"user:{text}"


def _table(shares: list[Json]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("Who", "Right", "Since"):
        table.add_column(title, overflow="fold")
    for each in shares:
        right = plain(each["right"])
        since = Text(ago(each["since"]) or "", style="dim")
        table.add_row(Text(plain(each["subject"])), Text(_RIGHTS.get(right, right)), since)
    return table


def _use(shares: Json) -> str:
    people = shares["people"]
    who = "1 other person has" if people == 1 else f"{people} other people have"
    return f"{who} launched it, last {ago(shares['launched'])}."


async def use_by_others(client: BinderClient, environment_id: str) -> str:
    """Return a sentence about how many other people use an environment, or ""."""
    shares = await client.shares(environment_id)
    return _use(shares) if shares["people"] else ""


@click.command(short_help="Make my own copy of an environment.")
@click.argument("environment")
@click.option("--name", help="Name of the copy.  [default: the original's]")
@hub_command
def copy(session: Session, environment: str, name: str | None) -> None:
    """Copy ENVIRONMENT (id or name) to an environment of my own, and print its id.

    The copy has the same settings and current build, but no files, history or shares.

    \b
    Examples:
      jupyterhub-binder copy course --name "My course"
    """  # noqa: D301 - Click wants the character

    async def work(client: BinderClient) -> None:
        found = await find_environment(client, environment)
        made = await client.copy(found["id"], {"name": name} if name else {})
        session.result(made, made["id"])

    session.run(work)


@click.command(short_help="Give an environment to another person.")
@click.argument("environment")
@click.argument("person", required=False)
@click.option("--withdraw", is_flag=True, help="Withdraw the offer.")
@hub_command
def give(session: Session, environment: str, person: str | None, withdraw: bool) -> None:
    """Offer ENVIRONMENT (id or name) to PERSON, who becomes its owner by accepting.

    I may still manage it then, until the new owner ends that.

    \b
    Examples:
      jupyterhub-binder give course grace
      jupyterhub-binder give course --withdraw
    """  # noqa: D301 - Click wants the character

    async def work(client: BinderClient) -> None:
        if withdraw == bool(person):
            raise CommandFailed("Name a person, or give --withdraw.", USAGE, code="usage")
        found = await find_environment(client, environment)
        if person:
            offer = await client.offer(found["id"], person)
            said = f"Offered to {offer['to']}, until {offer['expires'][:10]}."
        else:
            offer = await client.withdraw_offer(found["id"])
            said = "The offer is withdrawn."
        session.result(offer, said)

    session.run(work)


@click.command(short_help="List or accept environments that are offered to me.")
@click.argument("environment", required=False)
@click.option("--decline", is_flag=True, help="Decline the offer.")
@hub_command
def accept(session: Session, environment: str | None, decline: bool) -> None:
    """Accept ENVIRONMENT (id or name), or list what is offered to me.

    In a pipe, the list is tab-separated: id, name, owner, repository, until.

    \b
    Examples:
      jupyterhub-binder accept
      jupyterhub-binder accept course
    """  # noqa: D301 - Click wants the character

    async def work(client: BinderClient) -> None:
        offers = await client.offers()
        if environment is None:
            _list(session, offers)
            return
        wanted = [each for each in offers if environment in each["environment"].values()]
        if len(wanted) != 1:
            many = "Several environments of this name are offered to you; use an id."
            none = f"No environment {environment!r} is offered to you."
            raise CommandFailed(many if wanted else none, USAGE, code="usage")
        (offer,) = wanted
        if decline:
            await client.withdraw_offer(offer["environment"]["id"])
            session.result(offer, "You declined the offer.")
            return
        accepted = await client.accept_offer(offer["environment"]["id"])
        session.result(accepted, f"You own {accepted['name']} now.")

    session.run(work)


def _list(session: Session, offers: list[Json]) -> None:
    rows = [
        (
            each["environment"]["id"],
            each["environment"]["name"],
            each["owner"],
            each["label"],
            each["expires"],
        )
        for each in offers
    ]

    def table() -> Table:
        shown = Table(box=None, header_style="bold", pad_edge=False)
        for title in ("Id", "Name", "From", "Repository", "Until"):
            shown.add_column(title, overflow="fold")
        for row in rows:
            shown.add_row(*(Text(plain(cell)) for cell in (*row[:4], row[4][:10])))
        return shown

    session.rows(offers, rows, table, "Nothing is offered to you.")


COMMANDS: tuple[click.Command, ...] = (share, copy, give, accept)
"""In the order of the help page."""
