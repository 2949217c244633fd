"""Does what a person's browser does at a hub."""

from __future__ import annotations

import json
import uuid
from typing import Any
from urllib.parse import quote

import aiohttp
from yarl import URL

from jupyterhub_binder.demo.state import DemoError
from jupyterhub_binder.utils.http import open_session

CELL_SECONDS = 120


class Person:
    """A logged-in person, as an async context manager."""

    def __init__(self, hub_url: str, name: str, password: str) -> None:
        self.name = name
        self._hub = URL(hub_url)
        self._password = password
        self._token = ""
        self._token_id = ""
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Person:
        """Log in. Raises DemoError."""
        jar = aiohttp.CookieJar(unsafe=True)  # keeps the cookies of IP addresses, too
        timeout = aiohttp.ClientTimeout(total=120)
        self._session = open_session(cookie_jar=jar, timeout=timeout)
        try:
            await self._log_in()
        except BaseException:
            await self._session.close()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    @property
    def _browser(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("use the person with `async with`")
        return self._session

    async def _log_in(self) -> None:
        login = self._hub / "hub/login"
        async with self._browser.get(login) as response:
            response.raise_for_status()
        form = {"username": self.name, "password": self._password, "_xsrf": self._xsrf()}
        where = login.with_query(next=str((self._hub / "hub/token").path))
        async with self._browser.post(where, data=form) as response:
            if response.status != 200 or response.url.path.endswith("/login"):
                raise DemoError(f"{self.name} can't log in (HTTP status {response.status}).")

    def _xsrf(self) -> str:
        cookie = self._browser.cookie_jar.filter_cookies(self._hub / "hub/").get("_xsrf")
        return cookie.value if cookie else ""

    async def make_token(self, note: str, *, expires_seconds: int = 7200) -> str:
        """Make a token, as the hub's page does."""
        fields = {"note": note, "expires_in": expires_seconds}
        made = await self._hub_api("POST", f"users/{quote(self.name)}/tokens", fields)
        self._token, self._token_id = made["token"], made["id"]
        return self._token

    async def revoke_token(self) -> None:
        """Revoke the token."""
        await self._hub_api("DELETE", f"users/{quote(self.name)}/tokens/{self._token_id}")

    async def _hub_api(self, method: str, path: str, fields: Any = None) -> Any:
        url = self._hub / "hub/api" / path
        headers = {"X-XSRFToken": self._xsrf(), "Referer": str(self._hub / "hub/token")}
        async with self._browser.request(method, url, json=fields, headers=headers) as response:
            return await _read(response)

    # --- Servers -----------------------------------------------------------------------------

    async def server_is_running(self) -> bool:
        """Say whether the default server exists, even if stopping."""
        user = await self._hub_api("GET", f"users/{quote(self.name)}")
        server = (user.get("servers") or {}).get("") or {}
        return bool(user.get("server") or user.get("pending") or server.get("pending"))

    async def stop_server(self) -> None:
        """Ask the hub to stop it."""
        await self._hub_api("DELETE", f"users/{quote(self.name)}/server")

    async def open_lab(self) -> int:
        """Open JupyterLab of the default server; return the HTTP status."""
        async with self._browser.get(self._hub / f"user/{quote(self.name)}/lab") as response:
            await response.read()
            return response.status

    async def _server(self, method: str, path: str, fields: Any = None) -> Any:
        url = self._hub / f"user/{quote(self.name)}/api" / path
        headers = {"Authorization": f"token {self._token}"}
        async with self._browser.request(method, url, json=fields, headers=headers) as response:
            return await _read(response)

    async def read_file(self, path: str) -> str:
        """Read a file in the home."""
        answer = await self._server("GET", f"contents/{path}")
        return answer["content"]

    async def write_file(self, path: str, text: str) -> None:
        """Write a file in the home."""
        fields = {"type": "file", "format": "text", "content": text}
        await self._server("PUT", f"contents/{path}", fields)

    async def run_cell(self, code: str, *, folder: str = "") -> str:
        """Run code in a new kernel; return its output. Raises DemoError."""
        kernel = await self._server("POST", "kernels", {"name": "python3", "path": f"{folder}/x"})
        try:
            return await self._execute(kernel["id"], code)
        finally:
            await self._server("DELETE", f"kernels/{kernel['id']}")

    async def _execute(self, kernel_id: str, code: str) -> str:
        session = uuid.uuid4().hex
        url = self._hub / f"user/{quote(self.name)}/api/kernels/{kernel_id}/channels"
        headers = {"Authorization": f"token {self._token}"}
        async with self._browser.ws_connect(
            url.with_query(session_id=session), headers=headers
        ) as socket:
            request = _execute_request(code, session)
            await socket.send_str(json.dumps(request))
            return await _collect(socket, request["header"]["msg_id"])


async def _read(response: aiohttp.ClientResponse) -> Any:
    text = await response.text(errors="replace")
    if response.status >= 400:
        what = f"{response.method} {response.url.path} returned {response.status}: {text[:300]}"
        raise DemoError(what)
    return json.loads(text) if text else None


def _execute_request(code: str, session: str) -> dict[str, Any]:
    kind = "execute_request"
    header = {"msg_id": uuid.uuid4().hex, "msg_type": kind, "session": session}
    content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False}
    return {
        "channel": "shell",
        "header": header | {"username": "", "version": "5.3"},
        "parent_header": {},
        "metadata": {},
        "content": content,
        "buffers": [],
    }


async def _collect(socket: aiohttp.ClientWebSocketResponse, request_id: str) -> str:
    """Collect output until the kernel is idle."""
    printed: list[str] = []
    while True:
        message = await socket.receive(timeout=CELL_SECONDS)
        if message.type is not aiohttp.WSMsgType.TEXT:
            raise DemoError(f"The kernel's connection ended: {message.type.name}")
        answer = json.loads(message.data)
        if answer.get("parent_header", {}).get("msg_id") != request_id:
            continue
        content, kind = answer["content"], answer["msg_type"]
        if kind == "stream":
            printed.append(content["text"])
        elif kind == "error":
            raise DemoError(f"The cell failed: {content['ename']}: {content['evalue']}")
        elif kind == "status" and content["execution_state"] == "idle":
            return "".join(printed)
