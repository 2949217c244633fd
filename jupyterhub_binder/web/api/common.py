"""Shared by the API's routes: reading a repository from a body, and rendering."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from jupyterhub_binder.errors import InvalidInput
from jupyterhub_binder.model import Build, Environment, Link, Spec
from jupyterhub_binder.model.profiles import ProfileChoice
from jupyterhub_binder.repositories.providers.registry import Providers
from jupyterhub_binder.utils.validation import MAX_NAME_CHARACTERS
from jupyterhub_binder.web.api.render import Renderer
from jupyterhub_binder.web.api.shapes.environments import EnvironmentJSON
from jupyterhub_binder.web.api.shapes.links import LinkBody
from jupyterhub_binder.web.handlers import APIHandler


class Handler(APIHandler):
    """A route that renders builds and environments."""

    async def renderer(
        self, builds: Iterable[Build] = (), *, look_at: Iterable[Environment] = ()
    ) -> Renderer:
        """Return a renderer for these builds, and for environments whose upstream is shown."""
        unfinished = {build.id: build for build in builds if not build.state.finished}
        progress_by_id = {
            id_: await self.services.builds.progress(build) for id_, build in unfinished.items()
        }
        newer_by_id = await self.services.upstreams.look(look_at)
        return Renderer(self.services.base_url, self.format_spec, progress_by_id, newer_by_id)

    def format_spec(self, spec: Spec) -> str:
        """Write a spec as BinderHub's text."""
        return format_spec(self.services.providers, spec)

    async def render_environment(self, environment: Environment) -> EnvironmentJSON:
        """Render one environment."""
        renderer = await self.renderer(builds_of([environment]), look_at=[environment])
        return renderer.environment(environment)


def builds_of(environments: Iterable[Environment]) -> list[Build]:
    """Return the builds that these environments show."""
    requests = [r for e in environments for r in (e.current, e.latest)]
    return [request.build for request in requests if request is not None]


def format_spec(providers: Providers, spec: Spec) -> str:
    """Write a spec as BinderHub's text, even if its provider is disabled."""
    try:
        return providers[spec.provider].format_spec(spec)
    except InvalidInput:
        return f"{spec.repo}/{spec.ref}"


_MAX_OPTIONS = 50


def read_profile(slug: str | None, options: Mapping[str, object] | None) -> ProfileChoice | None:
    """Read a profile from a body; None if it names none. Raises InvalidInput."""
    options = options or {}
    if slug is None and not options:
        return None
    fit = [
        isinstance(value, str) and len(name) + len(value) <= 2 * MAX_NAME_CHARACTERS
        for name, value in options.items()
    ]
    if not all(fit) or len(fit) > _MAX_OPTIONS:
        raise InvalidInput(
            "The options of a profile must be short texts.", detail={"field": "profile_options"}
        )
    return ProfileChoice(slug or "", {name: str(value) for name, value in options.items()})


def read_link(body: LinkBody, providers: Providers) -> Link:
    """Read a repository from a body: ``url``, or ``provider`` and ``spec``."""
    if body.url is not None:
        if body.provider is not None or body.spec is not None:
            raise InvalidInput("Give either 'url', or 'provider' and 'spec'.")
        link = providers.understand(body.url)
    elif body.provider is not None and body.spec is not None:
        link = Link(providers.parse_spec(body.provider, body.spec))
    else:
        missing = "url"
        if body.provider is not None or body.spec is not None:
            missing = "provider" if body.provider is None else "spec"
        raise InvalidInput(
            "Give a repository: 'url', or 'provider' and 'spec'.",
            detail={"field": missing},
        )
    if body.ref:
        link = providers.at_ref(link, body.ref)
    return link if body.path is None else replace(link, path=body.path)
