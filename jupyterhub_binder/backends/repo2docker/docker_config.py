"""Reads registry credentials from `config.json`, as `docker login` writes it.

The file holds them or names a program, `docker-credential-<name>`, for one or all registries.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jupyterhub_binder.errors import ConfigurationError
from jupyterhub_binder.utils.subprocess import ProcessFailed, run

DOCKER_HUB = "docker.io"
_HUB_KEYS = ("https://index.docker.io/v1/", "index.docker.io", "docker.io")
_HELPER_SECONDS = 30
_HELPER_NAME = re.compile(r"[A-Za-z0-9._-]+")
_NOT_FOUND = re.compile(r"credentials not found", re.IGNORECASE)
_IDENTITY_TOKEN = "<token>"  # noqa: S105 - that is what Docker calls it


@dataclass(frozen=True, slots=True)
class Credentials:
    """The credentials for a registry."""

    username: str
    password: str

    @property
    def header(self) -> str:
        """Return the value of an Authorization header."""
        text = f"{self.username}:{self.password}".encode()
        return f"Basic {base64.b64encode(text).decode()}"


@dataclass(frozen=True, slots=True)
class DockerConfig:
    """What a `config.json` contains for one registry."""

    path: Path
    host: str
    kept: Credentials | None
    """The credentials in the file."""
    helper: str
    """The credential program without ``docker-credential-``, or empty."""

    @classmethod
    def read(cls, folder: str, host: str) -> DockerConfig:
        """Read a folder's file; a missing one is empty. Raises ConfigurationError."""
        path = Path(folder).expanduser() / "config.json"
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
            kept = _first(said.get("auths") or {}, host)
            helper = _first(said.get("credHelpers") or {}, host) or said.get("credsStore") or ""
            if helper and not _HELPER_NAME.fullmatch(helper):
                raise ValueError("credHelpers")
            return cls(path, host, _read_credentials(kept) if kept else None, helper)
        except FileNotFoundError:
            return cls(path, host, None, "")
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise ConfigurationError(
                f"Registry.docker_config: {path} is not a file that `docker login` writes."
            ) from error

    async def fetch(self) -> Credentials | None:
        """Return the credentials or None; may run the program.

        Those of a program may expire within an hour. Raises ConfigurationError.
        """
        if not self.helper:
            return self.kept
        for server in _HUB_KEYS if self.host == DOCKER_HUB else (self.host, f"https://{self.host}"):
            if (found := await self._ask(server)) is not None:
                return found
        return self.kept

    async def _ask(self, server: str) -> Credentials | None:
        program = f"docker-credential-{self.helper}"
        environment = {**os.environ, "DOCKER_CONFIG": str(self.path.parent)}
        try:
            answer = await run(
                [program, "get"],
                env=environment,
                cwd=Path("/"),
                timeout_seconds=_HELPER_SECONDS,
                stdin=server,
            )
            said = json.loads(answer)
            found = Credentials(str(said["Username"]), str(said["Secret"]))
        except ProcessFailed as error:
            if _NOT_FOUND.search(error.output):
                return None
            raise self._broken(error.output.strip() or error.message) from error
        except TimeoutError as error:
            raise self._broken(f"it did not answer within {_HELPER_SECONDS} seconds") from error
        except OSError as error:
            raise self._broken(error.strerror or str(error)) from error
        except (ValueError, KeyError, TypeError) as error:
            raise self._broken("its answer is invalid") from error
        if found.username == _IDENTITY_TOKEN:
            raise self._broken("it returned an identity token instead of a name and password")
        return found

    def _broken(self, why: str) -> ConfigurationError:
        return ConfigurationError(
            f"Registry.docker_config: {self.path} names docker-credential-{self.helper} for "
            f"{self.host}, which does not work: {why}."
        )


def _first(known: Mapping[str, Any], host: str) -> Any:
    return next((known[key] for key in _keys(host) if key in known), None)


def _keys(host: str) -> tuple[str, ...]:
    if host == DOCKER_HUB:
        return _HUB_KEYS
    beginnings = ("", "https://", "http://")
    return tuple(f"{begin}{host}{end}" for begin in beginnings for end in ("", "/", "/v1/", "/v2/"))


def _read_credentials(found: Mapping[str, Any]) -> Credentials | None:
    if found.get("username"):
        return Credentials(found["username"], found.get("password", ""))
    if not found.get("auth"):
        return None
    try:
        text = base64.b64decode(found["auth"], validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise ValueError("auth") from error
    username, _, password = text.partition(":")
    return Credentials(username, password)
