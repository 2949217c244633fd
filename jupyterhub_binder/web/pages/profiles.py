"""The hub's profiles on a page: a select, and what a form says of it."""

from __future__ import annotations

from dataclasses import dataclass

from jupyterhub_binder.environments.profiles import find_profile, settle, still_offered
from jupyterhub_binder.model.profiles import Profile, ProfileChoice
from jupyterhub_binder.utils.validation import MAX_NAME_CHARACTERS
from jupyterhub_binder.web.api.parse import query_text
from jupyterhub_binder.web.pages.base import PageHandler

_IN_SELECT = 120
"""Characters of a description beside the name; a select shows one line."""


@dataclass(frozen=True, slots=True)
class ProfilesView:
    """What there is to choose, and what is chosen."""

    offered: tuple[Profile, ...]
    chosen: ProfileChoice
    refused: str = ""
    """A link suggests this profile, but the hub does not offer it."""

    @staticmethod
    def words(profile: Profile) -> str:
        """Name and description in a line."""
        about = profile.description
        if len(about) > _IN_SELECT:
            about = about[: _IN_SELECT - 1].rstrip() + "…"
        return f"{profile.name}: {about}" if about else profile.name

    def value(self, profile: Profile, option: str) -> str:
        """Return the chosen value of an option, else its default."""
        choice = self.chosen if profile.slug == self.chosen.slug else ProfileChoice(profile.slug)
        return settle(choice, self.offered).options[option]


async def profiles_view(handler: PageHandler, environment_id: str = "") -> ProfilesView | None:
    """Return what the hub offers; None if that is nothing, or unknown.

    What a link suggests comes first, then what the person chose last for the environment.
    """
    offered = await handler.services.profiles.offered(handler.me, handler.token)
    if not offered:
        return None
    suggested = query_text(handler, "profile", max_length=MAX_NAME_CHARACTERS).strip()
    if suggested and find_profile(suggested, offered):
        return ProfilesView(offered, ProfileChoice(suggested))
    chosen = ProfileChoice()
    if environment_id:
        chosen = await handler.services.profiles.remembered(handler.me, environment_id)
    chosen = settle(still_offered(chosen, offered), offered)
    return ProfilesView(offered, chosen, suggested)


async def read_profile_fields(handler: PageHandler) -> ProfileChoice | None:
    """Read what the form says; None without such fields. Options have KubeSpawner's names."""
    slug = handler.form.text("profile", max_length=MAX_NAME_CHARACTERS)
    if slug is None:
        return None
    offered = await handler.services.profiles.offered(handler.me, handler.token) or ()
    profile = find_profile(slug, offered)
    names = [option.name for option in profile.options] if profile else []
    values = {
        name: handler.form.text(field_of(slug, name), max_length=MAX_NAME_CHARACTERS)
        for name in names
    }
    return ProfileChoice(slug, {name: value for name, value in values.items() if value})


def field_of(slug: str, option: str) -> str:
    """Return the name of an option's field."""
    return f"profile-option-{slug}--{option}"
