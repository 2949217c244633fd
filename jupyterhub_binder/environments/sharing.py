"""Shares: who besides the owner may use an environment."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from traitlets.config import LoggingConfigurable

from jupyterhub_binder.admin.audit import Audit
from jupyterhub_binder.environments.service import Environments
from jupyterhub_binder.errors import InvalidInput, NotAllowed
from jupyterhub_binder.hub import HubClient
from jupyterhub_binder.model import Environment, User
from jupyterhub_binder.model.admin import Action
from jupyterhub_binder.model.sharing import OthersUse, Right, Share, Subject, SubjectKind
from jupyterhub_binder.store import Store
from jupyterhub_binder.utils.concurrency import Locks
from jupyterhub_binder.utils.text import is_printable
from jupyterhub_binder.utils.time import utc_now
from jupyterhub_binder.utils.validation import MAX_PERSON_CHARACTERS

MAX_SHARES = 200
"""Of one environment."""

Wanted = tuple[Subject, Right]


@dataclass(frozen=True, slots=True)
class Shares:
    """An environment's shares, and what others make of it."""

    shares: tuple[Share, ...]
    use: OthersUse


class Sharing(LoggingConfigurable):
    """Reads and replaces shares, for those who may manage an environment."""

    def __init__(
        self,
        *,
        store: Store,
        environments: Environments,
        hub: HubClient,
        audit: Audit,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._store = store
        self._environments = environments
        self._hub = hub
        self._audit = audit
        self._changing: Locks[str] = Locks()
        """By environment; held from reading its shares to replacing them."""

    async def fetch(self, user: User, environment_id: str) -> Shares:
        """Return an environment's shares. Raises NotFound and NotAllowed."""
        environment = await self._environments.get(user, environment_id, Right.MANAGE)
        return await self._with_use(environment, await self._store.list_shares(environment.id))

    async def fetch_use(self, environments: Iterable[Environment]) -> dict[str, OthersUse]:
        """Return how others use the environments that a person may manage."""
        managed = [each.id for each in environments if each.right.covers(Right.MANAGE)]
        return dict(await self._store.list_others_use(managed)) if managed else {}

    async def put(self, user: User, environment_id: str, wanted: Sequence[Wanted]) -> Shares:
        """Replace the shares. Raises InvalidInput for a person whom the hub doesn't know."""
        async with self._changing[environment_id]:
            return await self._put(user, environment_id, wanted)

    async def _put(self, user: User, environment_id: str, wanted: Sequence[Wanted]) -> Shares:
        environment = await self._environments.get(user, environment_id, Right.MANAGE)
        _check(environment, wanted)
        known = {share.subject for share in await self._store.list_shares(environment.id)}
        for subject, _ in wanted:
            if subject.kind is SubjectKind.USER and subject not in known:
                await self.require_person(subject.name)
        now = utc_now()
        before, after = await self._store.put_shares(
            environment.id, [Share(subject, right, now, user.name) for subject, right in wanted]
        )
        self._note(user, environment, before, after)
        return await self._with_use(environment, after)

    async def add(self, user: User, environment_id: str, subject: Subject, right: Right) -> Shares:
        """Give a subject a right, or change the one that it has."""
        async with self._changing[environment_id]:
            others = await self._without(user, environment_id, subject)
            return await self._put(user, environment_id, [*others, (subject, right)])

    async def remove(self, user: User, environment_id: str, subject: Subject) -> Shares:
        """End a subject's share. Idempotent."""
        async with self._changing[environment_id]:
            others = await self._without(user, environment_id, subject)
            return await self._put(user, environment_id, others)

    async def _without(self, user: User, environment_id: str, subject: Subject) -> list[Wanted]:
        found = await self.fetch(user, environment_id)
        return [(each.subject, each.right) for each in found.shares if each.subject != subject]

    async def require_person(self, name: str) -> None:
        """Raise InvalidInput unless the hub knows a person."""
        try:
            known = await self._hub.knows_user(name)
        except NotAllowed as error:
            raise NotAllowed(
                "The service may not ask the hub who its users are. Ask an administrator to give "
                "the service's role the scope list:users."
            ) from error
        if not known:
            raise InvalidInput(
                "The hub has no user named “%(name)s”. Check the spelling. The hub knows people "
                "only after they have signed in once.",
                name=name,
                detail={"field": "shares"},
            )

    async def _with_use(self, environment: Environment, shares: tuple[Share, ...]) -> Shares:
        use = await self._store.list_others_use([environment.id])
        return Shares(shares, use.get(environment.id, OthersUse()))

    def _note(
        self,
        user: User,
        environment: Environment,
        before: Iterable[Share],
        after: Iterable[Share],
    ) -> None:
        was, now = ({(s.subject, s.right) for s in shares} for shares in (before, after))
        if was == now:
            return
        self._audit.note_environment(
            user,
            Action.ENVIRONMENT_SHARE,
            environment,
            given=_listed(now - was),
            ended=_listed(was - now),
        )


def _listed(shares: Iterable[tuple[Subject, Right]]) -> str:
    return ", ".join(f"{subject} ({right})" for subject, right in sorted(shares))


def read_subject(text: str) -> Subject:
    """Read ``user:ada``, ``group:astronomy`` or ``everyone``. Raises InvalidInput."""
    kind, _, name = text.partition(":")
    if text == SubjectKind.EVERYONE:
        return Subject(SubjectKind.EVERYONE)
    fit = 0 < len(name) <= MAX_PERSON_CHARACTERS and all(map(is_printable, name))
    if kind not in (SubjectKind.USER, SubjectKind.GROUP) or not fit or name != name.strip():
        raise InvalidInput(
            "You can't share with “%(text)s”. Write user:NAME, group:NAME or everyone.",
            text=text[:100],
            detail={"field": "shares"},
        )
    return Subject(SubjectKind(kind), name)


def _check(environment: Environment, wanted: Sequence[Wanted]) -> None:
    if len(wanted) > MAX_SHARES:
        raise InvalidInput(
            "An environment may have at most %(most)s shares. Share it with a group instead.",
            most=MAX_SHARES,
            detail={"field": "shares"},
        )
    subjects = [subject for subject, _ in wanted]
    if len(set(subjects)) < len(subjects):
        raise InvalidInput("Name each person or group only once.", detail={"field": "shares"})
    if Subject(SubjectKind.USER, environment.owner) in subjects:
        raise InvalidInput(
            "%(owner)s is the owner and needs no share.",
            owner=environment.owner,
            detail={"field": "shares"},
        )
