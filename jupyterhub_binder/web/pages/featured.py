"""The gallery of featured environments, and the forms with which administrators feature one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jupyterhub_binder.environments.gallery import FeaturedEnvironment
from jupyterhub_binder.environments.sharing import read_subject
from jupyterhub_binder.errors import InvalidInput
from jupyterhub_binder.model import Environment, EnvironmentState
from jupyterhub_binder.model.featured import GalleryEntry
from jupyterhub_binder.model.sharing import Right, SubjectKind
from jupyterhub_binder.utils.validation import MAX_PERSON_CHARACTERS
from jupyterhub_binder.web.api.featured import address_of_picture
from jupyterhub_binder.web.pages.base import PageHandler
from jupyterhub_binder.web.pages.sharing import describe
from jupyterhub_binder.web.pages.views import EnvironmentView

ACTIONS = "feature|unfeature"

FEW, MORE = 3, 6
"""How many cards are seen at once: above a list, and without one."""


@dataclass(frozen=True, slots=True)
class Card:
    """A featured environment for one person."""

    entry: GalleryEntry
    item: EnvironmentView
    picture: str
    """Its address."""

    @property
    def text(self) -> str:
        """A paragraph."""
        return self.entry.text

    @property
    def initial(self) -> str:
        """What stands where others have a picture."""
        return self.item.environment.name[:1].upper()

    @property
    def launchable(self) -> bool:
        """Whether a launch can work: no rule refuses it, and a build is there or on its way."""
        built = self.item.usable or self.item.state is not EnvironmentState.FAILED
        return built and self.item.refusal is None


def make_cards(
    prefix: str, found: tuple[FeaturedEnvironment, ...], views: Mapping[str, EnvironmentView]
) -> list[Card]:
    """Return the cards of the gallery."""
    return [
        Card(each.entry, views[each.environment.id], address_of_picture(prefix, each.entry))
        for each in found
    ]


async def feature_values(handler: PageHandler, environment: Environment) -> dict[str, Any]:
    """Return what an environment's page says of being featured, to who manages it."""
    if not environment.right.covers(Right.MANAGE):
        return {}
    entry = await handler.services.gallery.find(environment)
    return {
        "entry": entry,
        "audience": describe(entry.subject) if entry else "",
        "may_feature": handler.me.admin,
    }


class FeatureAction(PageHandler):
    """``POST /environments/<id>/feature`` and ``…/unfeature``."""

    async def post(self, environment_id: str, action: str) -> None:
        """Run the action, then redirect."""
        self.back = f"{self.prefix}environments/{environment_id}"
        if action == "feature":
            await self._feature(environment_id)
        else:
            await self.services.gallery.remove(self.me, environment_id)
        self.redirect(f"{self.back}?said={action}d#feature", status=303)

    async def _feature(self, environment_id: str) -> None:
        name = self.form.text("name", max_length=MAX_PERSON_CHARACTERS) or ""
        group = self.form.choice("kind", SubjectKind) is SubjectKind.GROUP
        if group and not name:
            raise InvalidInput("Name the group.", detail={"field": "name"})
        subject = read_subject(f"group:{name}" if group else "everyone")
        # A text field's lines are one paragraph.
        lines = self.get_body_argument("text", "").split()
        await self.services.gallery.put(self.me, environment_id, subject, " ".join(lines))
