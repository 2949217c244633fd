"""Who may use an environment: the section of its page, and its forms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jupyterhub_binder.environments.transfers import EnvironmentOffer
from jupyterhub_binder.errors import InvalidInput, NotFound
from jupyterhub_binder.model import Environment
from jupyterhub_binder.model.sharing import Right, Share, Subject, SubjectKind
from jupyterhub_binder.utils.validation import MAX_PERSON_CHARACTERS
from jupyterhub_binder.web.i18n.language import gettext as _
from jupyterhub_binder.web.pages.base import PageHandler

ACTIONS = "share|unshare|copy|offer|withdraw|accept"


@dataclass(frozen=True, slots=True)
class ShareView:
    """A share in words."""

    share: Share

    @property
    def words(self) -> str:
        """``Everyone at this hub``, ``Group astronomy``, ``ada``."""
        return describe(self.share.subject)

    @property
    def manages(self) -> bool:
        """Whether it is the right to manage."""
        return self.share.right is Right.MANAGE

    @property
    def fields(self) -> dict[str, str]:
        """The form fields that name the subject."""
        return {"kind": self.share.subject.kind, "name": self.share.subject.name}


def describe(subject: Subject) -> str:
    """Name a subject for people."""
    if subject.kind is SubjectKind.EVERYONE:
        return _("Everyone at this hub")
    if subject.kind is SubjectKind.GROUP:
        return _("Group %(name)s", name=subject.name)
    return subject.name


async def sharing_values(handler: PageHandler, environment: Environment) -> dict[str, Any]:
    """Return what the page of an environment says about its shares."""
    if not environment.right.covers(Right.MANAGE):
        return {}
    found = await handler.services.sharing.fetch(handler.me, environment.id)
    views = [ShareView(share) for share in found.shares]
    return {
        "shares": views,
        "use": found.use,
        "open_to_all": any(v.share.subject.kind is SubjectKind.EVERYONE for v in views),
        "offer": await _offer_of(handler, environment),
        "launch_url": f"{handler.request.protocol}://{handler.request.host}{handler.prefix}"
        f"environments/{environment.id}/launch",
    }


async def _offer_of(handler: PageHandler, environment: Environment) -> EnvironmentOffer | None:
    if environment.right is not Right.OWN:
        return None
    try:
        return await handler.services.transfers.fetch(handler.me, environment.id)
    except NotFound:
        return None


class SharingAction(PageHandler):
    """``POST /environments/<id>/<action>``."""

    async def post(self, environment_id: str, action: str) -> None:
        """Run the action, then redirect."""
        self.back = f"{self.prefix}environments/{environment_id}"
        if action in ("accept", "withdraw"):
            self.back = self.prefix
        act = getattr(self, f"_{action}")
        self.redirect(await act(environment_id), status=303)

    async def _share(self, environment_id: str) -> str:
        right = self.form.choice("right", Right) or Right.LAUNCH
        if right is Right.OWN:
            raise InvalidInput("To give an environment away, offer it to its new owner.")
        await self.services.sharing.add(self.me, environment_id, self._subject(), right)
        return f"{self.back}?said=shared#sharing"

    async def _unshare(self, environment_id: str) -> str:
        await self.services.sharing.remove(self.me, environment_id, self._subject())
        return f"{self.back}?said=shared#sharing"

    def _subject(self) -> Subject:
        kind = self.form.choice("kind", SubjectKind) or SubjectKind.USER
        if kind is SubjectKind.EVERYONE:
            return Subject(kind)
        name = self.form.text("name", max_length=MAX_PERSON_CHARACTERS, required=True) or ""
        return Subject(kind, name)

    async def _copy(self, environment_id: str) -> str:
        copy = await self.services.copies.copy(self.me, environment_id)
        return f"{self.prefix}environments/{copy.id}?said=copied"

    async def _offer(self, environment_id: str) -> str:
        to = self.form.text("to", max_length=MAX_PERSON_CHARACTERS, required=True) or ""
        await self.services.transfers.offer(self.me, environment_id, to)
        return f"{self.back}?said=offered#give"

    async def _withdraw(self, environment_id: str) -> str:
        offer = await self.services.transfers.withdraw(self.me, environment_id)
        if offer.transfer.to == self.me.name:
            return f"{self.prefix}?said=declined"
        return f"{self.prefix}environments/{environment_id}?said=withdrawn"

    async def _accept(self, environment_id: str) -> str:
        await self.services.transfers.accept(self.me, environment_id)
        return f"{self.prefix}environments/{environment_id}?said=accepted"
