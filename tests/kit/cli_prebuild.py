"""The webhooks and the schedule of the commands' test server."""

from __future__ import annotations

from typing import Any

from aiohttp import web

HOOK = {
    "id": "4f1c",
    "url": "/services/binder/hooks/4f1c",
    "host": "github",
    "created": "2026-01-01T00:00:00Z",
    "deliveries": [],
}


class PrebuildRoutes:
    """Remembers one webhook and one schedule."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = {"hooks": [], "schedule": None, "pending": None, "last": None}

    def routes(self, api: str) -> list[web.RouteDef]:
        """Return the routes below the API's address."""
        here = api + "/environments/{id}"
        return [
            web.get(here + "/prebuild", self._show),
            web.put(here + "/schedule", self._schedule),
            web.post(here + "/hooks", self._create),
            web.post(here + "/hooks/{hook}/secret", self._replace),
            web.delete(here + "/hooks/{hook}", self._delete),
        ]

    async def _show(self, _: web.Request) -> web.Response:
        return web.json_response(self.found)

    async def _schedule(self, request: web.Request) -> web.Response:
        body = await request.json()
        words = {"words": "Every Monday at 04:30.", "next": ["later"]}
        self.found["schedule"] = {**body, **words} if body["cron"] else None
        return web.json_response(self.found)

    async def _create(self, request: web.Request) -> web.Response:
        assert (await request.json()) == {"host": "github"}
        self.found["hooks"] = [HOOK]
        return web.json_response({**HOOK, "secret": "whsec_x"})

    async def _replace(self, _: web.Request) -> web.Response:
        return web.json_response({**HOOK, "secret": "whsec_y"})

    async def _delete(self, _: web.Request) -> web.Response:
        self.found["hooks"] = []
        return web.json_response(self.found)
