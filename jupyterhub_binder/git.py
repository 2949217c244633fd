"""Runs git on repositories that nobody vouches for.

Owns which addresses may be asked (`Git.check`), the environment and the limits of every git
command, and what its complaints mean in words. How an address is read is `remotes`' business,
what is asked of a repository that of the providers and of `fetch`.
"""

from __future__ import annotations

import asyncio
import base64
import os
import re
import socket
import sys
import tempfile
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote, urlsplit

from traitlets import Enum, Float, Integer, List, Unicode, default
from traitlets.config import LoggingConfigurable

from jupyterhub_binder import process
from jupyterhub_binder.errors import (
    BinderError,
    ConfigurationError,
    NotAllowed,
    RepositoryNotFound,
    UpstreamUnavailable,
)
from jupyterhub_binder.remotes import (
    SHA,
    Remote,
    host_matches,
    is_public,
    parse_remote,
    plain_path,
)

_HARDENED = Path(__file__).with_name("hardened.gitconfig")
_OLDEST = (2, 37)
_TRUST = ("GIT_SSL_CAINFO", "SSL_CERT_FILE", "SSL_CERT_DIR")


class Git(LoggingConfigurable):
    """Hardened git commands; shared by the providers and the fetcher."""

    executable = Unicode("git", help="The git command; 2.37 or later.").tag(config=True)
    protocols = List(
        Enum(["https", "http", "file"]),
        ["https"],
        help="""
        By which protocols repositories may be fetched. ``http`` is for a host inside of your own
        network; ``file`` needs `file_roots` too.
        """,
    ).tag(config=True)
    allowed_hosts = List(
        Unicode(),
        help="""
        Hosts that repositories may come from, such as ``github.com`` or ``*.example.org``;
        empty for every public host.
        """,
    ).tag(config=True)
    private_hosts = List(
        Unicode(),
        help="""
        Hosts that may have an address of this machine or of your own network, such as
        ``git.example.org``, or ``127.0.0.1`` for tests. All others are refused then, so that
        nobody reaches the hub, a database or a cloud's metadata through a repository's URL.
        """,
    ).tag(config=True)
    file_roots = List(
        Unicode(),
        help="Folders below which ``file://`` repositories may lie; needs ``file`` in `protocols`.",
    ).tag(config=True)
    ca_file = Unicode(
        help="A file of certificates that https is trusted by; empty for the machine's own."
    ).tag(config=True)
    proxy = Unicode(
        help="""
        A proxy for https and http, such as ``http://proxy.example.org:3128``, with a name and
        password before the host if it wants them; empty for none.
        With a proxy it is the proxy that must refuse private addresses: names are then resolved
        by it and not by this service.
        """
    ).tag(config=True)
    answer_seconds = Float(
        30, min=1, help="Seconds that a host may take to list a repository's branches."
    ).tag(config=True)
    concurrency = Integer(
        8, min=1, help="How many questions to hosts may be under way at once; others wait."
    ).tag(config=True)
    memory_bytes = Integer(
        help="Bytes of address space that one git command may use; 0 for no limit."
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
        """Check that git is there and new enough. Raises ConfigurationError."""
        try:
            said = await self.run("version", cwd=Path("/"))
        except (OSError, process.ProcessFailed):
            said = ""
        found = re.search(r"(\d+)\.(\d+)", said)
        if not found:
            raise ConfigurationError(f"Git.executable is {self.executable!r}: that is no git.")
        if (int(found[1]), int(found[2])) < _OLDEST:
            # An older one would not keep to the address that was checked.
            raise ConfigurationError(f"Git.executable is git {found[0]}: 2.37 or later is needed.")

    # --- What may be asked ---------------------------------------------------------------------

    def check(self, url: str) -> Remote:
        """Return a repository's URL taken apart, if it may be fetched as far as names tell.

        Raises NotUnderstood, or NotAllowed.
        """
        remote = parse_remote(url)
        if remote.scheme not in self.protocols:
            raise NotAllowed(f"This hub does not fetch repositories by {remote.scheme}://.")
        if remote.scheme == "file":
            self._check_folder(remote)
            return remote
        self.check_host(remote)
        return replace(remote, path=plain_path(remote.path))

    def check_host(self, remote: Remote) -> None:
        """Raise NotAllowed unless repositories may come from a host, as far as its name tells."""
        if self.allowed_hosts and not host_matches(remote, self.allowed_hosts):
            raise NotAllowed(f"This hub does not fetch repositories from {remote.host}.")

    def _check_folder(self, remote: Remote) -> None:
        folder = Path(unquote(remote.path)).resolve()
        if "%" in remote.path or not any(
            folder.is_relative_to(Path(root).resolve()) for root in self.file_roots
        ):
            raise NotAllowed("This hub does not fetch repositories from that folder.")

    async def _fetch_pin(self, remote: Remote) -> list[str]:
        """Look the host up once, check its addresses, and bind the command to them.

        A name that answers with another address a second later is asked no second time.
        """
        addresses = [] if remote.scheme == "file" else await self.fetch_addresses(remote)
        listed = ",".join(f"[{a}]" if ":" in a else a for a in addresses)
        if not addresses or ":" in remote.host or remote.host in addresses:
            return []
        return ["-c", f"http.curloptResolve={remote.host}:{remote.port}:{listed}"]

    async def fetch_addresses(self, remote: Remote) -> list[str]:
        """Look a host up, once; return its addresses, all of which may be connected to.

        With a proxy, which looks it up itself, there are none: its name alone is checked.
        Raises NotAllowed, RepositoryNotFound or UpstreamUnavailable.
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
        """Return a repository's refs and their shas, with ``ref^{}`` for what a tag stands for.

        With ``--symref``, ``HEAD@`` is the name of the branch that HEAD follows.
        Raises NotUnderstood, NotAllowed, RepositoryNotFound or UpstreamUnavailable.
        """
        url = str(self.check(url))
        patterns = [pattern] if pattern else []
        with tempfile.TemporaryDirectory(prefix="jupyterhub-binder-") as empty:
            async with self._slots:
                out = await self.run(
                    "ls-remote", *options, "--", url, *patterns, url=url, cwd=Path(empty)
                )
        return _parse_refs(out)

    async def find_commit(self, url: str, short: str, *, most_bytes: int = 2**28) -> str | None:
        """Return the one commit whose sha begins so, if a branch or tag leads to it.

        No question of git's protocol asks this: the history is fetched, without any file.
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
                    most_file_bytes=most_bytes,
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
        most_file_bytes: int | None = None,
        env: Mapping[str, str] | None = None,
    ) -> str:
        """Run one git command; return what it printed. `url` is the repository it will ask.

        `env` is added to its environment.

        Raises ProcessFailed where git alone is at fault, else as `ls_remote`.
        """
        seconds = timeout_seconds or self.answer_seconds
        try:
            return await process.run(
                await self._command(url, args),
                env={**self.environment(url), **(env or {})},
                cwd=cwd,
                timeout_seconds=seconds,
                limits=self._limits(most_file_bytes),
                most_bytes=64 * 2**20,
            )
        except process.ProcessFailed as error:
            raise (self.explain(url, error.output) if url else error) from None
        except TimeoutError:
            host = urlsplit(url).hostname or "git"
            raise UpstreamUnavailable(
                f"{host} did not answer within {seconds:.0f} seconds: try again later."
            ) from None

    async def stream(
        self, *args: str, cwd: Path, url: str = "", most_file_bytes: int | None = None
    ) -> AsyncGenerator[str, None]:
        """Run one git command; yield what it says, standard error included, line by line.

        Raises ProcessFailed; closing the generator ends the command.
        """
        lines = process.stream(
            await self._command(url, args),
            env=self.environment(url),
            cwd=cwd,
            limits=self._limits(most_file_bytes),
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
        if str(remote) != url:  # the pin would not hold for another spelling of the host
            raise ValueError("git is handed str(Git.check(url)) only")
        return remote

    def environment(self, url: str = "") -> dict[str, str]:
        """Return all of the environment that a git command gets, which asks a repository or none.

        Unlike arguments, nobody else on the machine reads it: the proxy's password is there. A
        token is in it only for the host that it belongs to, and by https: git sends it nowhere
        else.
        """
        env = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": "/nonexistent",
            "XDG_CONFIG_HOME": "/nonexistent",
            "LC_ALL": "C",
            "GIT_CONFIG_GLOBAL": str(_HARDENED),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_ALLOW_PROTOCOL": ":".join(self.protocols),
            "GIT_PROTOCOL_FROM_USER": "0",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_LFS_SKIP_SMUDGE": "1",
        }
        # To git these variables weigh more than the file that the configuration names.
        names = () if self.ca_file else _TRUST
        trust = {name: os.environ[name] for name in names if name in os.environ}
        return env | trust | _as_variables({"http.proxy": self.proxy, **self._credential(url)})

    def _credential(self, url: str) -> dict[str, str]:
        remote = parse_remote(url) if url else None
        if remote is None or remote.scheme != "https":
            return {}
        root = str(Remote("https", remote.host, remote.port, "/"))
        secret = self._credentials.get(root)
        if secret is None:
            return {}
        return {f"http.{root}.extraHeader": f"Authorization: Basic {secret}"}

    def add_credential(self, host: str, user: str, token: str) -> None:
        """Send a token to a host, and to no other, whenever it is asked by https.

        Raises NotUnderstood for what is no host.
        """
        remote = parse_remote(f"https://{host}/-")
        root = str(Remote("https", remote.host, remote.port, "/"))
        self._credentials[root] = base64.b64encode(f"{user}:{token}".encode()).decode()

    def _limits(self, most_file_bytes: int | None) -> process.Limits:
        return process.Limits(memory_bytes=self.memory_bytes or None, file_bytes=most_file_bytes)

    def explain(self, url: str, output: str) -> BinderError:
        """Turn git's complaint about a repository into an error for people."""
        self.log.info("git and %s: %s", url, output.strip()[-2000:])
        parts = urlsplit(url)
        where = (parts.netloc + parts.path) or "The repository"
        output = output.replace(url.rstrip("/"), "")  # its words are not git's
        for pattern, kind, message in _COMPLAINTS:
            if pattern.search(output):
                return kind(message.format(where=where, host=parts.hostname or "The host"))
        return UpstreamUnavailable(f"{where} could not be read by git: try again later.")


_COMPLAINTS: tuple[tuple[re.Pattern[str], type[BinderError], str], ...] = (
    (
        re.compile(r"returned error: 30\d|redirection", re.IGNORECASE),
        RepositoryNotFound,
        "{where} has moved: the host answers with another address. Open it in a browser and paste the address that you see there.",
    ),
    (
        re.compile(r"returned error: 429"),
        UpstreamUnavailable,
        "{host} has had too many questions from this hub: try again in some minutes.",
    ),
    (
        re.compile(
            r"not found|could not read Username|Authentication failed|returned error: 4\d\d"
            r"|not appear to be a git repository|not valid: is this a git repository|does not exist",
            re.IGNORECASE,
        ),
        RepositoryNotFound,
        "There is no repository at {where}, or it is private: check the address.",
    ),
    (
        re.compile(r"transport '.*' not allowed"),
        NotAllowed,
        "This hub does not fetch from {where}.",
    ),
    (
        re.compile(r"certificate|SSL|TLS|gnutls", re.IGNORECASE),
        UpstreamUnavailable,
        "{host} could not be reached safely: its certificate is not trusted.",
    ),
    (
        re.compile(
            r"resolve host|Failed to connect|timed out|refused|returned error: 5\d\d|too slow|unreachable",
            re.IGNORECASE,
        ),
        UpstreamUnavailable,
        "{host} did not answer: try again later.",
    ),
)


def _as_variables(settings: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables that configure git."""
    variables = {"GIT_CONFIG_COUNT": str(len(settings))}
    for number, (key, value) in enumerate(settings.items()):
        variables |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return variables


def _not_public(remote: Remote) -> NotAllowed:
    return NotAllowed(f"{remote.host} is not a host of the internet: this hub refuses it.")


async def _fetch_addresses(remote: Remote) -> list[str]:
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(remote.host, remote.port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        if error.errno == socket.EAI_AGAIN:
            raise UpstreamUnavailable(
                f"{remote.host} could not be looked up just now: try again later."
            ) from None
        raise RepositoryNotFound(
            f"This hub finds no host called {remote.host}.", code="host_not_found"
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
