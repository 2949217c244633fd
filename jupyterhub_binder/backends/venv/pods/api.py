"""A client for the few routes of Kubernetes' API that pods for builds need.

Inside a cluster, address, certificate and token are those of the service's own account.
"""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from jupyterhub_binder.errors import BinderError, ConfigurationError
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.utils.http import why_unanswered

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where Kubernetes puts the files of a pod's service account."""

_SECONDS = 30
_SILENCE_SECONDS = 300
_LONGEST_EVENT = 8 * 2**20
_CHUNK = 65_536

Pod = dict[str, Any]


class KubernetesError(BinderError):
    """Kubernetes refused a request or did not answer; not for people."""

    code = "kubernetes"

    def __init__(self, text: str, *, status: int = 0) -> None:
        super().__init__(Message.verbatim(text))
        self.http_status = status
        """0 if there was no answer."""


def find_api() -> str:
    """Return the API's URL as Kubernetes tells every pod. Raises ConfigurationError."""
    host, port = (os.environ.get(f"KUBERNETES_SERVICE_{name}", "") for name in ("HOST", "PORT"))
    if not host:
        raise ConfigurationError(
            "VenvBackend.where is 'kubernetes', but the service does not run in a Kubernetes pod. "
            "Install it with the chart, or set BuildPods.api_url and BuildPods.namespace."
        )
    return f"https://{f'[{host}]' if ':' in host else host}:{port or 443}"


def find_namespace(account: Path = ACCOUNT) -> str:
    """Return the namespace of this pod, or an empty text."""
    try:
        return (account / "namespace").read_text(encoding="utf-8").strip()
    except OSError:
        return ""


class KubernetesApi:
    """Pods of one namespace. Methods raise KubernetesError."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        namespace: str,
        *,
        account: Path = ACCOUNT,
    ) -> None:
        self._session = session
        self._pods = f"{url.rstrip('/')}/api/v1/namespaces/{namespace}/pods"
        self._account = account
        self._ssl: ssl.SSLContext | bool = True
        if (authority := account / "ca.crt").is_file():
            self._ssl = ssl.create_default_context(cafile=str(authority))

    async def create_pod(self, manifest: Mapping[str, Any]) -> None:
        """Create a pod."""
        async with self._request("POST", self._pods, json=manifest):
            pass

    async def list_pods(self, labels: Mapping[str, str]) -> list[Pod]:
        """Return the pods with these labels."""
        selector = ",".join(f"{name}={value}" for name, value in labels.items())
        async with self._request("GET", self._pods, params={"labelSelector": selector}) as answer:
            return (await answer.json())["items"]

    async def fetch_pod(self, name: str) -> Pod | None:
        """Return a pod, or None if there is none."""
        try:
            async with self._request("GET", f"{self._pods}/{name}") as answer:
                return await answer.json()
        except KubernetesError as error:
            if error.http_status == 404:
                return None
            raise

    async def delete_pod(self, name: str, *, grace_seconds: int) -> None:
        """Delete a pod. Idempotent."""
        try:
            async with self._request(
                "DELETE", f"{self._pods}/{name}", json={"gracePeriodSeconds": grace_seconds}
            ):
                pass
        except KubernetesError as error:
            if error.http_status != 404:
                raise

    async def watch_pod(self, name: str) -> AsyncGenerator[Pod | None, None]:
        """Yield a pod now and after each change; None when it is gone. Ends when the watch does."""
        pod = await self.fetch_pod(name)
        yield pod
        if pod is None:
            return
        params = {
            "watch": "1",
            "fieldSelector": f"metadata.name={name}",
            "resourceVersion": pod["metadata"].get("resourceVersion", ""),
        }
        async with self._request("GET", self._pods, params=params, streams=True) as answer:
            async for line in _lines(answer):
                event = json.loads(line)
                if event.get("type") == "ERROR":  # too old a version: the caller looks again
                    return
                if event["object"]["metadata"]["name"] == name:
                    yield None if event["type"] == "DELETED" else event["object"]

    async def read_log(self, name: str, *, since: str = "") -> AsyncGenerator[bytes, None]:
        """Yield the log as it grows: lines that begin with their time, from a time on."""
        params = {"follow": "true", "timestamps": "true"} | ({"sinceTime": since} if since else {})
        url = f"{self._pods}/{name}/log"
        async with self._request("GET", url, params=params, streams=True) as answer:
            async for data in _chunks(answer):
                yield data

    @asynccontextmanager
    async def _request(
        self, method: str, url: str, *, streams: bool = False, **options: Any
    ) -> AsyncGenerator[aiohttp.ClientResponse, None]:
        limits = aiohttp.ClientTimeout(total=_SECONDS)
        if streams:
            limits = aiohttp.ClientTimeout(total=None, connect=_SECONDS, sock_read=_SILENCE_SECONDS)
        try:
            async with self._session.request(
                method,
                url,
                headers=self._credentials(),
                ssl=self._ssl,
                timeout=limits,
                allow_redirects=False,
                **options,
            ) as answer:
                if answer.status >= 300:
                    raise KubernetesError(await _why(answer), status=answer.status)
                yield answer
        except (aiohttp.ClientError, TimeoutError) as error:
            raise KubernetesError(why_unanswered(error)) from error
        except ValueError as error:
            raise KubernetesError(f"an answer is not valid: {error}") from error

    def _credentials(self) -> dict[str, str]:
        # Kubernetes replaces the token every hour.
        try:
            token = (self._account / "token").read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return {}
        return {"Authorization": f"Bearer {token}"}


async def _why(answer: aiohttp.ClientResponse) -> str:
    text = (await answer.content.read(_CHUNK)).decode("utf-8", "replace")
    try:
        said = json.loads(text)["message"]
    except (ValueError, KeyError, TypeError):
        said = text.strip()
    return f"status {answer.status}: {str(said)[:500]}"


async def _chunks(answer: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
    while data := await answer.content.readany():
        yield data


async def _lines(answer: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
    """Yield lines of any length up to a limit; aiohttp's own limit is smaller than a pod."""
    rest = b""
    async for data in _chunks(answer):
        *whole, rest = (rest + data).split(b"\n")
        for line in whole:
            if line.strip():
                yield line
        if len(rest) > _LONGEST_EVENT:
            raise ValueError("an event is too long")
