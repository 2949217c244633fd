"""What a person may do with an environment: the one place that decides it.

Owners and administrators may do everything; for others, shares decide. A group's members are those
that the hub names when a right is used.
"""

from __future__ import annotations

from dataclasses import replace

from jupyterhub_binder.errors import NotAllowed, NotFound
from jupyterhub_binder.model import Environment, UpdateMode, User
from jupyterhub_binder.model.featured import HUB_OWNER
from jupyterhub_binder.model.sharing import Right
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.store import Store
from jupyterhub_binder.utils.names import is_id


class Rights:
    """Decides, and shows an environment as one person sees it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def view(
        self, user: User, environment: Environment | None, need: Right = Right.LAUNCH
    ) -> Environment:
        """Return an environment with the user's right, folder and last launch.

        Raises NotFound if the user may not see it, and NotAllowed if the right is not enough.
        """
        if environment is None:
            raise no_such_environment()
        if environment.owner == user.name:
            return environment
        access = await self._store.fetch_access(environment, user.name, user.groups)
        right = Right.OWN if user.admin else access.right
        shared = environment.deleted is None and repository_permits(user, environment)
        if right is None or not (user.admin or shared):
            raise no_such_environment()
        require(environment, right, need)
        return replace(
            environment, right=right, directory=access.directory, launched=access.launched
        )

    async def fetch(
        self, user: User, environment_id: str, need: Right = Right.LAUNCH
    ) -> Environment:
        """Return an environment that is not deleted. Raises as `view`."""
        environment = await self.recall(user, environment_id, need)
        if environment.deleted is not None:
            raise no_such_environment()
        return environment

    async def recall(
        self, user: User, environment_id: str, need: Right = Right.LAUNCH
    ) -> Environment:
        """Return an environment, to its owner and admins even a deleted one."""
        found = (
            await self._store.fetch_environment(environment_id) if is_id(environment_id) else None
        )
        return await self.view(user, found, need)


def repository_permits(user: User, environment: Environment) -> bool:
    """Say whether the host of the repository lets the user have what is in it."""
    return True


def require(environment: Environment, right: Right, need: Right) -> None:
    """Raise NotAllowed if a right does not cover another."""
    if right.covers(need):
        return
    owner = Message("an administrator") if environment.owner == HUB_OWNER else environment.owner
    if need is Right.OWN:
        raise NotAllowed(
            "Only the owner of “%(name)s”, %(owner)s, may do this.",
            name=environment.name,
            owner=owner,
        )
    raise NotAllowed(
        "You may launch “%(name)s”, but not change it. Ask its owner, %(owner)s, or make your own "
        "copy of it.",
        name=environment.name,
        owner=owner,
    )


def require_can_build(user: User) -> None:
    """Raise NotAllowed for a user without the scope."""
    if not user.can_build:
        raise NotAllowed(
            "You may not build environments on this hub. Ask an administrator for the scope "
            "custom:binder:build."
        )


def require_can_update(user: User, environment: Environment) -> None:
    """Raise unless builds may be made in the owner's name without being asked for."""
    require_can_build(user)
    if user.name != environment.owner and not user.admin:
        raise NotAllowed("Only the owner can turn on automatic updates.")


def require_can_steer(user: User, environment: Environment) -> None:
    """Raise if something else would be built in the owner's name without the owner's asking."""
    if environment.updates is not UpdateMode.AUTO:
        return
    if user.name != environment.owner and not user.admin:
        raise NotAllowed(
            "“%(name)s” is updated automatically, in the name of its owner, %(owner)s. Only the "
            "owner can change what it is built from.",
            name=environment.name,
            owner=environment.owner,
        )


def no_such_environment() -> NotFound:
    """Return one error for what is missing and for what is another person's."""
    return NotFound(
        "There is no such environment, or you may not use it. If somebody sent you the link, ask "
        "the owner for access."
    )
