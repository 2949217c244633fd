"""What the API's routes share: reading a repository from a body, rendering with standings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from jupyterhub_binder.errors import InvalidInput
from jupyterhub_binder.inputs import MOST_ADDRESS_CHARACTERS, MOST_REF_CHARACTERS
from jupyterhub_binder.model import Build, Environment, Link, Spec
from jupyterhub_binder.providers import Providers
from jupyterhub_binder.web.base import APIHandler
from jupyterhub_binder.web.parse import Fields
from jupyterhub_binder.web.render import Renderer

LINK_KEYS = frozenset({"url", "provider", "spec", "ref", "path"})
PAGE_LIMIT = 200
"""The most items that one answer lists."""


class Handler(APIHandler):
    """A route that renders what the model holds."""

    async def renderer(self, builds: Iterable[Build] = ()) -> Renderer:
        """Return a renderer that knows how these builds stand."""
        unfinished = {build.id: build for build in builds if not build.state.finished}
        standings = {
            id_: await self.services.builds.standing(build) for id_, build in unfinished.items()
        }
        return Renderer(self.services.base_url, self.format_spec, standings)

    def format_spec(self, spec: Spec) -> str:
        """Write a spec as BinderHub's text."""
        return format_spec(self.services.providers, spec)

    async def answer_environment(self, environment: Environment, *, status: int = 200) -> None:
        """Answer with one environment."""
        renderer = await self.renderer(builds_of([environment]))
        rendered = renderer.environment(environment)
        if status == 201:
            self.set_header("Location", rendered["links"]["self"])
        self.finish_json(rendered, status=status)


def builds_of(environments: Iterable[Environment]) -> list[Build]:
    """Return the builds that environments show."""
    requests = [r for e in environments for r in (e.current, e.latest)]
    return [request.build for request in requests if request is not None]


def format_spec(providers: Providers, spec: Spec) -> str:
    """Write a spec as BinderHub's text, also one whose provider is no longer enabled."""
    try:
        return providers[spec.provider].format_spec(spec)
    except InvalidInput:
        return f"{spec.repo}/{spec.ref}"


def read_link(fields: Fields, providers: Providers) -> Link:
    """Read which repository a body means: a pasted ``url``, or ``provider`` and ``spec``."""
    path = fields.path("path")
    ref = fields.text("ref", most=MOST_REF_CHARACTERS)
    if "url" in fields:
        if "provider" in fields or "spec" in fields:
            raise InvalidInput("Give either 'url', or 'provider' and 'spec'.")
        link = providers.understand(
            fields.text("url", most=MOST_ADDRESS_CHARACTERS, required=True) or ""
        )
    elif "provider" in fields or "spec" in fields:
        prefix = fields.text("provider", most=20, required=True) or ""
        text = fields.text("spec", most=MOST_ADDRESS_CHARACTERS, required=True) or ""
        link = Link(providers.parse_spec(prefix, text))
    else:
        raise InvalidInput(
            "Say which repository: give 'url', or 'provider' and 'spec'.", detail={"field": "url"}
        )
    if ref:
        link = providers.at_ref(link, ref)
    return link if path is None else replace(link, path=path)
