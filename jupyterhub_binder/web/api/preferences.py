"""Routes of what a person can open, and of what they prefer."""

from __future__ import annotations

from jupyterhub_binder.model import Environment
from jupyterhub_binder.model.preferences import Preference
from jupyterhub_binder.model.profiles import Profile
from jupyterhub_binder.web.api.common import Handler, read_profile
from jupyterhub_binder.web.api.operation import operation
from jupyterhub_binder.web.api.shapes.preferences import (
    ApplicationJSON,
    FilesQuery,
    PreferenceBody,
    PreferenceJSON,
    ProfileJSON,
    ProfileOptionJSON,
    RepositoryFileJSON,
    RepositoryFilesJSON,
)


class PreferenceHandler(Handler):
    """What a person prefers in one environment."""

    @operation("get_preference")
    async def get(self, environment_id: str) -> PreferenceJSON:
        """Get what you prefer, and which applications the environment has."""
        environment = await self.services.environments.get(self.me, environment_id)
        preference = await self.services.preferences.get(self.me, environment)
        return await self._render(environment, preference)

    @operation("set_preference")
    async def put(self, environment_id: str, *, body: PreferenceBody) -> PreferenceJSON:
        """Pin an environment to the top of your list, or choose what it opens and its profile."""
        preferences = self.services.preferences
        profile = read_profile(body.profile, body.profile_options)
        if profile is not None:  # may fail, so it comes first
            await self.services.profiles.choose(self.me, self.token, environment_id, profile)
        preference = await preferences.set(
            self.me, environment_id, pinned=body.pinned, opens=body.opens
        )
        environment = await self.services.environments.get(self.me, environment_id)
        return await self._render(environment, preference)

    async def _render(self, environment: Environment, preference: Preference) -> PreferenceJSON:
        there = await self.services.preferences.applications(environment)
        offered = await self.services.profiles.offered(self.me, self.token)
        return PreferenceJSON(
            pinned=preference.pinned,
            opens=preference.opens,
            applications=tuple(ApplicationJSON(name=a.name, path=a.path) for a in there),
            profile=preference.profile.slug,
            profile_options=preference.profile.options,
            profiles=tuple(map(_render_profile, offered or ())),
        )


def _render_profile(profile: Profile) -> ProfileJSON:
    options = tuple(
        ProfileOptionJSON(name=o.name, label=o.label, choices=o.choices, default=o.default)
        for o in profile.options
    )
    return ProfileJSON(
        slug=profile.slug,
        name=profile.name,
        description=profile.description,
        default=profile.default,
        options=options,
    )


class FilesHandler(Handler):
    """What an environment's repository has to open."""

    @operation("list_files")
    async def get(self, environment_id: str, *, query: FilesQuery) -> RepositoryFilesJSON:
        """List the README and the notebooks of the commit that servers start with."""
        environment = await self.services.environments.get(self.me, environment_id)
        listing = await self.services.files.list(environment)
        found = listing.find(query.search) if listing else ()
        readmes = listing.readmes if listing else ()
        shown = found[query.offset : query.offset + query.limit]
        current = environment.current
        return RepositoryFilesJSON(
            known=listing is not None,
            resolved_ref=current.build.resolved_ref if listing and current else None,
            items=tuple(
                RepositoryFileJSON(path=path, kind="readme" if path in readmes else "notebook")
                for path in shown
            ),
            total=len(found) if query.search or not listing else listing.total,
            offset=query.offset,
            limit=query.limit,
        )
