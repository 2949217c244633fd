"""Checks whether a server can start from a container image.

The test runs a container like a spawner: with the image's entrypoint, and an empty home over the
image's own. A pure function decides from the output.
"""

from __future__ import annotations

import asyncio
import re
import shlex
from collections import deque
from collections.abc import Iterable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from jupyterhub_binder.backends.repo2docker.engine import Engine
from jupyterhub_binder.backends.repo2docker.listing import LISTING, MAX_LISTED, read_package
from jupyterhub_binder.errors import BuildFailed
from jupyterhub_binder.model.inventory import Package
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.utils.subprocess import ProcessFailed

BEGINNING = "Checking that a server can start from the image"
CODE = "smoke_test_failed"
WORD = "binder-smoke"
_PATH = Path(__file__).parents[1] / "smoke_path"
_WRITE = " && ".join(
    f'printf %s {shlex.quote(file.read_text(encoding="utf-8"))} > "$path/{file.name}"'
    for file in sorted(_PATH.glob("*.py"))
)
# All output goes to one pipe: of two, an engine may mix the lines.
SCRIPT = f"""
exec 2>&1
echo "{WORD} uid $(id -u)"
echo "{WORD} home $HOME"
path="$HOME/.{WORD}"
mkdir "$path" && {_WRITE} && echo "{WORD} writable yes"
export PYTHONPATH="$path${{PYTHONPATH:+:$PYTHONPATH}}"
version="$(jupyterhub-singleuser --version)"
rm -rf "$path" 2>/dev/null
echo "{WORD} version $version"
{LISTING}
"""
"""Prints the user id, the home, whether it is writable, the server's version and the packages."""
SPOKEN = re.compile(rf"^{WORD} (\w+) ?(.*)$")
"""A line of the script: a word and its value."""
_NOT_TELLING = re.compile(
    # Our own words, what Docker's program adds below an error, and a warning that repo2docker's
    # entrypoint has of itself on older Pythons.
    rf"{WORD} |(Run|See) 'docker |time=|.*RuntimeWarning: line buffering|self\.stdout = io\.open"
)
_KEPT_LINES = 40
_MAX_SAID = 2**18 + MAX_LISTED
"""Maximum characters of output, to protect the service."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What a server needs from an image."""

    user_id: int
    home: str
    """Where spawners mount the person's home."""
    singleuser: SpecifierSet
    """The versions of jupyterhub-singleuser that work with the hub."""
    timeout_seconds: float


@dataclass(frozen=True, slots=True)
class Tried:
    """An image from which a server can start."""

    version: str
    """Of jupyterhub-singleuser."""
    packages: tuple[Package, ...]


async def try_image(engine: Engine, image: str, *, container: str, expected: Expected) -> Tried:
    """Run an image once; return what was found in it.

    Raises BuildFailed. The caller removes the container, which may survive a cancel or timeout.
    """
    words = [
        "run",
        "--rm",
        f"--name={container}",
        "--network=none",
        "--pids-limit=512",
        "--memory=1g",
        f"--tmpfs={expected.home}:rw,exec,size=64m,{_owner(engine, expected.user_id)}",
        image,
        "sh",
        "-c",
        SCRIPT,
    ]
    size = 0
    said, others = deque[str](maxlen=_KEPT_LINES), deque[str](maxlen=_KEPT_LINES)
    packages: list[Package] = []
    try:
        async with asyncio.timeout(expected.timeout_seconds):
            async with aclosing(engine.stream(*words, grace_seconds=0)) as output:
                async for line in output:
                    text = line.rstrip("\r")
                    size += len(text) + 1
                    if size > _MAX_SAID:
                        _fail(Message("its entrypoint or start script prints too much."))
                    if (package := read_package(text)) is not None:
                        packages.append(package)
                    else:
                        (said if SPOKEN.match(text) else others).append(text)
    except TimeoutError as error:
        seconds = f"{expected.timeout_seconds:g}"
        raise BuildFailed(
            "The image was built, but `jupyterhub-singleuser --version` did not finish in it "
            "within %(seconds)s seconds. An entrypoint or start script may hang.",
            seconds=seconds,
            code=CODE,
        ) from error
    except ProcessFailed as error:
        tail = _last_word(others) or error.message
        raise BuildFailed(
            "The image was built, but no server can start from it: %(why)s", why=tail, code=CODE
        ) from error
    return Tried(check([*said, *others], expected), tuple(packages))


def _owner(engine: Engine, user_id: int) -> str:
    """Return the mount options that make the empty home writable."""
    return "notmpcopyup,U" if engine.podman else f"mode=0755,uid={user_id}"


def check(lines: Iterable[str], expected: Expected) -> str:
    """Return the version from the output. Pure. Raises BuildFailed."""
    kept = list(lines)
    said = {match[1]: match[2].strip() for line in kept if (match := SPOKEN.match(line))}
    if not said:
        _fail(Message('it does not run commands. Its entrypoint must end with exec "$@".'))
    if said.get("uid") != str(expected.user_id):
        _fail(
            Message(
                "it runs as user id %(found)s, but home directories belong to %(wanted)s. End "
                "its Dockerfile with `USER %(wanted)s`.",
                found=said.get("uid"),
                wanted=expected.user_id,
            )
        )
    if "writable" not in said:
        _fail(
            Message(
                "its user can't write to the home directory, %(home)s. Add `ENV "
                "HOME=%(wanted)s` to its Dockerfile.",
                home=said.get("home") or Message("which is not set"),
                wanted=expected.home,
            )
        )
    version = said.get("version", "").split(" ")[-1]
    if not version:
        why = Message(
            "`jupyterhub-singleuser --version` fails in it. Install jupyterhub and jupyterlab "
            "outside the home directory."
        )
        last = _last_word(kept)
        _fail(Message.joined(why, f"{last.rstrip('.')}." if last else ""))
    if not _goes_with(version, expected.singleuser):
        _fail(
            Message(
                "it has jupyterhub-singleuser %(found)s, but this hub needs %(wanted)s. Ask for "
                "that version of jupyterhub.",
                found=version,
                wanted=str(expected.singleuser),
            )
        )
    return version


def singleuser_of(hub: str) -> str:
    """Return the versions of jupyterhub-singleuser that work with a hub's version.

    These include the previous major version, because repo2docker's images lag behind.
    """
    major = Version(hub).major
    return f">={max(major - 1, 0)},<{major + 1}"


def _goes_with(version: str, wanted: SpecifierSet) -> bool:
    try:
        return wanted.contains(Version(version), prereleases=True)
    except InvalidVersion:
        return False


def _last_word(lines: Iterable[str]) -> str:
    plain = [line.strip() for line in lines if line.strip() and not _NOT_TELLING.match(line)]
    return plain[-1][:300] if plain else ""


def _fail(why: Message) -> NoReturn:
    raise BuildFailed(
        "The image was built, but no server can start from it: %(why)s", why=why, code=CODE
    )
