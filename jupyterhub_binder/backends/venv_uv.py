"""uv's command lines, its environment, and its complaints in a sentence.

Runs nothing. Each command works on the environment that it names and reads no project file:
a checkout's ``uv.toml`` or ``pyproject.toml`` would be a stranger's configuration.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import urlsplit

from jupyterhub_binder.backends.venv_requirements import Requirements

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
)
"""What of the service's own environment uv is given, by name or pattern."""

NO_BUILD = "--no-build"


class Uv:
    """uv for one environment; `program` and the paths as they are where it runs."""

    def __init__(self, program: Path, environment: Path) -> None:
        self._program = program
        self._environment = environment

    def venv(self, interpreter: str, *, prompt: str) -> list[str]:
        """Make the environment, with scripts that do not name their place."""
        return [
            *self._start("venv", "--relocatable", "--no-project", "--prompt", prompt),
            *("--python", interpreter, str(self._environment)),
        ]

    def resolve(
        self, wanted: Requirements, *, given: Path, limits: Path, lock: Path, build: bool
    ) -> list[str]:
        """Choose versions of all that is in `given` and write them to `lock`."""
        return [
            *self._start("pip", "compile", "--quiet", "--no-header", *_no_build(build)),
            *("--python", str(self._environment / "bin/python")),
            *(part for url in wanted.indexes for part in ("--extra-index-url", url)),
            *(("--index-strategy", "unsafe-best-match") if wanted.indexes else ()),
            *(("--prerelease", "allow") if wanted.prereleases else ()),
            *("--constraints", str(limits), "--output-file", str(lock), str(given)),
        ]

    def install(
        self, wanted: Requirements, *, lock: Path, link_mode: str, build: bool
    ) -> list[str]:
        """Install what `lock` names."""
        return [
            *self._start("pip", "sync", *_no_build(build), "--link-mode", link_mode),
            *("--python", str(self._environment / "bin/python")),
            *(part for url in wanted.indexes for part in ("--extra-index-url", url)),
            *(("--index-strategy", "unsafe-best-match") if wanted.indexes else ()),
            str(lock),
        ]

    def _start(self, *words: str) -> list[str]:
        return [str(self._program), *words, "--color", "never", "--no-progress"]


def _no_build(build: bool) -> tuple[str, ...]:
    return () if build else (NO_BUILD,)


def uv_environment(own: Mapping[str, str], passed: Sequence[str], *, cache: Path) -> dict[str, str]:
    """Return uv's environment out of the service's own.

    An index that only pip was told of is passed on. netrc is not: its passwords are for hosts
    of the service, and a requirement line names a host of a stranger's choice.
    """
    given = {name: own[name] for name in own if any(fnmatchcase(name, one) for one in passed)}
    if "PIP_INDEX_URL" in own and not given.keys() & {"UV_DEFAULT_INDEX", "UV_INDEX_URL"}:
        given["UV_DEFAULT_INDEX"] = own["PIP_INDEX_URL"]
    return given | {
        "PATH": own.get("PATH", "/usr/bin:/bin"),
        "HOME": own.get("HOME", "/"),
        "LANG": "C.UTF-8",
        "NETRC": "/dev/null",
        "UV_CACHE_DIR": str(cache),
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_NO_ENV_FILE": "1",
    }


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment for untrusted code: nothing that holds credentials or leads out."""
    kept = ("UV_HTTP_", "UV_NATIVE_TLS", "UV_SYSTEM_CERTS", "SSL_CERT_", "UV_PYTHON_DOWNLOADS")
    plain = {"UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_NO_ENV_FILE"}
    return {
        name: value
        for name, value in environment.items()
        if (name in plain or name.startswith(kept)) and "@" not in value
    }


def index_hosts(environment: Mapping[str, str]) -> list[str]:
    """Return the hosts of the package indexes that an environment names."""
    names = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_INDEX")
    texts = " ".join(environment.get(name, "") for name in names).split()
    hosts = (urlsplit(text.rpartition("=")[2]).hostname for text in texts)
    return [host for host in hosts if host]


def redact(line: str) -> str:
    """Hide the credentials of any address in a line of output."""
    return re.sub(r"(://)[^/\s@]+@", r"\1****@", line)


def lacks_wheels(output: Sequence[str]) -> bool:
    """Say whether uv failed because something would have to be built from source."""
    text = " ".join(output)
    return "uilding from source is disabled" in text or "no-build" in text


_DRAWING = re.compile(r"^\s*([\u00d7\u2570\u251c\u2502\u2500\u25b6>]+\s*)+|^\s*(error|cause):\s*")
_EMPTY_WORDS = re.compile(
    r"^No solution found when resolving dependencies:?$"
    r"|,?( and)? we can conclude that (your requirements are|the requirements are) unsatisfiable"
)


def explain(output: Sequence[str], *, most: int = 700) -> str:
    """Return uv's complaint as one paragraph, without its drawing and its last conclusion."""
    begins = (i for i, line in enumerate(output) if re.match(r"\s*(\u00d7|error:)", line))
    words = []
    for line in output[next(begins, 0) :]:
        plain = _EMPTY_WORDS.sub("", _DRAWING.sub("", line).strip())
        # The advice of a program is for who typed its command.
        if plain and not plain.startswith("hint:"):
            words.append(plain)
    text = " ".join(words).removeprefix("Because ")
    if len(text) > most:
        text = text[:most].rsplit(" ", 1)[0] + " …"
    return text or "uv gave no reason."
