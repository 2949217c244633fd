"""Featured environments: what administrators put above everybody's list, or a group's.

A featured environment is shared with its people; `rights` decides, as for any share. What the
configuration lists is kept by `featured`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from traitlets.config import LoggingConfigurable

from jupyterhub_binder.admin.audit import Audit
from jupyterhub_binder.environments.rights import repository_permits
from jupyterhub_binder.environments.service import Environments
from jupyterhub_binder.errors import (
    Conflict,
    InvalidInput,
    NotAllowed,
    NotFound,
)
from jupyterhub_binder.model import Environment, User
from jupyterhub_binder.model.admin import Action
from jupyterhub_binder.model.featured import GalleryEntry
from jupyterhub_binder.model.sharing import Subject, SubjectKind
from jupyterhub_binder.repositories.readme import MAX_CHARACTERS
from jupyterhub_binder.store import Store
from jupyterhub_binder.store.featured import StoredPicture
from jupyterhub_binder.utils.signal import Signal
from jupyterhub_binder.utils.text import one_line
from jupyterhub_binder.utils.time import utc_now

MAX_TEXT_CHARACTERS = MAX_CHARACTERS
"""Of a text instead of the README's paragraph."""

_MAX_FEATURED = 200


@dataclass(frozen=True, slots=True)
class FeaturedEnvironment:
    """What the gallery says, and the environment as one person sees it."""

    entry: GalleryEntry
    environment: Environment


class Gallery(LoggingConfigurable):
    """Lists what is featured, and changes it for administrators."""

    def __init__(
        self, *, store: Store, environments: Environments, audit: Audit, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self._store = store
        self._environments = environments
        self._audit = audit
        self.changed: Signal[[]] = Signal()
        """Sent after an administrator has featured an environment."""

    # --- Looking --------------------------------------------------------------------------------

    async def list(self, user: User) -> tuple[FeaturedEnvironment, ...]:
        """Return a person's gallery."""
        found = await self._store.list_featured_for(user.name, user.groups)
        return tuple(
            FeaturedEnvironment(entry, environment)
            for entry, environment in found
            if environment.owner == user.name or repository_permits(user, environment)
        )

    async def list_all(self, user: User) -> tuple[FeaturedEnvironment, ...]:
        """Return what is featured for anybody, to an administrator."""
        _require_admin(user)
        return tuple(
            [
                FeaturedEnvironment(each, await self._environments.get(user, each.environment_id))
                for each in await self._store.list_featured()
            ]
        )

    async def find(self, environment: Environment) -> GalleryEntry | None:
        """Return what the gallery says of an environment that the user may see."""
        return await self._store.fetch_featured(environment.id)

    async def fetch_picture(self, user: User, environment_id: str) -> StoredPicture:
        """Return the picture of a featured environment. Raises NotFound."""
        environment = await self._environments.get(user, environment_id)
        picture = await self._store.fetch_picture(environment.id)
        if picture is None:
            raise NotFound("“%(name)s” has no picture.", name=environment.name)
        return picture

    # --- Changing -------------------------------------------------------------------------------

    async def put(
        self, user: User, environment_id: str, subject: Subject, text: str = ""
    ) -> FeaturedEnvironment:
        """Feature an environment, or change its people and its text.

        Without a text, the README's first paragraph is shown. Raises NotAllowed, InvalidInput, and
        Conflict for what the configuration lists.
        """
        _require_admin(user)
        environment = await self._environments.get(user, environment_id)
        before = await self._store.fetch_featured(environment.id)
        _require_ours(environment, before)
        if subject.kind is SubjectKind.USER:
            raise InvalidInput(
                "An environment is featured for everyone or for a group. Share it with a person "
                "instead.",
                detail={"field": "subject"},
            )
        if before is None and len(await self._store.list_featured()) >= _MAX_FEATURED:
            raise InvalidInput(
                "At most %(most)s environments can be featured. Stop featuring another one first.",
                most=_MAX_FEATURED,
            )
        wanted = GalleryEntry(environment.id, subject, utc_now(), user.name, clean_text(text))
        entry = await self._store.put_featured(wanted)
        if before is None or (before.subject, before.written) != (subject, entry.written):
            await self._note(user, environment, to=str(subject), text=entry.written)
        self.changed.send()
        return FeaturedEnvironment(entry, environment)

    async def remove(self, user: User, environment_id: str) -> FeaturedEnvironment:
        """End it, with the share that came with it. Raises as `put`, and NotFound."""
        _require_admin(user)
        environment = await self._environments.get(user, environment_id)
        before = await self._store.fetch_featured(environment.id)
        if before is None:
            raise NotFound("“%(name)s” is not featured.", name=environment.name)
        _require_ours(environment, before)
        await self._store.remove_featured(environment.id)
        await self._note(user, environment, to=str(before.subject), ended=True)
        return FeaturedEnvironment(before, environment)

    async def _note(self, user: User, environment: Environment, **detail: Any) -> None:
        await self._audit.record(
            user.name,
            Action.ENVIRONMENT_FEATURE,
            environment.id,
            name=environment.name,
            repository=environment.label,
            owner=environment.owner if environment.owner != user.name else "",
            **detail,
        )


def _require_admin(user: User) -> None:
    if not user.admin:
        raise NotAllowed("Only administrators may do this.")


def _require_ours(environment: Environment, entry: GalleryEntry | None) -> None:
    if entry is not None and entry.link:
        raise Conflict(
            "“%(name)s” is featured by the configuration of this hub. Change it in "
            "Featured.environments.",
            name=environment.name,
        )


def clean_text(text: str) -> str:
    """Return one line of bounded length. Raises InvalidInput."""
    text = one_line(text)
    if len(text) > MAX_TEXT_CHARACTERS:
        raise InvalidInput(
            "The text has %(used)s characters. It may have at most %(most)s.",
            used=len(text),
            most=MAX_TEXT_CHARACTERS,
            detail={"field": "text"},
        )
    return text
