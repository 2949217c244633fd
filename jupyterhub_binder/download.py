"""Asks archives over HTTP, held in check: which hosts, how much, how long, how often.

Owns the addresses that may be asked (by `Git`'s rules, at every redirect), secrets that go to
one host only, and patience with hosts that are busy. What a file must add up to is known by
`sink`, what the answers mean by the providers.
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
from collections.abc import AsyncIterator, Callable, Mapping
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

from jupyterhub_binder._version import __version__
from jupyterhub_binder.errors import (
    BinderError,
    NotAllowed,
    NotUnderstood,
    RepositoryNotFound,
    UpstreamUnavailable,
)
from jupyterhub_binder.git import Git
from jupyterhub_binder.remotes import Remote, host_matches, parse_remote
from jupyterhub_binder.sink import Checksum, Sink
from jupyterhub_binder.units import format_bytes

_CHUNK_BYTES = 1 << 20
_MOST_REDIRECTS = 8
_BUSY = frozenset({429, 503})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class Site:
    """Which hosts an archive is made of, and what they are told."""

    hosts: tuple[str, ...] = ()
    """Patterns of hosts that may be asked, ``*.example.org``; empty for every public one."""
    secrets: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)
    """Headers that hold a token, by the one host that they go to."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a host answered: where from, and a part of a file or all of it."""

    url: URL
    body: bytes
    partial: bool = False
    total_bytes: int | None = None


class Busy(UpstreamUnavailable):
    """A host has had too many questions."""

    code = "upstream_busy"


def _no_line(_: str) -> None:
    pass


class Downloads(LoggingConfigurable):
    """Asks archives for metadata and files; shared by the providers and the fetcher."""

    answer_seconds = Float(
        30, min=0.1, help="Seconds that an archive may take to answer a question about a record."
    ).tag(config=True)
    connect_seconds = Float(
        10, min=0.1, help="Seconds that an archive may take to accept a connection."
    ).tag(config=True)
    silence_seconds = Float(
        60, min=0.1, help="Seconds for which an archive may send nothing in the middle of a file."
    ).tag(config=True)
    longest_wait_seconds = Float(
        30,
        min=0,
        help="""
        Seconds that an archive which is busy (429, 503) may ask us to wait before a question or
        a file is asked for again. One that asks for more is not waited for: the person is told.
        """,
    ).tag(config=True)
    attempts = Integer(
        3, min=1, help="How often a question, or a file whose connection broke, is tried in all."
    ).tag(config=True)
    most_answer_bytes = Integer(
        32 * 2**20, min=2**10, help="Bytes that an answer about a record may have."
    ).tag(config=True)
    concurrency = Integer(
        8,
        min=1,
        help="""
        How many questions to archives may be under way at once, and as many files; others wait.
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
        """Of files alone: a host that sends them slowly keeps nobody from asking questions."""
        return asyncio.Semaphore(self.concurrency)

    async def close(self) -> None:
        """Close all connections; may be called twice."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    # --- What may be asked ----------------------------------------------------------------------

    def check(self, url: str | URL, site: Site) -> URL:
        """Return a URL as it will be asked, if it may be as far as names tell.

        Where http is not allowed it becomes https. Raises NotUnderstood or NotAllowed.
        """
        url = _read_url(url)
        if url.scheme == "http" and "http" not in self.git.protocols:
            url = url.with_scheme("https").with_port(None if url.port == 80 else url.port)
        if url.scheme not in ("http", "https"):
            raise NotAllowed(f"This hub does not fetch by {url.scheme}://.")
        remote = _remote(url)
        if site.hosts and not host_matches(remote, site.hosts):
            raise NotAllowed(f"This hub does not fetch records from {remote.host}.")
        return url

    # --- Asking -----------------------------------------------------------------------------

    async def fetch_json(self, url: str | URL, site: Site, *, what: str, **query: Any) -> Any:
        """Ask a question that is answered in JSON. `what` names the thing for people.

        Raises RepositoryNotFound, NotAllowed or UpstreamUnavailable.
        """
        asked = _read_url(url).update_query(query) if query else url
        answer = await self._fetch(asked, site, what, _no_line, {"Accept": "application/json"})
        try:
            return await asyncio.to_thread(_read_json, answer.body)
        except (ValueError, RecursionError):
            raise UpstreamUnavailable(
                f"{answer.url.host} answered with something else than it should about {what}: "
                "try again later."
            ) from None

    async def fetch_landing(self, url: str | URL, site: Site, *, what: str) -> URL:
        """Follow redirects; return the address at which they end. Raises as `fetch_json`."""
        return (await self._fetch(url, site, what, _no_line, {}, most_bytes=0)).url

    async def fetch_target(self, url: str | URL, site: Site, *, what: str) -> URL:
        """Return where a redirect leads, without going there. Raises as `fetch_json`."""
        async with self._opened(url, site, what, _no_line, {}, follow=False) as response:
            if response.status not in _REDIRECTS or "Location" not in response.headers:
                raise UpstreamUnavailable(f"{response.url.host} does not say where {what} is.")
            return _next_address(response, 1)

    async def fetch_part(
        self, url: str | URL, site: Site, *, what: str, start: int | None, length: int
    ) -> Answer | None:
        """Fetch a part of a file, its end for no `start`; None where the host sends no parts.

        Raises as `fetch_json`.
        """
        asked = f"bytes=-{length}" if start is None else f"bytes={start}-{start + length - 1}"
        answer = await self._fetch(
            url, site, what, _no_line, {"Range": asked}, most_bytes=length, partial=True
        )
        return answer if answer.partial else None

    async def fetch_file(
        self,
        url: str | URL,
        site: Site,
        into: Path,
        *,
        what: str,
        most_bytes: int,
        size_bytes: int | None = None,
        checksum: Checksum | None = None,
        on_line: Callable[[str], None] = _no_line,
    ) -> int:
        """Bring a file; return its size. A connection that breaks is tried again.

        Raises FetchFailed for one that is too large or not what the archive says it is, else
        as `fetch_json`.
        """
        for attempt in range(1, self.attempts + 1):
            try:
                sink = Sink(into, what, most_bytes, size_bytes, checksum, on_line)
                await self._fetch_into(sink, url, site, on_line)
            except _Broken as error:
                if attempt == self.attempts:
                    raise UpstreamUnavailable(
                        f"The connection to {error.host} broke {attempt} times while it sent "
                        f"{what}: try again later."
                    ) from None
                on_line(f"The connection to {error.host} broke: fetching {what} again.")
            else:
                return sink.size
        raise AssertionError("attempts is 1 or more")

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
                f"{host} sent nothing of {sink.what} for {self.silence_seconds:.0f} seconds: "
                "try again later."
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
        most_bytes: int | None = None,
        partial: bool = False,
    ) -> Answer:
        most = self.most_answer_bytes if most_bytes is None else most_bytes
        host = _read_url(url).host
        for attempt in range(1, self.attempts + 1):
            try:
                async with self._opened(url, site, what, on_line, headers) as response:
                    async with asyncio.timeout(self.answer_seconds):
                        return await _read(response, most, partial=partial)
            except TimeoutError:
                raise self._too_slow(host or "") from None
            except (_Broken, aiohttp.ClientError):
                if attempt == self.attempts:
                    raise UpstreamUnavailable(
                        f"The connection to {host} broke: try again later."
                    ) from None
        raise AssertionError("attempts is 1 or more")

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
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Yield an answer that is a success, after redirects, and after waiting if need be."""
        slots = self._file_slots if file else self._slots
        async with slots, contextlib.AsyncExitStack() as stack:
            waited, hops = 0, 0
            asked = self.check(url, site)
            while True:
                response = await self._request(stack, asked, site, headers)
                if follow and response.status in _REDIRECTS and "Location" in response.headers:
                    hops += 1
                    asked = self.check(_next_address(response, hops), site)
                elif response.status in _BUSY:
                    waited += 1
                    await self._wait(response, waited, on_line)
                elif response.status >= 400:
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
    ) -> aiohttp.ClientResponse:
        remote = _remote(url)
        if self.git.proxy or _is_address(remote.host):  # aiohttp looks no such host up
            await self.git.fetch_addresses(remote)
        secret = site.secrets.get(url.authority, {}) if url.scheme == "https" else {}
        try:
            async with asyncio.timeout(self.answer_seconds):
                return await stack.enter_async_context(
                    self._open_session().get(
                        url,
                        allow_redirects=False,
                        headers={**headers, **secret},
                        proxy=self.git.proxy or None,
                    )
                )
        except TimeoutError:
            raise self._too_slow(remote.host) from None
        except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError):
            raise UpstreamUnavailable(
                f"{remote.host} could not be reached safely: its certificate is not trusted."
            ) from None
        except aiohttp.ClientConnectorError:
            raise UpstreamUnavailable(f"{remote.host} did not answer: try again later.") from None
        except (aiohttp.ClientError, ValueError):
            raise _Broken(remote.host) from None

    def _too_slow(self, host: str) -> UpstreamUnavailable:
        return UpstreamUnavailable(
            f"{host} did not answer within {self.answer_seconds:g} seconds: try again later."
        )

    async def _wait(
        self, response: aiohttp.ClientResponse, waited: int, on_line: Callable[[str], None]
    ) -> None:
        """Wait as long as a busy host asks for. Raises Busy where that is too long or often."""
        seconds = _retry_after(response.headers.get("Retry-After", ""))
        wait = float(2 ** (waited - 1)) if seconds is None else seconds
        host = response.url.host
        if waited >= self.attempts or wait > self.longest_wait_seconds:
            again = "in some minutes" if seconds is None else f"in {_duration(seconds)}"
            raise Busy(
                f"{host} has had too many questions from this hub: try again {again}.",
                detail={"retry_after_seconds": int(wait) + 1},
            )
        on_line(f"{host} is busy: asking again in {_duration(wait)}.")
        await asyncio.sleep(wait)

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    resolver=aiohttp.ThreadedResolver() if self.git.proxy else _Pinned(self.git),
                    ssl=self._trust(),
                    use_dns_cache=False,
                    limit=0,
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=self.connect_seconds, sock_read=self.silence_seconds
                ),
                headers={
                    "User-Agent": f"jupyterhub-binder/{__version__}",
                    "Accept-Encoding": "identity",
                },
                auto_decompress=False,
                trust_env=False,
            )
        return self._session

    def _trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.git.ca_file or None)


class _Broken(Exception):
    """A connection ended in the middle."""

    def __init__(self, host: str) -> None:
        super().__init__(host)
        self.host = host


class _Pinned(AbstractResolver):
    """Looks hosts up by the rules of `Git`: what it returns, and no other, is connected to."""

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


async def _read(response: aiohttp.ClientResponse, most_bytes: int, *, partial: bool) -> Answer:
    if not most_bytes or (partial and response.status != 206):
        return Answer(response.url, b"")
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > most_bytes:
            raise UpstreamUnavailable(
                f"{response.url.host} answered with more than {format_bytes(most_bytes)}."
            )
    found = re.fullmatch(r"bytes \d+-\d+/(\d+)", response.headers.get("Content-Range", ""))
    return Answer(
        response.url, bytes(body), response.status == 206, int(found[1]) if found else None
    )


def _read_json(body: bytes) -> Any:
    """Read an answer, in a thread: it may have many megabytes.

    The reader is one call of C that lets no other thread in; a hook in Python does, at each object.
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
        raise NotUnderstood("An archive gave an address that is none.")
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
    if hops > _MOST_REDIRECTS:
        raise UpstreamUnavailable(f"{response.url.host} leads around in circles.")
    try:
        return response.url.join(URL(response.headers["Location"], encoded=False))
    except ValueError:
        raise NotUnderstood("An archive gave an address that is none.") from None


def _retry_after(text: str) -> float | None:
    """Read the header: seconds, or a date. None where it says nothing."""
    if re.fullmatch(r"[0-9]{1,9}", text.strip()):
        return float(text)
    try:
        then = email.utils.parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    return max(0.0, then.timestamp() - time.time())


def _duration(seconds: float) -> str:
    if seconds > 120:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds:.0f} second{'' if round(seconds) == 1 else 's'}"


def _explain(response: aiohttp.ClientResponse, what: str) -> BinderError:
    host, status = response.url.host, response.status
    if status in (404, 410):
        return RepositoryNotFound(f"{host} has no {what}: check it.")
    if status in (401, 403):
        return RepositoryNotFound(f"{host} keeps {what} closed: it is private, or not yet open.")
    return UpstreamUnavailable(f"{host} answered with an error ({status}): try again later.")
