"""Transfers: an owner offers an environment, and the receiver accepts it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from traitlets import Float
from traitlets.config import LoggingConfigurable

from jupyterhub_binder.admin.audit import Audit
from jupyterhub_binder.builds.service import Builds
from jupyterhub_binder.environments.rights import no_such_environment
from jupyterhub_binder.environments.service import Environments
from jupyterhub_binder.environments.sharing import Sharing
from jupyterhub_binder.errors import InvalidInput, NotFound
from jupyterhub_binder.model import Environment, User
from jupyterhub_binder.model.admin import Action
from jupyterhub_binder.model.sharing import Right, Transfer
from jupyterhub_binder.store import Store
from jupyterhub_binder.utils.time import utc_now


@dataclass(frozen=True, slots=True)
class EnvironmentOffer:
    """A transfer with the environment that it is about."""

    transfer: Transfer
    environment: Environment


class Transfers(LoggingConfigurable):
    """Offers, accepts and withdraws."""

    offer_days = Float(
        7,
        min=0.01,
        help="How long a person can accept an environment that somebody gives them, in days. "
        "Default: 7.",
    ).tag(config=True)

    def __init__(
        self,
        *,
        store: Store,
        environments: Environments,
        sharing: Sharing,
        builds: Builds,
        audit: Audit,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._store = store
        self._environments = environments
        self._sharing = sharing
        self._builds = builds
        self._audit = audit

    async def offer(self, user: User, environment_id: str, to: str) -> EnvironmentOffer:
        """Offer an environment to a person whom the hub knows; replaces an earlier offer."""
        environment = await self._environments.get(user, environment_id, Right.OWN)
        if to == environment.owner:
            raise InvalidInput("%(owner)s is the owner already.", owner=to, detail={"field": "to"})
        await self._sharing.require_person(to)
        now = utc_now()
        transfer = Transfer(
            environment.id, to, user.name, now, now + timedelta(days=self.offer_days)
        )
        await self._store.put_transfer(transfer)
        self._audit.note_environment(user, Action.ENVIRONMENT_OFFER, environment, to=to)
        return EnvironmentOffer(transfer, environment)

    async def fetch(self, user: User, environment_id: str) -> EnvironmentOffer:
        """Return the pending offer, to the receiver, the owner and admins. Raises NotFound."""
        transfer = await self._store.fetch_transfer(environment_id, at=utc_now())
        if transfer is not None and transfer.to == user.name:
            environment = await self._store.fetch_environment(environment_id)
            if environment is None or environment.deleted is not None:
                raise no_such_environment()
            return EnvironmentOffer(transfer, environment)
        environment = await self._environments.get(user, environment_id, Right.OWN)
        if transfer is None:
            raise NotFound("“%(name)s” is not offered to anybody.", name=environment.name)
        return EnvironmentOffer(transfer, environment)

    async def list(self, user: User) -> tuple[EnvironmentOffer, ...]:
        """Return what is offered to a user."""
        offers = []
        for transfer in await self._store.list_transfers(user.name, at=utc_now()):
            environment = await self._store.fetch_environment(transfer.environment_id)
            if environment is not None and environment.deleted is None:
                offers.append(EnvironmentOffer(transfer, environment))
        return tuple(offers)

    async def withdraw(self, user: User, environment_id: str) -> EnvironmentOffer:
        """End an offer: the owner withdraws it, or the receiver declines."""
        offer = await self.fetch(user, environment_id)
        await self._store.delete_transfer(environment_id)
        self._audit.note_environment(
            user, Action.ENVIRONMENT_OFFER, offer.environment, to=offer.transfer.to, ended=True
        )
        return offer

    async def accept(self, user: User, environment_id: str) -> Environment:
        """Become the owner of what was offered. Raises NotFound and LimitReached.

        The owner before keeps the right to manage it, until the new one ends that.
        """
        offer = await self.fetch(user, environment_id)
        if offer.transfer.to != user.name:
            raise NotFound("“%(name)s” is not offered to you.", name=offer.environment.name)
        limit = await self._environments.fetch_limit(user)
        accepted = await self._store.accept_transfer(
            environment_id, user.name, limit=limit, at=utc_now()
        )
        if accepted is None:
            raise await self._environments.limit_reached(user.name)
        if accepted.owner != user.name:
            raise NotFound("“%(name)s” is not offered to you.", name=accepted.name)
        self._builds.forget_people()
        self._audit.note_environment(
            user, Action.ENVIRONMENT_TRANSFER, accepted, before=offer.environment.owner
        )
        return accepted
