"""Copies: an environment of one's own with the settings and the build of another."""

from __future__ import annotations

from dataclasses import replace

from jupyterhub_binder.admin.rules import Rules
from jupyterhub_binder.environments.previews import DirectoryNames
from jupyterhub_binder.environments.rights import require_can_build
from jupyterhub_binder.environments.service import Environments
from jupyterhub_binder.model import Environment, UpdateMode, User
from jupyterhub_binder.model.sharing import Right
from jupyterhub_binder.utils.names import new_id
from jupyterhub_binder.utils.time import utc_now
from jupyterhub_binder.utils.validation import clean_name


class Copies:
    """Makes copies. Secrets, files, history and shares stay behind."""

    def __init__(self, *, environments: Environments, rules: Rules) -> None:
        self._environments = environments
        self._rules = rules

    async def copy(
        self, user: User, environment_id: str, *, name: str | None = None
    ) -> Environment:
        """Copy an environment; the commit of its current build is built again if its image is gone.

        Raises NotFound, NotAllowed and LimitReached.
        """
        require_can_build(user)
        original = await self._environments.get(user, environment_id)
        self._rules.require(user, original)
        current, now = original.current, utc_now()
        copy = replace(
            original,
            id=new_id(),
            owner=user.name,
            name=original.name if name is None else clean_name(name),
            directory="",
            created=now,
            updated=now,
            launched=None,
            current=None,
            latest=None,
            right=Right.OWN,
            updates=_without_auto(original.updates),
            held=None,
        )
        build = replace(current.build.resolved, spec=original.spec) if current else None
        names = DirectoryNames(build) if build else (original.directory,)
        return await self._environments.keep(user, copy, build, names)


def _without_auto(updates: UpdateMode) -> UpdateMode:
    """Return the mode without builds in the copier's name that they did not ask for."""
    return UpdateMode.ASK if updates is UpdateMode.AUTO else updates
