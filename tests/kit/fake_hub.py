"""A hub as far as a service sees it: says who a token is, logs browsers in, starts servers.

For tests of the service alone, quick to start. The tests of the whole job use a real hub.
"""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, HTTPError, RequestHandler

ACCESS = "access:services!service=binder"
BUILD = "custom:binder:build"
ADMIN = "custom:binder:admin"

OWN_TOKEN = "the-service's-own"

PEOPLE: dict[str, dict[str, Any]] = {
    "ada": {"scopes": [ACCESS, BUILD]},
    "bob": {"scopes": [ACCESS, BUILD]},
    "eve": {"scopes": [ACCESS]},
    "root": {"scopes": [ACCESS, BUILD, ADMIN]},
    # Who is in a group.
    "grace": {"scopes": [ACCESS, BUILD], "groups": ["astronomy"]},
    "stranger": {"scopes": ["read:users:name!user=stranger"]},
    # Names that a hub may let somebody take.
    "*": {"scopes": [ACCESS, BUILD]},
    "service:cron": {"scopes": [ACCESS, BUILD]},
    "prometheus": {"scopes": [ACCESS, "read:metrics"], "kind": "service"},
    "cron": {"scopes": [ACCESS, BUILD], "kind": "service"},
}
"""By name; the token of each is the name and ``-token``."""


class FakeHub:
    """What the tests may look at and change."""

    def __init__(self) -> None:
        self.url = ""
        self.service_origin = ""
        """Where a browser is sent back to; a real hub has it in the service's own URL."""
        self.server_origin = ""
        """What a hub with subdomains puts before the paths of servers."""
        self.visitor = "ada"
        """Who the next browser that comes to log in turns out to be."""
        self.down = False
        self.profiles: list[dict[str, Any]] = []
        """What its spawner offers everybody."""
        self.service_token = OWN_TOKEN
        """The service's token, as the hub knows it."""
        self.service_may_stop = True
        """Whether its role has the scope delete:servers."""
        self.asked: list[str] = []
        self.servers: dict[str, dict[str, Any]] = {name: {} for name in PEOPLE}

    @property
    def api_url(self) -> str:
        return f"{self.url}/hub/api"


class Base(RequestHandler):
    @property
    def hub(self) -> FakeHub:
        return self.settings["hub"]

    def prepare(self) -> None:
        self.hub.asked.append(f"{self.request.method} {self.request.path}")
        if self.hub.down:
            self.send_error(503)

    def person(self) -> str | None:
        token = self.request.headers.get("Authorization", "").partition(" ")[2]
        name = token.removesuffix("-token")
        return name if name in PEOPLE and token == f"{name}-token" else None


class WhoAmI(Base):
    def get(self) -> None:
        if self.request.headers.get("Authorization") == f"Bearer {self.hub.service_token}":
            self.finish({"kind": "service", "name": "binder", "admin": False})
            return
        name = self.person()
        if name is None:
            self.set_status(403)
            self.finish({"status": 403, "message": "Forbidden"})
            return
        self.finish({"kind": "user", "name": name, "admin": False, "groups": [], **PEOPLE[name]})


class Root(Base):
    def get(self) -> None:
        self.finish({"version": "6.1.1"})


class Authorize(Base):
    def get(self) -> None:
        path = self.get_argument("redirect_uri")
        query = {"code": self.hub.visitor, "state": self.get_argument("state")}
        self.redirect(f"{self.hub.service_origin}{path}?{urlencode(query)}")


class Token(Base):
    def post(self) -> None:
        if self.get_argument("client_secret") != self.hub.service_token:
            self.set_status(401)
            self.finish({"error": "invalid_client"})
            return
        self.finish({"access_token": f"{self.get_argument('code')}-token", "token_type": "Bearer"})


class OneUser(Base):
    def get(self, name: str) -> None:
        if self.request.headers.get("Authorization") == f"Bearer {self.hub.service_token}":
            if name not in PEOPLE:
                raise HTTPError(404)
            self.finish({"kind": "user", "name": name, "servers": self.hub.servers[name]})
            return
        if self.person() != name:
            self.send_error(403)
            return
        self.finish({"kind": "user", "name": name, "servers": self.hub.servers[name]})


class AllUsers(Base):
    def get(self) -> None:
        if self.request.headers.get("Authorization") != f"Bearer {self.hub.service_token}":
            self.send_error(403)
            return
        users = [{"name": name, "servers": each} for name, each in self.hub.servers.items()]
        self.finish({"items": users, "_pagination": {"next": None}})


class HubProfiles(Base):
    def get(self, name: str) -> None:
        if self.person() != name:
            self.send_error(403)
            return
        self.finish({"profiles": self.hub.profiles})


class OneServer(Base):
    def post(self, name: str, server_name: str = "") -> None:
        body = json.loads(self.request.body or b"{}")
        options = body.get("user_options", body)
        self.hub.servers[name][server_name] = {
            "name": server_name,
            "ready": True,
            "pending": None,
            "url": f"{self.hub.server_origin}/user/{name}/{server_name}",
            "started": "2026-03-01T10:00:00.000000Z",
            "user_options": options,
        }
        self.set_status(201)

    def delete(self, name: str, server_name: str = "") -> None:
        token = self.request.headers.get("Authorization", "")
        if token == f"Bearer {self.hub.service_token}" and not self.hub.service_may_stop:
            self.send_error(403)
            return
        self.hub.servers[name].pop(server_name, None)
        self.set_status(204)


class Progress(Base):
    def get(self, name: str, server_name: str = "") -> None:
        self.set_header("Content-Type", "text/event-stream")
        url = f"/user/{name}/{server_name}"
        ready = {"progress": 100, "message": "Server ready", "ready": True, "url": url}
        self.finish(f"data: {json.dumps(ready)}\n\n")


@asynccontextmanager
async def running_hub():
    """Run a hub on a free port of 127.0.0.1."""
    hub = FakeHub()
    api = "/hub/api"
    application = Application(
        [
            (f"{api}/?", Root),
            (f"{api}/user", WhoAmI),
            (f"{api}/oauth2/authorize", Authorize),
            (f"{api}/oauth2/token", Token),
            (f"{api}/users", AllUsers),
            (f"{api}/users/([^/]+)", OneUser),
            (f"{api}/users/([^/]+)/binder-profiles", HubProfiles),
            (f"{api}/users/([^/]+)/server", OneServer),
            (f"{api}/users/([^/]+)/servers/([^/]+)", OneServer),
            (f"{api}/users/([^/]+)/server/progress", Progress),
            (f"{api}/users/([^/]+)/servers/([^/]+)/progress", Progress),
        ],
        hub=hub,
        log_function=lambda _: None,
    )
    server = HTTPServer(application)
    sockets = bind_sockets(0, "127.0.0.1")
    server.add_sockets(sockets)
    hub.url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
    try:
        yield hub
    finally:
        server.stop()
        await server.close_all_connections()
