"""Routes of shares, copies and transfers."""

from __future__ import annotations

from jupyterhub_binder.environments.sharing import Shares, read_subject
from jupyterhub_binder.environments.transfers import EnvironmentOffer
from jupyterhub_binder.model.sharing import Right
from jupyterhub_binder.web.api.common import Handler
from jupyterhub_binder.web.api.operation import operation
from jupyterhub_binder.web.api.shapes import ListJSON, NamedJSON
from jupyterhub_binder.web.api.shapes.environments import EnvironmentJSON
from jupyterhub_binder.web.api.shapes.sharing import (
    CopyBody,
    GivenShareJSON,
    SharesBody,
    SharesJSON,
    TransferBody,
    TransferJSON,
)


class SharesHandler(Handler):
    """The shares of an environment."""

    @operation("list_shares")
    async def get(self, environment_id: str) -> SharesJSON:
        """List who may use an environment besides its owner."""
        return render_shares(await self.services.sharing.fetch(self.me, environment_id))

    @operation("put_shares", needs_body=True)
    async def put(self, environment_id: str, *, body: SharesBody) -> SharesJSON:
        """Say who may use an environment besides its owner. The list replaces the one before.

        Who is no longer on it can't start servers any more; running ones stay. A person must be
        known to the hub. A group's members are those that the hub names when they use it.
        """
        wanted = [(read_subject(each.subject), Right(each.right)) for each in body.shares]
        return render_shares(await self.services.sharing.put(self.me, environment_id, wanted))


class CopyHandler(Handler):
    """Copies an environment."""

    @operation("copy_environment", status=201, errors=(409, 422, 429))
    async def post(self, environment_id: str, *, body: CopyBody) -> EnvironmentJSON:
        """Make your own environment of one that you may use.

        It has the same settings and current build, but no files, history or shares.
        """
        copy = await self.services.copies.copy(self.me, environment_id, name=body.name)
        return await self.render_environment(copy)


class TransferHandler(Handler):
    """The offer of an environment."""

    @operation("get_transfer")
    async def get(self, environment_id: str) -> TransferJSON:
        """Get the offer of an environment that is not accepted yet."""
        return render_offer(await self.services.transfers.fetch(self.me, environment_id))

    @operation("offer_environment", needs_body=True)
    async def post(self, environment_id: str, *, body: TransferBody) -> TransferJSON:
        """Offer an environment to another person, who becomes its owner by accepting."""
        return render_offer(await self.services.transfers.offer(self.me, environment_id, body.to))

    @operation("withdraw_transfer")
    async def delete(self, environment_id: str) -> TransferJSON:
        """Withdraw an offer, or decline one that was made to you."""
        return render_offer(await self.services.transfers.withdraw(self.me, environment_id))


class AcceptHandler(Handler):
    """Accepts an offer."""

    @operation("accept_transfer", errors=(429,))
    async def post(self, environment_id: str) -> EnvironmentJSON:
        """Accept an environment that was offered to you.

        The owner before keeps the right to manage it, until you end that.
        """
        accepted = await self.services.transfers.accept(self.me, environment_id)
        return await self.render_environment(accepted)


class OffersHandler(Handler):
    """What is offered to a person."""

    @operation("list_transfers")
    async def get(self) -> ListJSON[TransferJSON]:
        """List the environments that are offered to you."""
        offers = await self.services.transfers.list(self.me)
        return ListJSON(items=tuple(render_offer(offer) for offer in offers))


def render_shares(shares: Shares) -> SharesJSON:
    """Render the shares of an environment."""
    return SharesJSON(
        shares=tuple(
            GivenShareJSON(
                subject=str(share.subject), right=share.right, since=share.since, by=share.by
            )
            for share in shares.shares
        ),
        people=shares.use.people,
        launched=shares.use.launched,
    )


def render_offer(offer: EnvironmentOffer) -> TransferJSON:
    """Render an offer."""
    environment, transfer = offer.environment, offer.transfer
    return TransferJSON(
        environment=NamedJSON(id=environment.id, name=environment.name),
        label=environment.label,
        owner=environment.owner,
        to=transfer.to,
        by=transfer.by,
        offered=transfer.offered,
        expires=transfer.expires,
    )
