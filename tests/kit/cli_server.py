"""A small real server that answers as the service does, for the command line's tests.

It holds one person's environments; builds end as their repository's name says.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import web

from tests.kit.cli_prebuild import PrebuildRoutes

TOKEN = "correct-horse"
PREFIX = "/base/services/binder"


def make_build(build_id: str, state: str = "running", **kw: Any) -> dict[str, Any]:
    reason = {"code": "packages_not_found", "message": "There is no package nosuch.", "seq": 3}
    return {
        "id": build_id,
        "state": state,
        "phase": {"built": "built", "failed": "failed"}.get(state, "building"),
        "lines": 3,
        "reason": reason if state == "failed" else None,
        "queue_position": None,
        "step": "",
        "elapsed_seconds": 3,
        "expected_seconds": 10,
        **kw,
    }


class Service:
    """The state of the small server, for a test to prepare and to look at."""

    def __init__(self) -> None:
        self.environments: dict[str, dict[str, Any]] = {}
        self.outcome: dict[str, str] = {}
        self.lines = ["Installing \x1b[32mastral\x1b[0m", " 50 %\r", "\x1b]0;owned\x07done\x1b[2J"]
        self.requests: list[tuple[str, str]] = []
        self.sent: list[dict[str, Any]] = []
        """The bodies that asked for environments and launches."""
        self.rebuilt: list[str] = []
        """The ids of environments that were asked to be built again."""
        self.path_of_links = ""
        self.drop_after: int | None = None
        self.in_between: list[int] = []
        """The statuses that something in between answers next to who asks for events."""
        self.last_event_ids: list[str | None] = []
        self.launch_state = "ready"
        self.preferences: dict[str, dict[str, Any]] = {}
        self.servers: list[dict[str, Any]] = []
        self.past: dict[str, Any] = {}
        """What is answered of histories, packages and receipts, by the last word of the path."""
        self.shares: list[dict[str, str]] = []
        self.featured: dict[str, dict[str, Any]] = {}
        self.prebuild = PrebuildRoutes()
        self.people = 0
        """How many others use each environment."""
        self.spoil = ""
        """What every word of every answer ends with."""
        self.url = ""
        self.ill: dict[str, str] = {}
        """The parts that do not work, and why."""

    def add(self, environment_id: str, name: str, build_id: str | None, state: str) -> None:
        latest = make_build(build_id, state) if build_id else None
        if build_id:
            self.outcome[build_id] = state
        self.environments[environment_id] = {
            "id": environment_id,
            "name": name,
            "label": f"example.org/{name}",
            "repo_url": f"https://example.org/{name}",
            "ref": "main",
            "state": "ready" if state == "built" else state,
            "launched": None,
            "deleted": None,
            "path": "",
            "content": "copy",
            "content_url": "",
            "content_ref": "",
            "directory": name,
            "current": latest if state == "built" else None,
            "latest": latest,
            "links": {"page": f"{PREFIX}/environments/{environment_id}"},
        }

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._authorize])
        api = PREFIX + "/api/v1"
        app.add_routes(
            [
                web.get("/base/hub/api/", self._hub),
                web.get(PREFIX + "/health", self._health),
                web.get(api + "/", self._info),
                web.get(api + "/environments", self._list),
                web.post(api + "/environments", self._create),
                web.post(api + "/resolve", self._resolve),
                web.post(api + "/environments/{id}/builds", self._rebuild),
                web.get(api + "/environments/{id}", self._environment),
                web.patch(api + "/environments/{id}", self._update),
                web.put(api + "/environments/{id}/preferences", self._prefer),
                web.get(api + "/environments/{id}/preferences", self._preferred),
                web.get(api + "/environments/{id}/{what:changes|files}", self._past),
                web.put(api + "/environments/{id}/{what:current}", self._past),
                web.get(api + "/builds/{id}/{what:packages|difference|receipt}", self._past),
                web.post(api + "/{what:receipts}", self._past),
                web.post(api + "/receipts/{what:check}", self._past),
                web.delete(api + "/environments/{id}", self._delete),
                web.post(api + "/environments/{id}/restore", self._restore),
                web.post(api + "/environments/{id}/stop", self._stop),
                web.get(api + "/environments/{id}/shares", self._get_shares),
                web.put(api + "/environments/{id}/shares", self._put_shares),
                web.post(api + "/environments/{id}/copy", self._environment),
                web.post(api + "/environments/{id}/transfer", self._transfer),
                web.delete(api + "/environments/{id}/transfer", self._transfer),
                web.post(api + "/environments/{id}/transfer/accept", self._environment),
                web.get(api + "/transfers", self._offers),
                web.get(api + "/featured", self._get_featured),
                web.get(api + "/admin/featured", self._get_featured),
                web.put(api + "/admin/featured/{id}", self._put_featured),
                web.delete(api + "/admin/featured/{id}", self._end_featured),
                web.get(api + "/servers", self._servers),
                web.post(api + "/environments/{id}/launches", self._launch),
                *self.prebuild.routes(api),
                web.get(api + "/builds/{id}", self._build),
                web.get(api + "/builds/{id}/events", self._events),
                web.post(api + "/builds/{id}/cancel", self._cancel),
                web.get(api + "/launches/{id}/events", self._launch_events),
                web.get(api + "/admin/{what}", self._admin),
            ]
        )
        return app

    @web.middleware
    async def _authorize(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.requests.append((request.method, request.path))
        known = request.headers.get("Authorization") == f"Bearer {TOKEN}"
        known = known or request.path.endswith("/health")
        if not known and "/services/" in request.path:
            return _error(401, "not_signed_in", "Sign in, or send a valid token.")
        answer = await handler(request)
        if self.spoil and isinstance(answer, web.Response) and "json" in answer.content_type:
            assert answer.text is not None
            return web.Response(
                status=answer.status,
                text=json.dumps(_spoilt(json.loads(answer.text), self.spoil)),
                content_type="application/json",
            )
        return answer

    async def _admin(self, request: web.Request) -> web.Response:
        if "." in request.match_info["what"]:
            return web.Response(text=f"name{self.spoil}\n")
        row: dict[str, Any] = dict.fromkeys(("build_seconds", "image_bytes"), 1)
        row |= dict.fromkeys(("name", "pattern", "reason", "actor", "action", "target"), "x")
        row |= {"id": "rrrrrrrrr2", "time": "2026-01-01T00:00:00Z", "detail": {"by": "x"}}
        return web.json_response({"items": [row], "total": 1, "offset": 0, "limit": 50})

    async def _hub(self, request: web.Request) -> web.Response:
        return web.json_response({"version": "6.1.1"})

    async def _health(self, request: web.Request) -> web.Response:
        parts = ("database", "disk", "hub", "token", "backend")
        checks = [
            {"service": part, "ok": part not in self.ill, "message": self.ill.get(part)}
            for part in parts
        ]
        body = {"ok": not self.ill, "draining": False, "checks": checks}
        return web.json_response(body, status=503 if self.ill else 200)

    async def _info(self, request: web.Request) -> web.Response:
        return web.json_response(
            {
                "version": "0.1.0",
                "user": {"name": "ada"},
                "permissions": {"build": True, "admin": False},
                "backend": {"name": "venv", "health": None},
            }
        )

    async def _list(self, request: web.Request) -> web.Response:
        search, deleted = request.query.get("search", ""), request.query.get("deleted") == "1"
        there = [e for e in self.environments.values() if bool(e["deleted"]) is deleted]
        items = [e for e in there if search in e["name"] or search in e["label"]]
        offset, limit = int(request.query.get("offset", 0)), int(request.query.get("limit", 50))
        page = {"total": len(items), "offset": offset, "limit": limit}
        return web.json_response({"items": items[offset : offset + limit], **page})

    async def _create(self, request: web.Request) -> web.Response:
        self.sent.append(await request.json())
        url = self.sent[-1]["url"]
        if " " in url:
            return _error(400, "not_understood", "That is no repository.")
        repository = url.rpartition("/")[2]
        build_id = f"bbbb{len(self.environments):06}".replace("0", "2").replace("1", "3")
        state = "built" if repository == "shared" else "building"
        self.add("eeeeeeeee2", self.sent[-1].get("name", repository), build_id, state)
        ends = {"broken": "failed", "stopped": "cancelled"}
        self.outcome[build_id] = ends.get(repository, "built")
        return web.json_response(self.environments["eeeeeeeee2"], status=201)

    async def _resolve(self, request: web.Request) -> web.Response:
        url = (await request.json())["url"]
        if " " in url:
            return _error(400, "not_understood", "That is no repository.")
        kept = [e for e in self.environments.values() if e["repo_url"] == url and not e["deleted"]]
        named = {"id": kept[0]["id"], "name": kept[0]["name"]} if kept else None
        path = self.path_of_links
        return web.json_response({"name": url.rpartition("/")[2], "kept": named, "path": path})

    async def _rebuild(self, request: web.Request) -> web.Response:
        self.rebuilt.append(request.match_info["id"])
        return self._answer(request)

    async def _environment(self, request: web.Request) -> web.Response:
        return self._answer(request)

    def _answer(
        self, request: web.Request, *, gone: bool = False, changes: Any = None
    ) -> web.Response:
        found = self.environments.get(request.match_info["id"])
        if not found or bool(found["deleted"]) is not gone:
            return _error(404, "not_found", "No such thing.")
        found |= changes or {}
        return web.json_response(found)

    async def _prefer(self, request: web.Request) -> web.Response:
        self.preferences[request.match_info["id"]] = await request.json()
        return await self._preferred(request)

    async def _preferred(self, request: web.Request) -> web.Response:
        named = (("JupyterLab", ""), ("RStudio", "/rstudio"), ("VS Code", "/vscode"))
        there = [{"name": name, "path": path} for name, path in named]
        known = self.preferences.get(request.match_info["id"], {})
        return web.json_response({"opens": known.get("opens", ""), "applications": there})

    async def _past(self, request: web.Request) -> web.Response:
        if request.method != "GET":
            self.sent.append(await request.json())
        self.sent.extend({k: v} for k, v in request.query.items() if k == "number")
        answer = self.past[request.match_info["what"]]
        page = {"items": answer, "total": len(answer), "offset": 0, "limit": 50}
        return web.json_response(page if isinstance(answer, list) else answer)

    async def _update(self, request: web.Request) -> web.Response:
        return self._answer(request, changes=await request.json())

    async def _delete(self, request: web.Request) -> web.Response:
        return self._answer(request, changes={"deleted": "2026-01-01T00:00:00Z"})

    async def _restore(self, request: web.Request) -> web.Response:
        return self._answer(request, gone=True, changes={"deleted": None})

    async def _get_featured(self, request: web.Request) -> web.Response:
        return web.json_response({"items": list(self.featured.values())})

    async def _put_featured(self, request: web.Request) -> web.Response:
        of = self.environments[request.match_info["id"]]
        self.featured[of["id"]] = {"environment": of, **await request.json()}
        return web.json_response(self.featured[of["id"]])

    async def _end_featured(self, request: web.Request) -> web.Response:
        return web.json_response(self.featured.pop(request.match_info["id"]))

    async def _get_shares(self, request: web.Request) -> web.Response:
        launched = "2026-01-01T00:00:00Z" if self.people else None
        return web.json_response(
            {"shares": self.shares, "people": self.people, "launched": launched}
        )

    async def _put_shares(self, request: web.Request) -> web.Response:
        given = {"since": "2026-01-01T00:00:00Z", "by": "ada"}
        self.shares = [{**each, **given} for each in (await request.json())["shares"]]
        return await self._get_shares(request)

    async def _transfer(self, request: web.Request) -> web.Response:
        if request.method == "POST":
            self.sent.append(await request.json())
        return web.json_response(self._offer(request.match_info["id"]))

    async def _offers(self, request: web.Request) -> web.Response:
        return web.json_response({"items": [self._offer(id_) for id_ in self.environments]})

    def _offer(self, environment_id: str) -> dict[str, Any]:
        found = self.environments[environment_id]
        return {
            "environment": {"id": environment_id, "name": found["name"]},
            "label": found["label"],
            "owner": "grace",
            "to": "ada",
            "expires": "2026-01-08T00:00:00Z",
        }

    async def _servers(self, request: web.Request) -> web.Response:
        return web.json_response({"items": self.servers})

    async def _stop(self, request: web.Request) -> web.Response:
        ended, self.servers = self.servers, []
        return web.json_response({"items": ended})

    def add_server(self, environment_id: str, name: str) -> None:
        environment = {"id": environment_id, "name": self.environments[environment_id]["name"]}
        url = f"/base/user/ada/{name}/"
        self.servers.append({"name": name, "ready": True, "url": url, "environment": environment})

    async def _build(self, request: web.Request) -> web.Response:
        build_id = request.match_info["id"]
        if build_id not in self.outcome:
            return _error(404, "not_found", "No such build.")
        return web.json_response(make_build(build_id, self.outcome[build_id]))

    async def _cancel(self, request: web.Request) -> web.Response:
        return web.json_response(make_build(request.match_info["id"], "cancelled"))

    async def _launch(self, request: web.Request) -> web.Response:
        self.sent.append(await request.json())
        return web.json_response(self._launch_json("starting"), status=201)

    def _launch_json(self, state: str) -> dict[str, Any]:
        ready = state == "ready"
        return {
            "id": "llllllllll",
            "state": state,
            "progress": 100 if ready else 10,
            "message": "Starting",
            "url": "/base/user/ada/lab/tree/x.ipynb" if ready else None,
            "reason": {"code": "x", "message": "The server fell over."} if not ready else None,
        }

    async def _launch_events(self, request: web.Request) -> web.StreamResponse:
        response = await _stream(request)
        await response.write(_sse(self._launch_json("starting"), event="launch"))
        await response.write(_sse(self._launch_json(self.launch_state), event="end"))
        return response

    async def _events(self, request: web.Request) -> web.StreamResponse:
        build_id = request.match_info["id"]
        last = request.headers.get("Last-Event-ID")
        self.last_event_ids.append(last)
        if self.in_between:
            return web.Response(status=self.in_between.pop(0), text="<h1>Refused</h1>")
        response = await _stream(request)
        await response.write(b": hello\n\n" + _sse(make_build(build_id), event="build"))
        drop, self.drop_after = self.drop_after, None
        for seq, line in enumerate(self.lines, 1):
            if seq <= int(last or request.query.get("after", 0)):
                continue
            data = {"seq": seq, "time": "2026-01-01T00:00:00Z", "phase": "building"}
            await response.write(_sse(data | {"message": line}, event_id=seq))
            if seq == drop:
                assert request.transport is not None
                request.transport.abort()
                return response
        await response.write(_sse(make_build(build_id, self.outcome[build_id]), event="end"))
        return response


_KEPT = frozenset({"id", "state", "phase", "page", "time", "url", "version", "deleted"})


def _spoilt(value: Any, spoil: str, name: str = "") -> Any:
    """Return JSON whose words end with something else; what a program reads stays."""
    if isinstance(value, dict):
        return {key: _spoilt(each, spoil, key) for key, each in value.items()}
    if isinstance(value, list):
        return [_spoilt(each, spoil, name) for each in value]
    return f"{value}{spoil}" if isinstance(value, str) and name not in _KEPT else value


def _error(status: int, code: str, message: str) -> web.Response:
    error = {"code": code, "message": message, "detail": {}}
    return web.json_response({"error": error}, status=status)


async def _stream(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    return response


def _sse(data: Any, *, event: str = "", event_id: int | None = None) -> bytes:
    head = f"event: {event}\n" if event else ""
    head += f"id: {event_id}\n" if event_id else ""
    return f"{head}data: {json.dumps(data)}\n\n".encode()


@contextmanager
def serving(service: Service) -> Iterator[str]:
    """Serve on a free port from a thread of its own; give the hub's URL."""
    loop = asyncio.new_event_loop()
    runner = web.AppRunner(service.application(), shutdown_timeout=1)
    loop.run_until_complete(runner.setup())
    site = web.TCPSite(runner, "127.0.0.1", 0)
    loop.run_until_complete(site.start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/base/"
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
