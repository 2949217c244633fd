"""uv's commands, environment and error messages.

Each command names its environment and ignores project files, because a checkout's ``uv.toml`` or
``pyproject.toml`` is untrusted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import urlsplit

from jupyterhub_binder.backends.venv.requirements import Requirements
from jupyterhub_binder.model.text import Message

PASSED = (
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "UV_INDEX",
    "UV_INDEX_*",
    "UV_DEFAULT_INDEX",
    "UV_EXTRA_INDEX_URL",
    "UV_FIND_LINKS",
    "UV_CONFIG_FILE",
    "UV_HTTP_TIMEOUT",
    "UV_HTTP_RETRIES",
    "UV_INSECURE_HOST",
    "UV_KEYRING_PROVIDER",
    "UV_NATIVE_TLS",
    "UV_SYSTEM_CERTS",
    "UV_CONCURRENT_DOWNLOADS",
    "RATTLER_AUTH_FILE",
)
"""The service's variables that uv and rattler get, by name or pattern."""

NO_BUILD = "--no-build"

NOISE = "DEBUG "
"""How the lines begin that uv prints because of `SAY_CHOICES`."""
SAY_CHOICES = {"RUST_LOG": "uv_resolver=debug"}
"""Lets uv print each version that it chooses while it resolves."""

_CHOICE = re.compile(r"DEBUG Selecting: ([A-Za-z0-9][\w.-]{0,99})==")


class Choices:
    """Follows how uv chooses versions."""

    def __init__(self) -> None:
        self._names: set[str] = set()

    def read(self, line: str) -> str:
        """Return what the build does now, for people."""
        found = _CHOICE.match(line)
        if found is None:
            return ""
        self._names.add(found[1])
        return Message(
            "choosing versions, %(count)s so far: %(name)s",
            count=len(self._names),
            name=found[1],
        )


class Uv:
    """uv for one environment, with paths as they are where it runs."""

    def __init__(self, program: Path, environment: Path) -> None:
        self._program = program
        self._environment = environment

    def venv(self, interpreter: str, *, prompt: str) -> list[str]:
        """Create the environment, with relocatable scripts."""
        return [
            *self._start("venv", "--relocatable", "--no-project", "--prompt", prompt),
            *("--python", interpreter, str(self._environment)),
        ]

    def resolve(
        self, wanted: Requirements, *, given: Path, limits: Path, lock: Path, build: bool
    ) -> list[str]:
        """Resolve `given` and write versions to `lock`."""
        return [
            *self._start("pip", "compile", "--quiet", "--no-header", *_no_build(build)),
            *("--python", str(self._environment / "bin/python")),
            *_from_indexes(wanted),
            *(("--prerelease", "allow") if wanted.prereleases else ()),
            *("--constraints", str(limits), "--output-file", str(lock), str(given)),
        ]

    def install(
        self, wanted: Requirements, *, lock: Path, link_mode: str, build: bool
    ) -> list[str]:
        """Install the packages in `lock`; large downloads are named."""
        return [
            *(str(self._program), "pip", "sync", "--color", "never", *_no_build(build)),
            *("--link-mode", link_mode),
            *("--python", str(self._environment / "bin/python")),
            *_from_indexes(wanted),
            str(lock),
        ]

    def add(self, wanted: Requirements, *, given: Path, limits: Path, complete: bool) -> list[str]:
        """Install `given` beside what is there, from source too; `complete` has all it needs."""
        return [
            *self._start("pip", "install", "--link-mode", "copy"),
            *(("--no-deps",) if complete else ()),
            *("--python", str(self._environment / "bin/python")),
            *_from_indexes(wanted),
            *(("--prerelease", "allow") if wanted.prereleases else ()),
            *("--constraints", str(limits), "--requirements", str(given)),
        ]

    def _start(self, *words: str) -> list[str]:
        return [str(self._program), *words, "--color", "never", "--no-progress"]


def _from_indexes(wanted: Requirements) -> list[str]:
    """Return options that let each of several indexes have the best version, as pip does."""
    options = [part for url in wanted.indexes for part in ("--extra-index-url", url)]
    return [*options, "--index-strategy", "unsafe-best-match"] if options else []


def _no_build(build: bool) -> tuple[str, ...]:
    return () if build else (NO_BUILD,)


def uv_environment(own: Mapping[str, str], passed: Sequence[str]) -> dict[str, str]:
    """Return uv's environment, from the service's.

    It includes pip's index settings. It excludes netrc: a requirement line could choose the host
    that gets a password.
    """
    given = {name: own[name] for name in own if any(fnmatchcase(name, one) for one in passed)}
    if "PIP_INDEX_URL" in own and not given.keys() & {"UV_DEFAULT_INDEX", "UV_INDEX_URL"}:
        given["UV_DEFAULT_INDEX"] = own["PIP_INDEX_URL"]
    return given | {
        "PATH": own.get("PATH", "/usr/bin:/bin"),
        "HOME": own.get("HOME", "/"),
        "LANG": "C.UTF-8",
        "NETRC": "/dev/null",
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_NO_ENV_FILE": "1",
    }


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without credentials and proxies, for untrusted code."""
    kept = ("UV_HTTP_", "UV_NATIVE_TLS", "UV_SYSTEM_CERTS", "SSL_CERT_", "UV_PYTHON_DOWNLOADS")
    plain = {"UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_NO_ENV_FILE"}
    return {
        name: value
        for name, value in environment.items()
        if (name in plain or name.startswith(kept)) and "@" not in value
    }


def index_hosts(environment: Mapping[str, str]) -> list[str]:
    """Return the hosts of an environment's package indexes."""
    hosts = (urlsplit(url).hostname for url in index_urls(environment))
    return [host for host in hosts if host]


def index_urls(environment: Mapping[str, str]) -> list[str]:
    """Return an environment's package indexes, without credentials and trailing slashes."""
    names = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_INDEX")
    texts = " ".join(environment.get(name, "") for name in names).split()
    urls = (re.sub(r"^[\w-]+=(?=https?://)", "", text) for text in texts)
    return [re.sub(r"://[^/@]*@", "://", url).rstrip("/") for url in urls]


def redact(line: str) -> str:
    """Hide credentials in URLs."""
    return re.sub(r"(://)[^/\s@]+@", r"\1****@", line)


def lacks_wheels(output: Sequence[str]) -> bool:
    """Whether uv failed because a package has no wheel."""
    text = " ".join(output)
    return "uilding from source is disabled" in text or "no-build" in text


def lacks_space(output: Sequence[str]) -> bool:
    """Whether a step failed because the disk is full."""
    text = " ".join(output)
    return "No space left on device" in text or "The disk is full" in text


def lacks_network(output: Sequence[str]) -> bool:
    """Whether uv failed because it could not reach a host."""
    text = " ".join(output)
    return "error sending request" in text or "Failed to fetch" in text


def names_any(output: Sequence[str], requirements: Sequence[str]) -> bool:
    """Whether a step's output names a package of the requirements, not only a part of a name."""
    found = (re.match(r"[A-Za-z0-9](?:[\w.-]*\w)?", each.strip()) for each in requirements)
    names = "|".join(re.escape(each[0]) for each in found if each)
    pattern = rf"(?<![\w.-])(?:{names})(?![\w-])"
    return bool(names) and re.search(pattern, " ".join(output), re.IGNORECASE) is not None
