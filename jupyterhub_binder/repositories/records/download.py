"""Requests to archives, with limits on hosts, sizes, times and retries.

`Git`'s host rules apply to every redirect.
"""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import ipaddress
import json
import re
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from traitlets import Float, Integer
from traitlets.config import LoggingConfigurable
from yarl import URL

from jupyterhub_binder.errors import (
    BinderError,
    NotAllowed,
    NotUnderstood,
    RateLimited,
    RepositoryNotFound,
    UpstreamUnavailable,
)
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.repositories.git import Git
from jupyterhub_binder.repositories.records.checksum import Checksum, Sink
from jupyterhub_binder.repositories.urls import Remote, host_matches, parse_remote
from jupyterhub_binder.utils.http import USER_AGENT, open_session
from jupyterhub_binder.utils.retry import Backoff
from jupyterhub_binder.utils.units import format_bytes

_CHUNK_BYTES = 1 << 20
_MAX_REDIRECTS = 8
_BUSY = frozenset({429, 503})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class Site:
    """An archive's hosts and their secrets."""

    hosts: tuple[str, ...] = ()
    """Host patterns, ``*.example.org``; empty for every public host."""
    secrets: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)
    """Token headers, by the only host that gets them."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A response: its URL, and a file or part."""

    url: URL
    body: bytes
    partial: bool = False
    total_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """What a host said, whatever it is."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    """At most as much as was asked for."""


class Busy(RateLimited):
    """A host got too many requests."""

    code = "upstream_busy"


def _no_line(_: str) -> None:
    pass


class Downloads(LoggingConfigurable):
    """Asks archives for metadata and files; shared by the providers and the fetcher."""

    answer_seconds = Float(
        30,
        min=0.1,
        help="""
        Time limit for an archive to answer a request about a record, in seconds. Default: 30.
        """,
    ).tag(config=True)
    connect_seconds = Float(
        10, min=0.1, help="Time limit for connecting to an archive, in seconds. Default: 10."
    ).tag(config=True)
    silence_seconds = Float(
        60,
        min=0.1,
        help="""
        How long an archive may send nothing in the middle of a file, in seconds. Default: 60.
        """,
    ).tag(config=True)
    longest_wait_seconds = Float(
        30,
        min=0,
        help="""
        Longest wait that a busy archive (429, 503) may ask for before a retry, in seconds. If it
        asks for more, the person gets an error instead. Default: 30.
        """,
    ).tag(config=True)
    attempts = Integer(
        3,
        min=1,
        help="""
        How often a request, or a file whose connection broke, is tried in total. Default: 3.
        """,
    ).tag(config=True)
    max_answer_bytes = Integer(
        32 * 2**20,
        min=2**10,
        help="Maximum size of an answer about a record, in bytes. Default: 32 MiB.",
    ).tag(config=True)
    concurrency = Integer(
        8,
        min=1,
        help="""
        Maximum number of requests to archives at the same time, and the same number of files.
        Others wait. Default: 8.
        """,
    ).tag(config=True)

    def __init__(self, *, git: Git, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.git = git
        self._session: aiohttp.ClientSession | None = None

    @cached_property
    def _slots(self) -> asyncio.Semaphore:
        return asyncio.Semaphore(self.concurrency)

    @cached_property
    def _file_slots(self) -> asyncio.Semaphore:
        """Only for files, so that these don't block requests."""
        return asyncio.Semaphore(self.concurrency)

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    # --- What may be asked ----------------------------------------------------------------------

    def check(self, url: str | URL, site: Site) -> URL:
        """Check a host; make http https. Raises NotUnderstood or NotAllowed."""
        url = _read_url(url)
        if url.scheme == "http" and "http" not in self.git.protocols:
            url = url.with_scheme("https").with_port(None if url.port == 80 else url.port)
        if url.scheme not in ("http", "https"):
            raise NotAllowed(
                "This hub does not fetch records over %(scheme)s://.", scheme=url.scheme
            )
        remote = _remote(url)
        if site.hosts and not host_matches(remote, site.hosts):
            raise NotAllowed("This hub does not fetch records from %(host)s.", host=remote.host)
        return url

    # --- Asking -----------------------------------------------------------------------------

    async def fetch_json(self, url: str | URL, site: Site, *, what: str, **query: Any) -> Any:
        """Request JSON. `what` names the subject for people.

        Raises RepositoryNotFound, NotAllowed or UpstreamUnavailable.
        """
        asked = _read_url(url).update_query(query) if query else url
        answer = await self._fetch(asked, site, what, _no_line, {"Accept": "application/json"})
        return await _json_of(answer, what)

    async def post_json(
        self, url: str | URL, site: Site, body: Any, *, what: str, media_type: str
    ) -> Any:
        """Send JSON and return the answer's. Redirects are not followed. Raises as `fetch_json`."""
        headers = {"Accept": media_type, "Content-Type": media_type}
        data = json.dumps(body).encode()
        answer = await self._fetch(url, site, what, _no_line, headers, body=data)
        return await _json_of(answer, what)

    async def post_secret(
        self, url: str, body: Any, headers: Mapping[str, str], *, max_bytes: int
    ) -> Reply:
        """Send JSON once, with a secret in `headers`, and return any reply.

        Only over https, and only to this address: redirects are not followed. Raises NotAllowed,
        NotUnderstood, RepositoryNotFound or UpstreamUnavailable.
        """
        asked = _read_url(url)
        if asked.scheme != "https":
            raise NotAllowed("A token is sent only over https.")
        data = json.dumps(body).encode()
        headers = {"Content-Type": "application/json", **headers}
        async with contextlib.AsyncExitStack() as stack:
            try:
                response = await self._request(stack, asked, Site(), headers, "POST", data)
                async with asyncio.timeout(self.answer_seconds):
                    said = await _read_start(response, max_bytes)
            except TimeoutError:
                raise self._too_slow(asked.host or "") from None
            except (_Broken, aiohttp.ClientError):
                raise UpstreamUnavailable(
                    "The connection to %(host)s broke. Try again later.", host=asked.host
                ) from None
            return Reply(response.status, response.headers.copy(), said)

    async def fetch_headers(
        self,
        url: str | URL,
        site: Site,
        *,
        what: str,
        headers: Mapping[str, str],
        passes: Collection[int] = (),
    ) -> tuple[int, Mapping[str, str]]:
        """Ask with HEAD; return the status, of an error only if it passes, and the headers.

        Redirects are not followed, because `headers` may have a secret. Raises as `fetch_json`.
        """
        opened = self._opened(
            url, site, what, _no_line, headers, follow=False, method="HEAD", passes=passes
        )
        try:
            async with opened as response:
                return response.status, response.headers.copy()
        except _Broken as error:
            raise UpstreamUnavailable(
                "The connection to %(host)s broke. Try again later.", host=error.host
            ) from None

    async def fetch_landing(self, url: str | URL, site: Site, *, what: str) -> URL:
        """Follow redirects; return the final URL. Raises as `fetch_json`."""
        return (await self._fetch(url, site, what, _no_line, {}, max_bytes=0)).url

    async def fetch_target(self, url: str | URL, site: Site, *, what: str) -> URL:
        """Return a redirect's target unrequested. Raises as `fetch_json`."""
        async with self._opened(url, site, what, _no_line, {}, follow=False) as response:
            if response.status not in _REDIRECTS or "Location" not in response.headers:
                raise UpstreamUnavailable(
                    "%(host)s does not say where %(what)s is.", host=response.url.host, what=what
                )
            return _next_address(response, 1)

    async def fetch_part(
        self, url: str | URL, site: Site, *, what: str, start: int | None, length: int
    ) -> Answer | None:
        """Fetch a part; without `start`, the end. None if unsupported."""
        asked = f"bytes=-{length}" if start is None else f"bytes={start}-{start + length - 1}"
        answer = await self._fetch(
            url, site, what, _no_line, {"Range": asked}, max_bytes=length, partial=True
        )
        return answer if answer.partial else None

    async def fetch_file(
        self,
        url: str | URL,
        site: Site,
        into: Path,
        *,
        what: str,
        max_bytes: int,
        size_bytes: int | None = None,
        checksum: Checksum | None = None,
        on_line: Callable[[str], None] = _no_line,
    ) -> int:
        """Fetch a file; return its size. Raises FetchFailed, or as `fetch_json`."""
        for attempt in range(1, self.attempts + 1):
            try:
                sink = Sink(into, what, max_bytes, size_bytes, checksum, on_line)
                await self._fetch_into(sink, url, site, on_line)
            except _Broken as error:
                if attempt == self.attempts:
                    raise UpstreamUnavailable(
                        "The connection to %(host)s broke %(times)s times while it sent "
                        "%(what)s. Try again later.",
                        host=error.host,
                        times=attempt,
                        what=what,
                    ) from None
                on_line(f"The connection to {error.host} broke. Fetching {what} again.")
            else:
                return sink.size
        raise AssertionError("attempts must be at least 1")

    async def _fetch_into(
        self, sink: Sink, url: str | URL, site: Site, on_line: Callable[[str], None]
    ) -> None:
        try:
            async with self._opened(url, site, sink.what, on_line, {}, file=True) as response:
                sink.expect(response.content_length)
                await self._copy(response, sink)
            await asyncio.to_thread(sink.finish)
        finally:
            sink.close()

    async def _copy(self, response: aiohttp.ClientResponse, sink: Sink) -> None:
        host = response.url.host or ""
        try:
            async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
                await asyncio.to_thread(sink.write, chunk)
        except TimeoutError:
            raise UpstreamUnavailable(
                "%(host)s stopped sending %(what)s for %(seconds)s seconds. Try again later.",
                host=host,
                what=sink.what,
                seconds=round(self.silence_seconds),
            ) from None
        except aiohttp.ClientError:
            raise _Broken(host) from None

    async def _fetch(
        self,
        url: str | URL,
        site: Site,
        what: str,
        on_line: Callable[[str], None],
        headers: Mapping[str, str],
        *,
        max_bytes: int | None = None,
        partial: bool = False,
        body: bytes | None = None,
    ) -> Answer:
        most = self.max_answer_bytes if max_bytes is None else max_bytes
        host = _read_url(url).host
        for attempt in range(1, self.attempts + 1):
            try:
                # A body goes only where it was meant to go.
                follow, method = body is None, "GET" if body is None else "POST"
                opened = self._opened(
                    url, site, what, on_line, headers, follow=follow, method=method, body=body
                )
                async with opened as response:
                    async with asyncio.timeout(self.answer_seconds):
                        return await _read(response, most, partial=partial)
            except TimeoutError:
                raise self._too_slow(host or "") from None
            except (_Broken, aiohttp.ClientError):
                if attempt == self.attempts:
                    raise UpstreamUnavailable(
                        "The connection to %(host)s broke. Try again later.", host=host
                    ) from None
        raise AssertionError("attempts must be at least 1")

    # --- Requests, one by one -------------------------------------------------------------------

    @asynccontextmanager
    async def _opened(
        self,
        url: str | URL,
        site: Site,
        what: str,
        on_line: Callable[[str], None],
        headers: Mapping[str, str],
        *,
        follow: bool = True,
        file: bool = False,
        method: str = "GET",
        passes: Collection[int] = (),
        body: bytes | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Yield a successful response, after redirects and waiting."""
        slots = self._file_slots if file else self._slots
        async with slots, contextlib.AsyncExitStack() as stack:
            backoff, waited, hops = Backoff(2), 0, 0
            asked = self.check(url, site)
            while True:
                response = await self._request(stack, asked, site, headers, method, body)
                if follow and response.status in _REDIRECTS and "Location" in response.headers:
                    hops += 1
                    asked = self.check(_next_address(response, hops), site)
                elif response.status in _BUSY:
                    waited += 1
                    await self._wait(response, backoff, waited, on_line)
                elif response.status >= 400 and response.status not in passes:
                    raise _explain(response, what)
                else:
                    yield response
                    return
                await stack.aclose()

    async def _request(
        self,
        stack: contextlib.AsyncExitStack,
        url: URL,
        site: Site,
        headers: Mapping[str, str],
        method: str,
        body: bytes | None,
    ) -> aiohttp.ClientResponse:
        remote = _remote(url)
        if self.git.proxy or _is_address(remote.host):  # aiohttp does not resolve these
            await self.git.fetch_addresses(remote)
        secret = site.secrets.get(url.authority, {}) if url.scheme == "https" else {}
        try:
            async with asyncio.timeout(self.answer_seconds):
                return await stack.enter_async_context(
                    self._open_session().request(
                        method,
                        url,
                        allow_redirects=False,
                        data=body,
                        headers={**headers, **secret},
                        proxy=self.git.proxy or None,
                    )
                )
        except TimeoutError:
            raise self._too_slow(remote.host) from None
        except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError):
            raise UpstreamUnavailable(
                "The certificate of %(host)s is not trusted. Check the address; if it is "
                "right, tell your administrator.",
                host=remote.host,
            ) from None
        except aiohttp.ClientConnectorError:
            raise UpstreamUnavailable(
                "%(host)s did not answer. Try again later.", host=remote.host
            ) from None
        except (aiohttp.ClientError, ValueError):
            raise _Broken(remote.host) from None

    def _too_slow(self, host: str) -> UpstreamUnavailable:
        seconds = f"{self.answer_seconds:g}"
        return UpstreamUnavailable(
            "%(host)s did not answer within %(seconds)s seconds. Try again later.",
            host=host,
            seconds=seconds,
        )

    async def _wait(
        self,
        response: aiohttp.ClientResponse,
        backoff: Backoff,
        waited: int,
        on_line: Callable[[str], None],
    ) -> None:
        """Wait as a busy host asks. Raises Busy."""
        seconds = read_retry_after(response.headers.get("Retry-After", ""))
        wait = (backoff.next_wait() or 0) if seconds is None else seconds
        host = response.url.host
        if waited >= self.attempts or wait > self.longest_wait_seconds:
            raise Busy(
                "%(host)s limits the number of requests from this hub. Try again in %(time)s.",
                host=host,
                time=Message("some minutes") if seconds is None else _duration(seconds),
                detail={"retry_after_seconds": int(wait) + 1},
            )
        on_line(f"{host} is busy. Trying again in {_duration(wait)}.")
        await asyncio.sleep(wait)

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            # The service's shared session does not resolve names by the rules of `Git`, which
            # block private addresses.
            self._session = open_session(
                connector=aiohttp.TCPConnector(
                    resolver=aiohttp.ThreadedResolver() if self.git.proxy else _Pinned(self.git),
                    ssl=self._trust(),
                    use_dns_cache=False,
                    limit=0,
                ),
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=self.connect_seconds, sock_read=self.silence_seconds
                ),
                headers={
                    "User-Agent": USER_AGENT,
                    "Accept-Encoding": "identity",
                },
                auto_decompress=False,
                trust_env=False,
            )
        return self._session

    def _trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.git.ca_file or None)


class _Broken(Exception):
    """The connection broke."""

    def __init__(self, host: str) -> None:
        super().__init__(host)
        self.host = host


class _Pinned(AbstractResolver):
    """Resolves hosts by `Git`'s rules."""

    def __init__(self, git: Git) -> None:
        self._git = git

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        addresses = await self._git.fetch_addresses(Remote("https", host, port, "/"))
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        pass


async def _read_start(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) >= max_bytes:
            break
    return bytes(body[:max_bytes])


async def _read(response: aiohttp.ClientResponse, max_bytes: int, *, partial: bool) -> Answer:
    if not max_bytes or (partial and response.status != 206):
        return Answer(response.url, b"")
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > max_bytes:
            raise UpstreamUnavailable(
                "The answer of %(host)s is larger than %(most)s, the limit of this hub.",
                host=response.url.host,
                most=format_bytes(max_bytes),
            )
    found = re.fullmatch(r"bytes \d+-\d+/(\d+)", response.headers.get("Content-Range", ""))
    return Answer(
        response.url, bytes(body), response.status == 206, int(found[1]) if found else None
    )


async def _json_of(answer: Answer, what: str) -> Any:
    try:
        return await asyncio.to_thread(_read_json, answer.body)
    except (ValueError, RecursionError):
        raise UpstreamUnavailable(
            "%(host)s gave an unexpected answer about %(what)s. Try again later.",
            host=answer.url.host,
            what=what,
        ) from None


def _read_json(body: bytes) -> Any:
    """Parse a large answer in a thread.

    The C parser would block other threads; a Python hook for each object lets them run.
    """
    return json.loads(body, object_hook=_as_it_is)


def _as_it_is(value: dict[str, Any]) -> dict[str, Any]:
    return value


def _read_url(url: str | URL) -> URL:
    try:
        read = URL(url) if isinstance(url, str) else url
        port = read.explicit_port
    except ValueError:
        read, port = URL(), None
    if not read.host or port == 0 or read.user or read.password:
        raise NotUnderstood("The archive returned an invalid address. Tell the archive.")
    return read


def _remote(url: URL) -> Remote:
    path = parse_remote(f"https://{url.authority.rpartition('@')[2]}/-")
    return replace(path, scheme=url.scheme, port=url.port or path.port)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _next_address(response: aiohttp.ClientResponse, hops: int) -> URL:
    if hops > _MAX_REDIRECTS:
        raise UpstreamUnavailable(
            "%(host)s redirects too many times. Check the address.", host=response.url.host
        )
    try:
        return response.url.join(URL(response.headers["Location"], encoded=False))
    except ValueError:
        raise NotUnderstood("The archive returned an invalid address. Tell the archive.") from None


def read_retry_after(text: str) -> float | None:
    """Read Retry-After, in seconds or as a date."""
    if re.fullmatch(r"[0-9]{1,9}", text.strip()):
        return float(text)
    try:
        then = email.utils.parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    return max(0.0, then.timestamp() - time.time())


def _duration(seconds: float) -> Message:
    if seconds > 120:
        return Message.counted("%(num)s minute", "%(num)s minutes", round(seconds / 60))
    return Message.counted("%(num)s second", "%(num)s seconds", round(seconds))


def _explain(response: aiohttp.ClientResponse, what: str) -> BinderError:
    host, status = response.url.host, response.status
    if status in (404, 410):
        return RepositoryNotFound(
            "%(host)s has no %(what)s. Check the address.", host=host, what=what
        )
    if status in (401, 403):
        return RepositoryNotFound(
            "%(host)s does not give access to %(what)s. It may be private or not yet published.",
            host=host,
            what=what,
        )
    return UpstreamUnavailable(
        "%(host)s returned an error (%(status)s). Try again later.", host=host, status=status
    )
