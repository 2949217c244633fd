"""Runs Git on untrusted repositories: allowed hosts, environment, limits and errors."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import socket
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote, urlsplit

from traitlets import Enum, Float, Integer, List, Unicode, default
from traitlets.config import LoggingConfigurable

from jupyterhub_binder.errors import (
    BinderError,
    ConfigurationError,
    NotAllowed,
    NotUnderstood,
    RateLimited,
    RepositoryNotFound,
    UpstreamUnavailable,
)
from jupyterhub_binder.model.text import Message, any_of
from jupyterhub_binder.repositories.urls import SHA, Remote, host_matches, parse_remote, plain_path
from jupyterhub_binder.utils import subprocess as process
from jupyterhub_binder.utils.net import is_public

_HARDENED = Path(__file__).with_name("hardened.gitconfig")
_OLDEST = (2, 37)
_TRUST = ("GIT_SSL_CAINFO", "SSL_CERT_FILE", "SSL_CERT_DIR")


class Git(LoggingConfigurable):
    """Hardened git commands; shared by the providers and the fetcher."""

    executable = Unicode("git", help="The Git command, version 2.37 or later. Default: `git`.").tag(
        config=True
    )
    protocols = List(
        Enum(["https", "http", "file"]),
        ["https"],
        help="""
        Protocols that may be used to fetch repositories. Use `http` only for hosts in your own
        network; `file` also needs `file_roots`. Default: `https`.
        """,
    ).tag(config=True)
    allowed_hosts = List(
        Unicode(),
        help="""
        Hosts that repositories may come from, such as `github.com` or `*.example.org`. Empty: every
        public host.
        """,
    ).tag(config=True)
    private_hosts = List(
        Unicode(),
        help="""
        Hosts that may have an address on this machine or in your own network, such as
        `git.example.org`, or `127.0.0.1` for tests. Such addresses of all other hosts are refused,
        so that nobody can reach the hub, a database or cloud metadata through a repository URL.
        Default: none.
        """,
    ).tag(config=True)
    file_roots = List(
        Unicode(),
        help="Folders that may contain `file://` repositories. Needs `file` in `protocols`.",
    ).tag(config=True)
    ca_file = Unicode(
        help="A file with certificates to trust for https. Empty: those of this machine."
    ).tag(config=True)
    proxy = Unicode(
        help="""
        A proxy for https and http, such as `http://proxy.example.org:3128`, with `user:password@`
        before the host if needed. The proxy resolves host names, so the proxy must refuse private
        addresses. Empty: no proxy.
        """
    ).tag(config=True)
    answer_seconds = Float(
        30,
        min=1,
        help="Time limit for a host to list the branches of a repository, in seconds. Default: 30.",
    ).tag(config=True)
    concurrency = Integer(
        8,
        min=1,
        help="Maximum number of requests to hosts at the same time. Others wait. Default: 8.",
    ).tag(config=True)
    memory_bytes = Integer(
        help="Maximum address space of one Git command, in bytes. Default: 4 GiB on Linux, else 0 (no limit)."
    ).tag(config=True)

    @default("memory_bytes")
    def _default_memory_bytes(self) -> int:
        return 4 * 2**30 if sys.platform == "linux" else 0

    @cached_property
    def _credentials(self) -> dict[str, str]:
        return {}

    @cached_property
    def _slots(self) -> asyncio.Semaphore:
        return asyncio.Semaphore(self.concurrency)

    async def start(self) -> None:
        """Check Git's version. Raises ConfigurationError."""
        try:
            said = await self.run("version", cwd=Path("/"))
        except (OSError, process.ProcessFailed):
            said = ""
        found = re.search(r"(\d+)\.(\d+)", said)
        if not found:
            raise ConfigurationError(f"Git.executable is {self.executable!r}, which is not Git.")
        if (int(found[1]), int(found[2])) < _OLDEST:
            # Older versions ignore the checked address.
            raise ConfigurationError(
                f"Git.executable is Git {found[0]}. Version 2.37 or later is needed."
            )

    # --- Allowed hosts -------------------------------------------------------------------------

    def check(self, url: str) -> Remote:
        """Parse a URL; check its host. Raises NotUnderstood or NotAllowed."""
        remote = parse_remote(url)
        if remote.scheme not in self.protocols:
            raise NotAllowed(
                "This hub does not fetch repositories over %(scheme)s://. Use %(allowed)s.",
                scheme=remote.scheme,
                allowed=any_of([f"{each}://" for each in self.protocols]),
            )
        if remote.scheme == "file":
            self._check_folder(remote)
            return remote
        self.check_host(remote)
        return replace(remote, path=plain_path(remote.path))

    def check_host(self, remote: Remote) -> None:
        """Raise NotAllowed unless the host name is allowed."""
        if self.allowed_hosts and not host_matches(remote, self.allowed_hosts):
            raise NotAllowed(
                "This hub does not fetch repositories from %(host)s.", host=remote.host
            )

    def _check_folder(self, remote: Remote) -> None:
        folder = Path(unquote(remote.path)).resolve()
        if "%" in remote.path or not any(
            folder.is_relative_to(Path(root).resolve()) for root in self.file_roots
        ):
            raise NotAllowed("This hub does not fetch repositories from that folder.")

    async def _fetch_pin(self, remote: Remote) -> list[str]:
        """Resolve and check the host once, so that a second DNS answer can't lead elsewhere."""
        addresses = [] if remote.scheme == "file" else await self.fetch_addresses(remote)
        listed = ",".join(f"[{a}]" if ":" in a else a for a in addresses)
        if not addresses or ":" in remote.host or remote.host in addresses:
            return []
        return ["-c", f"http.curloptResolve={remote.host}:{remote.port}:{listed}"]

    async def fetch_addresses(self, remote: Remote) -> list[str]:
        """Return a host's addresses, all allowed.

        A proxy resolves names itself: only the name is checked, and the list is empty. Raises
        NotAllowed, RepositoryNotFound or UpstreamUnavailable.
        """
        if self.proxy:
            self._check_name(remote)
            return []
        addresses = await _fetch_addresses(remote)
        if not host_matches(remote, self.private_hosts) and not all(map(is_public, addresses)):
            raise _not_public(remote)
        return addresses

    def _check_name(self, remote: Remote) -> None:
        if host_matches(remote, self.private_hosts):
            return
        try:
            public = is_public(remote.host)
        except ValueError:
            public = remote.host != "localhost" and "." in remote.host
        if not public:
            raise _not_public(remote)

    # --- Commands ------------------------------------------------------------------------------

    async def ls_remote(self, url: str, *options: str, pattern: str = "") -> dict[str, str]:
        """Return refs and SHAs, with ``ref^{}`` for a tag's target.

        With ``--symref``, ``HEAD@`` is HEAD's branch. Raises NotUnderstood, or as
        `fetch_addresses`.
        """
        url = str(self.check(url))
        patterns = [pattern] if pattern else []
        with tempfile.TemporaryDirectory(prefix="jupyterhub-binder-") as empty:
            async with self._slots:
                out = await self.run(
                    "ls-remote", *options, "--", url, *patterns, url=url, cwd=Path(empty)
                )
        return _parse_refs(out)

    async def fetch_is_public(self, url: str) -> bool:
        """Say whether anybody on the internet can read a repository: asks without our token.

        What is fetched from a folder, without TLS, or from one of `private_hosts` is not public.
        Raises UpstreamUnavailable if the host does not answer.
        """
        try:
            remote = self.check(url)
            if remote.scheme != "https" or host_matches(remote, self.private_hosts):
                return False
            with tempfile.TemporaryDirectory(prefix="jupyterhub-binder-") as empty:
                async with self._slots:
                    await self.run(
                        *("ls-remote", "--", str(remote), "HEAD"),
                        url=str(remote),
                        cwd=Path(empty),
                        anonymous=True,
                    )
        except (NotAllowed, NotUnderstood, RepositoryNotFound) as error:
            if error.error_code == "host_not_found":
                raise UpstreamUnavailable(error.message) from error
            return False
        return True

    async def find_commit(self, url: str, short: str, *, max_bytes: int = 2**28) -> str | None:
        """Return the only commit with this SHA prefix.

        Git has no request for this, so the history is fetched.
        """
        url = str(self.check(url))
        with tempfile.TemporaryDirectory(prefix="jupyterhub-binder-") as folder:
            cwd = Path(folder)
            await self.run("init", "--quiet", "--bare", cwd=cwd)
            async with self._slots:
                await self.run(
                    *("fetch", "--quiet", "--no-tags", "--filter=tree:0", "--", url),
                    *("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"),
                    url=url,
                    cwd=cwd,
                    timeout_seconds=2 * self.answer_seconds,
                    max_file_bytes=max_bytes,
                )
            try:
                found = await self.run(
                    "rev-parse", "--verify", "--quiet", f"{short}^{{commit}}", cwd=cwd
                )
            except process.ProcessFailed:
                return None
        return found.strip()

    async def run(
        self,
        *args: str,
        cwd: Path,
        url: str = "",
        timeout_seconds: float | None = None,
        max_file_bytes: int | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str = "",
        anonymous: bool = False,
    ) -> str:
        """Return a command's output; `anonymous` leaves out the host's token.

        Raises ProcessFailed, or as `ls_remote`.
        """
        seconds = timeout_seconds or self.answer_seconds
        try:
            return await process.run(
                await self._command(url, args),
                env={**self.environment(url, anonymous=anonymous), **(env or {})},
                cwd=cwd,
                timeout_seconds=seconds,
                limits=self._limits(max_file_bytes),
                max_bytes=64 * 2**20,
                stdin=stdin,
            )
        except process.ProcessFailed as error:
            raise (self.explain(url, error.output) if url else error) from None
        except TimeoutError:
            host = urlsplit(url).hostname or "git"
            raise UpstreamUnavailable(
                "%(host)s did not answer within %(seconds)s seconds. Try again later.",
                host=host,
                seconds=round(seconds),
            ) from None

    async def stream(
        self, *args: str, cwd: Path, url: str = "", max_file_bytes: int | None = None
    ) -> AsyncGenerator[str, None]:
        """Yield a command's output and errors by line. Raises ProcessFailed.

        Closing the generator ends the command.
        """
        lines = process.stream(
            await self._command(url, args),
            env=self.environment(url),
            cwd=cwd,
            limits=self._limits(max_file_bytes),
        )
        async with aclosing(lines):
            async for line in lines:
                yield line

    async def _command(self, url: str, args: Sequence[str]) -> list[str]:
        pin: list[str] = []
        if url:
            pin = await self._fetch_pin(self._spelled(url))
        settings = ["-c", f"http.sslCAInfo={self.ca_file}"] if self.ca_file else []
        return [self.executable, "--no-pager", *settings, *pin, *args]

    def _spelled(self, url: str) -> Remote:
        remote = self.check(url)
        if str(remote) != url:  # the pin works for one spelling of the host only
            raise ValueError("pass str(Git.check(url)) to Git")
        return remote

    def environment(self, url: str = "", *, anonymous: bool = False) -> dict[str, str]:
        """Return a command's whole environment.

        Passwords are here because other users can read arguments. Tokens are only for their host
        over https.
        """
        env = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": "/nonexistent",
            "XDG_CONFIG_HOME": "/nonexistent",
            "LC_ALL": "C",
            "GIT_CONFIG_GLOBAL": str(_HARDENED),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_ATTR_NOSYSTEM": "1",
            # Without a checked address, also a missing object may not be fetched.
            "GIT_ALLOW_PROTOCOL": ":".join(self.protocols) if url else "",
            "GIT_PROTOCOL_FROM_USER": "0",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_LFS_SKIP_SMUDGE": "1",
        }
        # Git prefers these variables to the configured file.
        names = () if self.ca_file else _TRUST
        trust = {name: os.environ[name] for name in names if name in os.environ}
        token = {} if anonymous else self._credential(url)
        return env | trust | _as_variables({"http.proxy": self.proxy, **token})

    def _credential(self, url: str) -> dict[str, str]:
        remote = parse_remote(url) if url else None
        if remote is None or remote.scheme != "https":
            return {}
        root = str(Remote("https", remote.host, remote.port, "/"))
        secret = self._credentials.get(root)
        if secret is None:
            return {}
        return {f"http.{root}.extraHeader": f"Authorization: Basic {secret}"}

    def authorization(self, url: str) -> dict[str, str]:
        """Return the header with a host's token, for requests that are not Git's."""
        values = self._credential(url).values()
        return {name: text for name, _, text in (value.partition(": ") for value in values)}

    def add_credential(self, host: str, user: str, token: str) -> None:
        """Use a token for this host over https. Raises NotUnderstood."""
        remote = parse_remote(f"https://{host}/-")
        root = str(Remote("https", remote.host, remote.port, "/"))
        self._credentials[root] = base64.b64encode(f"{user}:{token}".encode()).decode()

    def _limits(self, max_file_bytes: int | None) -> process.ProcessLimits:
        return process.ProcessLimits(
            memory_bytes=self.memory_bytes or None, file_bytes=max_file_bytes
        )

    def explain(self, url: str, output: str) -> BinderError:
        """Turn Git's output into an error for people."""
        self.log.info("git and %s: %s", url, output.strip()[-2000:])
        parts = urlsplit(url)
        where = (parts.netloc + parts.path) or Message("The repository")
        host = parts.hostname or Message("The host")
        output = output.replace(url.rstrip("/"), "")  # a URL may contain words of Git's errors
        for pattern, error in _COMPLAINTS:
            if pattern.search(output):
                if parts.scheme == "file" and error is _not_found:
                    return _not_there(where)
                return error(where, host)
        return UpstreamUnavailable("Git could not read from %(host)s. Try again later.", host=where)


def _not_found(where: str, host: str) -> BinderError:
    return RepositoryNotFound(
        "There is no repository at %(where)s, or it is private. Check the address.", where=where
    )


def _not_there(path: str) -> BinderError:
    return RepositoryNotFound(
        "There is no Git repository at %(path)s on the hub's machine. Check the path.", path=path
    )


_COMPLAINTS: tuple[tuple[re.Pattern[str], Callable[[str, str], BinderError]], ...] = (
    (
        re.compile(r"returned error: 30\d|redirection", re.IGNORECASE),
        lambda where, host: RepositoryNotFound(
            "%(where)s has moved to another address. Open it in a browser and paste the "
            "address that you see there.",
            where=where,
        ),
    ),
    (
        re.compile(r"returned error: 429"),
        lambda where, host: RateLimited(
            "%(host)s limits the number of requests from this hub. Try again in %(time)s.",
            host=host,
            time=Message("some minutes"),
            detail={"rate_limited": True},
        ),
    ),
    (
        re.compile(
            r"not found|could not read Username|Authentication failed|returned error: 4\d\d"
            r"|not appear to be a git repository|not valid: is this a git repository|does not exist",
            re.IGNORECASE,
        ),
        _not_found,
    ),
    (
        re.compile(r"transport '.*' not allowed"),
        lambda where, host: NotAllowed(
            "This hub does not fetch from %(where)s.",
            where=where,
        ),
    ),
    (
        re.compile(r"certificate|SSL|TLS|gnutls", re.IGNORECASE),
        lambda where, host: UpstreamUnavailable(
            "The certificate of %(host)s is not trusted. Check the address; if it is right, "
            "tell your administrator.",
            host=host,
        ),
    ),
    (
        re.compile(
            r"resolve host|Failed to connect|timed out|refused|returned error: 5\d\d|too slow|unreachable",
            re.IGNORECASE,
        ),
        lambda where, host: UpstreamUnavailable(
            "%(host)s did not answer. Try again later.",
            host=host,
        ),
    ),
)


def _as_variables(settings: Mapping[str, str]) -> dict[str, str]:
    variables = {"GIT_CONFIG_COUNT": str(len(settings))}
    for number, (key, value) in enumerate(settings.items()):
        variables |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return variables


def _not_public(remote: Remote) -> NotAllowed:
    return NotAllowed(
        "%(host)s is not on the public internet, and this hub fetches only from public hosts.",
        host=remote.host,
    )


async def _fetch_addresses(remote: Remote) -> list[str]:
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(remote.host, remote.port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        if error.errno == socket.EAI_AGAIN:
            raise UpstreamUnavailable(
                "The address of %(host)s can't be looked up at the moment. Try again later.",
                host=remote.host,
            ) from None
        raise RepositoryNotFound(
            "This hub can't find the host %(host)s. Check the address; if it is right, tell "
            "your administrator.",
            host=remote.host,
            code="host_not_found",
        ) from None
    return list(dict.fromkeys(str(info[4][0]) for info in found))


def _parse_refs(out: str) -> dict[str, str]:
    refs: dict[str, str] = {}
    for line in out.splitlines():
        sha, _, name = line.partition("\t")
        if sha.startswith("ref: "):
            refs[f"{name}@"] = sha.removeprefix("ref: ").removeprefix("refs/heads/")
        elif SHA.fullmatch(sha):
            refs[name] = sha
    return refs
