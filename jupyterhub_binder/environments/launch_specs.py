"""What the hub needs to start a server in an environment."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from traitlets.config import LoggingConfigurable

from jupyterhub_binder.admin.rules import Rules
from jupyterhub_binder.backends.base import BuildBackend
from jupyterhub_binder.environments.service import Environments
from jupyterhub_binder.errors import BinderError, InvalidInput
from jupyterhub_binder.model import Build, Environment, EnvironmentState, LaunchSpec, Link, User
from jupyterhub_binder.repositories.links.binder import format_binder_link
from jupyterhub_binder.repositories.providers.registry import Providers


class LaunchSpecs(LoggingConfigurable):
    """Makes launch specs."""

    def __init__(
        self,
        *,
        environments: Environments,
        rules: Rules,
        providers: Providers,
        backend: BuildBackend,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._environments = environments
        self._rules = rules
        self._providers = providers
        self._backend = backend

    async def launch_spec(self, user: User, environment_id: str) -> LaunchSpec:
        """Return a launch spec. Raises NotAllowed."""
        environment = await self._environments.get(user, environment_id)
        self._rules.require(user, environment)
        current, latest = environment.current, environment.latest
        shown = current or latest
        resolved_ref = shown.build.resolved_ref if shown else ""
        image = current.build.image if current and await self.is_there(current.build) else None
        removed = (
            current is not None and image is None and environment.state is EnvironmentState.READY
        )
        content_key = shown.build.key if shown and shown.build.reused_key else ""
        maker = self._backend.maker(shown.build.backend if shown else "")
        return LaunchSpec(
            environment_id=environment.id,
            environment_name=environment.name,
            state=EnvironmentState.UNBUILT if removed else environment.state,
            build_id=latest.build.id if latest else None,
            image=image,
            content=environment.content,
            directory=environment.directory,
            path=environment.path,
            repo_url=environment.repo_url,
            resolved_ref=resolved_ref,
            ref=environment.spec.ref,
            build_number=current.number if current and image else None,
            **self.addresses(environment, resolved_ref),
            content_key=content_key,
            content_kept=not content_key or await maker.has_files(content_key),
            **self._content_source(environment, shown.build if shown else None),
        )

    async def is_there(self, build: Build) -> bool:
        """Say whether a build's image exists. If unknown, let the start find out."""
        try:
            maker = self._backend.maker(build.backend)
            return await maker.find_image(build.image_key) is not None
        except BinderError as error:
            self.log.warning("Can't tell whether %s exists: %s", build.image, error.message)
            return True

    def _content_source(self, environment: Environment, build: Build | None) -> dict[str, Any]:
        if environment.content_url:
            return {
                "content_url": environment.content_url,
                "content_ref": environment.content_ref,
                "content_elsewhere": True,
            }
        spec = environment.spec
        try:
            is_git = self._providers[spec.provider].takes_ref
        except InvalidInput:
            is_git = False
        return {
            "content_url": build.clone_url if is_git and build else "",
            "content_ref": build.resolved.follow if build else spec.ref,
        }

    def addresses(self, environment: Environment, resolved_ref: str) -> dict[str, str]:
        """Return a `LaunchSpec`'s addresses; {} for a disabled provider."""
        spec = environment.spec
        try:
            provider = self._providers[spec.provider]
        except InvalidInput:
            return {}
        request = {"request": format_binder_link(provider, Link(spec))}
        if not resolved_ref:
            return request
        return {
            **request,
            "ref_url": provider.ref_url(environment.repo_url, resolved_ref),
            "persistent_request": format_binder_link(
                provider, Link(replace(spec, ref=resolved_ref))
            ),
        }

    async def prepare_start(self, user: User, environment_id: str) -> LaunchSpec:
        """Return a launch spec; begin a build if none was tried or its image is gone.

        Does not retry a failed build.
        """
        environment = await self._environments.get(user, environment_id)
        spec = await self.launch_spec(user, environment_id)
        if spec.image is not None:
            await self._environments.mark_launched(environment_id, user.name)
            return spec
        await self._environments.keep_directory(environment_id, user.name)
        missing = environment.current is not None or environment.latest is None
        if not missing or spec.state in (EnvironmentState.QUEUED, EnvironmentState.BUILDING):
            return spec
        await self.begin_build(user, environment_id)
        return await self.launch_spec(user, environment_id)

    async def begin_build(self, user: User, environment_id: str) -> Environment:
        """Build the removed image's commit again, else the current ref."""
        environment = await self._environments.get(user, environment_id)
        begin = self.bring_back if environment.current else self._environments.build_for_launch
        return await begin(user, environment_id)

    async def bring_back(self, user: User, environment_id: str) -> Environment:
        """Build the current commit again if clean-up removed its image."""
        environment = await self._environments.get(user, environment_id)
        current = environment.current
        if current is None or await self.is_there(current.build):
            return environment
        return await self._environments.requests.build_again(user, environment, current.build)
