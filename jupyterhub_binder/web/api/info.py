"""Routes about the service itself, and what a pasted link would become."""

from __future__ import annotations

import contextlib

import jupyterhub

from jupyterhub_binder import __version__
from jupyterhub_binder.errors import BinderError
from jupyterhub_binder.health import without_detail
from jupyterhub_binder.web.api.common import LINK_KEYS, Handler, read_link
from jupyterhub_binder.web.base import APIHandler
from jupyterhub_binder.web.openapi import description_json
from jupyterhub_binder.web.parse import json_object
from jupyterhub_binder.web.render import render_limits


class Info(Handler):
    """Who asks, what they may do, and what this service offers."""

    async def get(self) -> None:
        """Answer with all that a page or a program needs to begin."""
        services, user = self.services, self.me
        backend = services.backend
        drain = services.command.drain.state
        self.finish_json(
            {
                "version": __version__,
                "user": {"name": user.name, "admin": user.admin, "groups": user.groups},
                "permissions": {"build": user.can_build, "admin": user.admin},
                "limits": render_limits(await services.environments.limits(user)),
                "backend": {
                    "name": backend.name,
                    "description": backend.description,
                    "health": without_detail(await services.health()).get("backend"),
                },
                "providers": [
                    {
                        "prefix": provider.prefix,
                        "name": provider.display_name,
                        "placeholder": provider.placeholder,
                        "default_ref": provider.default_ref,
                    }
                    for provider in services.providers
                ],
                "hub": {"url": services.hub_url, "named_servers": services.named_servers},
                "drain": drain.message if drain else None,
            }
        )


class OpenAPI(APIHandler):
    """The description of this API."""

    async def prepare(self) -> None:
        """Ask the hub nothing: nothing in it is anybody's."""

    def get(self) -> None:
        """Answer with the OpenAPI document."""
        self.set_header("Content-Type", "application/json; charset=UTF-8")
        self.set_header("Cache-Control", "no-cache")
        self.finish(description_json(self.services.base_url))


class Resolve(Handler):
    """What a pasted link would become; nothing is kept or started."""

    async def post(self) -> None:
        """Answer with the repository, its commit, its configuration files and warnings."""
        fields = json_object(self.request, LINK_KEYS)
        link = read_link(fields, self.services.providers)
        preview = await self.services.previews.preview(self.me, link)
        self.finish_json((await self.renderer()).preview(preview))


class Health(APIHandler):
    """Whether the service works, for probes and people; in detail for admins."""

    signed_in_only = False

    async def prepare(self) -> None:
        """Ask the hub only about who sends a token: a probe must work without a hub."""
        if not self._sent_token():
            return
        with contextlib.suppress(BinderError):  # is nobody then, who is answered too
            await super().prepare()

    async def get(self) -> None:
        """Answer 200, or 503 with what is wrong."""
        parts = await self.services.health()
        if self.user is None or not self.user.admin:
            parts = without_detail(parts)
        checks = [
            {"service": name, "ok": wrong is None, "message": wrong}
            for name, wrong in parts.items()
        ]
        ok = all(check["ok"] for check in checks)
        draining = self.services.command.drain.state is not None
        self.finish_json(
            {"ok": ok, "draining": draining, "checks": checks}, status=200 if ok else 503
        )


class Versions(APIHandler):
    """Which versions are running."""

    async def prepare(self) -> None:
        """Ask the hub nothing."""

    def get(self) -> None:
        """Answer with the versions of the service, of JupyterHub's library, and the backend.

        `binderhub` and `builder_info` are what a client of BinderHub looks for.
        """
        builder = self.services.backend.name
        self.finish_json(
            {
                "jupyterhub_binder": __version__,
                "jupyterhub": jupyterhub.__version__,
                "builder": builder,
                "binderhub": f"jupyterhub-binder {__version__}",
                "builder_info": {"name": builder},
            }
        )
