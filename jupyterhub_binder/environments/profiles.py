"""The profiles of the hub: which ones a person has, and which one they chose for an environment.

The hub decides at each start. Here a choice is compared with what the hub offers now, so that a
person hears of a wrong one at once, and a remembered one that is gone does not prevent a start.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from jupyterhub_binder.environments.service import Environments
from jupyterhub_binder.errors import BinderError, HubError, InvalidInput
from jupyterhub_binder.hub import HubClient
from jupyterhub_binder.model import User
from jupyterhub_binder.model.preferences import Preference
from jupyterhub_binder.model.profiles import Profile, ProfileChoice
from jupyterhub_binder.store import Store

_SECONDS = 5.0
"""A page does not wait longer for the hub."""
_FRESH_SECONDS = 30.0
_MAX_PEOPLE = 10_000

log = logging.getLogger(__name__)


class Profiles:
    """Asks the hub in a person's name, and keeps choices. Nobody sees another person's."""

    def __init__(self, *, store: Store, environments: Environments, hub: HubClient) -> None:
        self._store = store
        self._environments = environments
        self._hub = hub
        self._known: dict[str, tuple[float, tuple[Profile, ...]]] = {}

    async def offered(self, user: User, token: str) -> tuple[Profile, ...] | None:
        """Return what the hub offers the person; None if it does not say so in time."""
        seen, profiles = self._known.get(user.name, (0.0, ()))
        if seen and time.monotonic() - seen < _FRESH_SECONDS:
            return profiles
        try:
            async with asyncio.timeout(_SECONDS):
                profiles = await self._hub.fetch_profiles(token, user.name)
        except (BinderError, TimeoutError) as error:
            log.info("The profiles of %s are unknown: %s", user.name, error or "too slow")
            return None
        if len(self._known) >= _MAX_PEOPLE:
            self._known.clear()
        self._known[user.name] = (time.monotonic(), profiles)
        return profiles

    async def remembered(self, user: User, environment_id: str) -> ProfileChoice:
        """Return what the person chose for an environment, even if it is no longer offered."""
        found = await self._store.list_preferences(user.name, [environment_id])
        return found.get(environment_id, Preference()).profile

    async def choose(
        self, user: User, token: str, environment_id: str, given: ProfileChoice | None = None
    ) -> ProfileChoice:
        """Return what a launch uses: what is given, which is remembered, or what was remembered.

        Raises InvalidInput for what the hub does not offer, NotFound, and HubError if a given
        profile can't be checked.
        """
        if given is None:
            remembered = await self.remembered(user, environment_id)
            if remembered == ProfileChoice():
                return remembered
            offered = await self.offered(user, token)
            # The hub checks it too, so nothing is lost if it does not answer here.
            return remembered if offered is None else still_offered(remembered, offered)
        await self._environments.get(user, environment_id)
        await self._remember(user, environment_id, await self._check(user, token, given))
        return given

    async def _check(self, user: User, token: str, given: ProfileChoice) -> ProfileChoice:
        if given == ProfileChoice():
            return given
        offered = await self.offered(user, token)
        if offered is None:
            raise HubError("The hub does not say which profiles you have. Try again in a moment.")
        check_choice(given, offered)
        return given

    async def _remember(self, user: User, environment_id: str, choice: ProfileChoice) -> None:
        known = await self._store.list_preferences(user.name, [environment_id])
        old = known.get(environment_id, Preference())
        if old.profile != choice:
            new = replace(old, profile=choice)
            await self._store.put_preference(user.name, environment_id, new)


def find_profile(slug: str, offered: Sequence[Profile]) -> Profile | None:
    """Return a profile; of an empty slug, the default one."""
    if slug:
        return next((each for each in offered if each.slug == slug), None)
    return next((each for each in offered if each.default), None)


def check_choice(choice: ProfileChoice, offered: Sequence[Profile]) -> None:
    """Raise InvalidInput unless the hub offers exactly this."""
    profile = find_profile(choice.slug, offered)
    if profile is None:
        known = ", ".join(each.slug for each in offered)
        if not known:
            raise InvalidInput("This hub offers you no profiles.", detail={"field": "profile"})
        raise InvalidInput(
            "The hub does not offer you the profile “%(profile)s”. It offers: %(known)s.",
            profile=choice.slug,
            known=known,
            detail={"field": "profile"},
        )
    options = {option.name: option.choices for option in profile.options}
    for name, value in choice.options.items():
        if value not in options.get(name, ()):
            raise InvalidInput(
                "The profile “%(profile)s” has no choice “%(value)s” of “%(option)s”.",
                profile=profile.name,
                value=value,
                option=name,
                detail={"field": "profile_options"},
            )


def still_offered(choice: ProfileChoice, offered: Sequence[Profile]) -> ProfileChoice:
    """Return what is left of a remembered choice."""
    try:
        check_choice(choice, offered)
    except InvalidInput:
        kept = replace(choice, options={})
        return kept if find_profile(choice.slug, offered) else ProfileChoice()
    return choice


def settle(choice: ProfileChoice, offered: Sequence[Profile]) -> ProfileChoice:
    """Return a choice with all defaults, to compare it with another one."""
    profile = find_profile(choice.slug, offered)
    if profile is None:
        return choice
    options = {o.name: choice.options.get(o.name, o.default) for o in profile.options}
    return ProfileChoice(profile.slug, options)


def read_options(options: Mapping[str, object], offered: Sequence[Profile]) -> ProfileChoice:
    """Return what a running server was started with, from its options."""
    slug = options.get("profile")
    profile = find_profile(slug if isinstance(slug, str) else "", offered)
    if profile is None:
        return ProfileChoice(str(slug or ""))
    named = ((option.name, options.get(option.name)) for option in profile.options)
    return ProfileChoice(profile.slug, {n: value for n, value in named if isinstance(value, str)})
