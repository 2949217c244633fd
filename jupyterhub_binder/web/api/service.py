"""Routes of the service itself, and the preview of a link."""

from __future__ import annotations

import contextlib
import functools
import json
from pathlib import Path

import jupyterhub

from jupyterhub_binder import __version__
from jupyterhub_binder.errors import BinderError
from jupyterhub_binder.maintenance.health import without_detail
from jupyterhub_binder.web.api.common import Handler, read_link
from jupyterhub_binder.web.api.operation import operation
from jupyterhub_binder.web.api.render import render_checks
from jupyterhub_binder.web.api.shapes.links import LinkBody, PreviewJSON
from jupyterhub_binder.web.api.shapes.service import (
    BackendNameJSON,
    BuilderInfoJSON,
    HealthJSON,
    HubJSON,
    InfoJSON,
    LimitsJSON,
    PermissionsJSON,
    ProviderJSON,
    UserJSON,
    VersionsJSON,
)
from jupyterhub_binder.web.handlers import APIHandler

OPENAPI = Path(__file__).parent / "openapi" / "openapi.json"
"""Generated: `make openapi`."""


@functools.lru_cache(maxsize=4)
def description(base_url: str) -> str:
    """Return the OpenAPI document as JSON, for this prefix."""
    document = json.loads(OPENAPI.read_text(encoding="utf-8"))
    document["info"]["version"] = __version__
    document["servers"] = [{"url": base_url.rstrip("/") or "/"}]
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


class InfoHandler(Handler):
    """The user, their permissions, and the service's features."""

    @operation("info")
    async def get(self) -> InfoJSON:
        """Get the user, their permissions, and the features of this service."""
        services, user = self.services, self.me
        backend = services.backend
        drain = services.drain.state
        return InfoJSON(
            version=__version__,
            user=UserJSON(name=user.name, admin=user.admin, groups=user.groups),
            permissions=PermissionsJSON(build=user.can_build, admin=user.admin),
            limits=LimitsJSON(**await services.environments.limits(user)),
            backend=BackendNameJSON(
                name=backend.name,
                description=backend.description,
                health=without_detail(await services.health()).get("backend"),
            ),
            providers=tuple(
                ProviderJSON(
                    prefix=provider.prefix,
                    name=provider.display_name,
                    placeholder=provider.placeholder,
                    default_ref=provider.default_ref,
                )
                for provider in services.providers
            ),
            hub=HubJSON(url=services.hub_url, named_servers=services.named_servers),
            drain=drain.message if drain else None,
        )


class OpenAPIHandler(APIHandler):
    """The description of this API."""

    async def prepare(self) -> None:
        """Skip authentication: the document is public."""

    @operation("openapi", public=True)
    async def get(self) -> None:
        """Get this description."""
        self.set_header("Content-Type", "application/json; charset=UTF-8")
        self.set_header("Cache-Control", "no-cache")
        self.finish(description(self.services.base_url))


class ResolveHandler(Handler):
    """The preview of a link."""

    @operation("resolve", errors=(422, 429), needs_body=True)
    async def post(self, *, body: LinkBody) -> PreviewJSON:
        """Preview a link: its repository, commit, configuration files and warnings.

        Nothing is stored or started.
        """
        link = read_link(body, self.services.providers)
        preview = await self.services.previews.preview(self.me, link)
        return (await self.renderer()).preview(preview)


class HealthHandler(APIHandler):
    """The health of the service, with details for admins."""

    signed_in_only = False

    async def prepare(self) -> None:
        """Authenticate only requests with a token: probes must work without a hub."""
        if not self._sent_token():
            return
        with contextlib.suppress(BinderError):  # is nobody then, who is answered too
            await super().prepare()

    @operation("health", public=True)
    async def get(self) -> HealthJSON:
        """Check whether the service works.

        If something is wrong, the answer has the same shape and status 503.
        """
        parts = await self.services.health()
        if self.user is None or not self.user.admin:
            parts = without_detail(parts)
        checks = render_checks(parts)
        ok = all(check.ok for check in checks)
        self.set_status(200 if ok else 503)
        return HealthJSON(ok=ok, draining=self.services.drain.state is not None, checks=checks)


class VersionsHandler(APIHandler):
    """The running versions."""

    async def prepare(self) -> None:
        """Skip authentication."""

    @operation("versions", public=True)
    async def get(self) -> VersionsJSON:
        """Get the running versions.

        `binderhub` and `builder_info` are for clients of BinderHub.
        """
        builder = self.services.backend.name
        return VersionsJSON(
            jupyterhub_binder=__version__,
            jupyterhub=jupyterhub.__version__,
            builder=builder,
            binderhub=f"jupyterhub-binder {__version__}",
            builder_info=BuilderInfoJSON(name=builder),
        )
