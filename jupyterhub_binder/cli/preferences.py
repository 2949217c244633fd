"""What a person prefers in an environment: options of `edit` and `launch`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import click

from jupyterhub_binder.cli.failure import USAGE, CommandFailed
from jupyterhub_binder.client.client import BinderClient, Json


def profile_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that choose a profile of the hub."""
    command = click.option(
        "--profile-option",
        "profile_options",
        multiple=True,
        metavar="NAME=VALUE",
        help="With --profile: choose one of its options. Can be repeated.",
    )(command)
    return click.option(
        "--profile",
        metavar="SLUG",
        help="Resources of the server, if the hub has profiles; empty for its default. "
        "It is remembered for this environment.",
    )(command)


def profile_fields(profile: str | None, options: Iterable[str]) -> Json:
    """Return the fields of a request. Raises CommandFailed."""
    pairs = [each.partition("=") for each in options]
    if any(not name or not equals for name, equals, _ in pairs):
        raise CommandFailed(
            "Write --profile-option NAME=VALUE, for example memory=16.", USAGE, code="usage"
        )
    if pairs and profile is None:
        raise CommandFailed("--profile-option needs --profile.", USAGE, code="usage")
    if profile is None:
        return {}
    return {"profile": profile, "profile_options": {name: value for name, _, value in pairs}}


async def find_application(client: BinderClient, environment_id: str, wanted: str) -> str:
    """Return the path of an application, given by its name or path. Raises CommandFailed."""
    there = (await client.preference(environment_id))["applications"]
    for each in there:
        names = {_plain(each["name"]), each["path"]}
        if wanted in names or _plain(wanted) in names:
            return str(each["path"])
    known = ", ".join(f"{each['name']}" for each in there) or "none that the service knows"
    raise CommandFailed(f"There is no application {wanted!r}. There is: {known}.", USAGE)


async def opened_last(client: BinderClient, environment_id: str) -> str:
    """Return the path of the application that the person chose, if it is still there."""
    found = await client.preference(environment_id)
    paths = {each["path"] for each in found["applications"]}
    return found["opens"] if found["opens"] in paths else ""


def _plain(name: str) -> str:
    """Spell ``VS Code`` like ``vscode``."""
    return name.casefold().replace(" ", "").replace("-", "")
