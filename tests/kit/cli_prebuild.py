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
    "token_set": None,
    "report": None,
}

REFUSED = {
    "time": "2026-01-03T00:00:00Z",
    "commit": "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c",
    "number": 2,
    "state": "success",
    "message": "github.com refused the token (401).",
}


class PrebuildRoutes:
    """Remembers one webhook and one schedule."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = {"hooks": [], "schedule": None, "pending": None, "last": None}
        self.tokens: list[str] = []

    def routes(self, api: str) -> list[web.RouteDef]:
        """Return the routes below the API's address."""
        here = api + "/environments/{id}"
        return [
            web.get(here + "/prebuild", self._show),
            web.put(here + "/schedule", self._schedule),
            web.post(here + "/hooks", self._create),
            web.post(here + "/hooks/{hook}/secret", self._replace),
            web.put(here + "/hooks/{hook}/token", self._set_token),
            web.delete(here + "/hooks/{hook}/token", self._forget_token),
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

    async def _set_token(self, request: web.Request) -> web.Response:
        self.tokens.append((await request.json())["token"])
        self.found["hooks"] = [{**HOOK, "token_set": "2026-01-02T00:00:00Z", "report": REFUSED}]
        return web.json_response(self.found)

    async def _forget_token(self, _: web.Request) -> web.Response:
        self.found["hooks"] = [HOOK]
        return web.json_response(self.found)

    async def _delete(self, _: web.Request) -> web.Response:
        self.found["hooks"] = []
        return web.json_response(self.found)
