"""Environments and builds by id or name."""

from __future__ import annotations

from jupyterhub_binder.cli.failure import NOT_FOUND, USAGE, CommandFailed
from jupyterhub_binder.client.client import ApiError, BinderClient, Json
from jupyterhub_binder.utils.names import is_id


async def find_environment(client: BinderClient, name: str, *, deleted: bool = False) -> Json:
    """Find an environment by id or unique name; `deleted` searches deleted ones."""
    if is_id(name) and not deleted:
        try:
            return await client.environment(name)
        except ApiError as error:
            if error.http_status != 404:
                raise
    search = "" if deleted else name  # few are deleted, and each may have the id
    listed = await client.environments(search=search, deleted=deleted)
    found = [each for each in listed if name in (each["name"], each["id"])]
    if not found:
        which = "deleted environment" if deleted else "environment"
        raise CommandFailed(f"You have no {which} {name!r}.", NOT_FOUND, code="not_found")
    own = [each for each in found if each.get("right", "own") == "own"]
    if len(own) == 1:
        return own[0]
    if len(found) > 1:
        ids = ", ".join(item["id"] for item in found)
        raise CommandFailed(f"Several environments are called {name!r}; use an id: {ids}.", USAGE)
    return found[0]


async def find_build(client: BinderClient, name: str) -> str:
    """Find a build by id, or the newest build of an environment."""
    if is_id(name):
        try:
            return (await client.build(name))["id"]
        except ApiError as error:
            if error.http_status != 404:
                raise
    environment = await find_environment(client, name)
    if not environment["latest"]:
        raise CommandFailed(f"{environment['name']} has no build yet.", NOT_FOUND, code="not_found")
    return environment["latest"]["id"]
