"""Commands for receipts: what an environment was made of, and whether that is right."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import IO

import click

from jupyterhub_binder.cli.failure import FAILED, CommandFailed
from jupyterhub_binder.cli.find import find_build
from jupyterhub_binder.cli.session import Session, hub_command
from jupyterhub_binder.client.client import BinderClient, Json
from jupyterhub_binder.environments.receipts import read_file
from jupyterhub_binder.environments.receipts import verify as is_signed
from jupyterhub_binder.errors import BinderError
from jupyterhub_binder.model.receipt import SignedReceipt
from jupyterhub_binder.utils.signing import PublicKey
from jupyterhub_binder.utils.terminal import plain

_MAX_BYTES = 16 * 2**20


@click.command(short_help="Print the receipt of a build: what it was made of, signed.")
@click.argument("build")
@hub_command
def receipt(session: Session, build: str) -> None:
    """Print the receipt of BUILD: a build's id, or an environment's id or name.

    An environment stands for its newest build. The receipt is JSON, with or without --json.

    \b
    Examples:
      jupyterhub-binder receipt my-analysis > environment.json
      jupyterhub-binder verify environment.json --hub https://hub.example.org
    """  # noqa: D301 - Click wants the character

    async def work(client: BinderClient) -> Json:
        return await client.receipt(await find_build(client, build))

    click.echo(json.dumps(session.run(work), indent=1, ensure_ascii=False))


@click.command(short_help="Check the signature of a receipt.")
@click.argument("file", type=click.File("rb"))
@click.option("--key", metavar="KEY", help="The public key, in Base64, or a file with it.")
@click.option("--hub", metavar="URL", help="The hub whose key must have signed it; needs no token.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def verify(file: IO[bytes], key: str | None, hub: str | None, as_json: bool) -> None:
    """Say whether the receipt in FILE is valid, and which key signed it.

    Without --key or --hub, the receipt is checked with the key that it names itself: that shows
    that nobody changed it since it was signed, but not who signed it. Exit status: 0 if it is
    valid, 1 if not.

    \b
    Examples:
      jupyterhub-binder verify environment.json --hub https://hub.example.org
    """  # noqa: D301 - Click wants the character
    if key and hub:
        raise click.UsageError("Give --key or --hub, not both.")
    try:
        signed = read_file(_read(file))
        expected = _expected(key, hub)
    except (BinderError, CommandFailed) as error:
        click.echo(f"Error: {plain(error)}", err=True)
        raise SystemExit(FAILED) from None
    used = expected or PublicKey.from_text(signed.public_key)
    valid = is_signed(signed, used)
    if as_json:
        click.echo(json.dumps({"valid": valid, "key": used.id, "trusted": expected is not None}))
    else:
        click.echo(_said(signed, valid, used, expected))
    raise SystemExit(0 if valid else FAILED)


def _read(file: IO[bytes]) -> object:
    try:
        return json.loads(file.read(_MAX_BYTES))
    except (ValueError, RecursionError):
        raise CommandFailed("The file is not JSON, so it is no receipt.") from None


def _expected(key: str | None, hub: str | None) -> PublicKey | None:
    """Return the key that must have signed the receipt, or None for its own."""
    if hub:
        return PublicKey.from_text(asyncio.run(_fetch_key(hub)))
    if not key:
        return None
    path = Path(key)
    return PublicKey.from_text(path.read_text("utf-8") if path.is_file() else key)


async def _fetch_key(hub: str) -> str:
    async with BinderClient(hub, "") as client:
        return str((await client.receipt_key())["public_key"])


def _said(signed: SignedReceipt, valid: bool, used: PublicKey, expected: PublicKey | None) -> str:
    own = PublicKey.from_text(signed.public_key)
    if not valid and expected is not None and own != expected:
        return f"Not valid: it was signed with key {own.id}, not with {expected.id}."
    if not valid:
        return f"Not valid: it was changed after it was signed, or not signed with key {used.id}."
    if expected is None:
        return (
            f"Valid: unchanged since it was signed with key {used.id}. The receipt names this key "
            "itself; --hub URL checks whether it is that hub's."
        )
    return f"Valid: signed with key {used.id}."


@click.command(short_help="Build an environment again from its receipt.")
@click.argument("file", type=click.File("rb"))
@click.option("--name", default="", help="The environment's name; default: the repository's.")
@click.option("--check", is_flag=True, help="Only say what the hub would make of it.")
@hub_command
def reproduce(session: Session, file: IO[bytes], name: str, check: bool) -> None:
    """Create an environment from the receipt in FILE, and build it.

    Where the hub can, it installs the receipt's versions of all packages; it says what may differ.
    Prints the environment's id.

    \b
    Examples:
      jupyterhub-binder reproduce environment.json --check
      jupyterhub-binder reproduce environment.json --name "Paper, figure 3"
    """  # noqa: D301 - Click wants the character

    async def work(client: BinderClient) -> None:
        given = _read(file)
        if not isinstance(given, dict):
            raise CommandFailed("The file is not a receipt.")
        found = await client.check_receipt(given)
        for note in found["notes"]:
            session.say(note)
        if check:
            said = "The same packages in the same versions." if found["exact"] else "It can differ."
            session.result(found, said)
            return
        made = await client.reproduce(given, name=name)
        session.result(made, made["id"])

    session.run(work)


COMMANDS: tuple[click.Command, ...] = (receipt, verify, reproduce)
"""In the order of the help page."""
