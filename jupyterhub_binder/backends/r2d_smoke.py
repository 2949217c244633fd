"""Whether a server could start from a container image: one short run, then a decision.

It runs as a spawner would: through the image's entrypoint, with an empty home in place of the
image's own, since a person's home is mounted there.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Iterable
from contextlib import aclosing
from dataclasses import dataclass

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from jupyterhub_binder.backends.engine import Engine
from jupyterhub_binder.backends.r2d_script import SCRIPT, SPOKEN, WORD
from jupyterhub_binder.errors import BuildFailed
from jupyterhub_binder.process import ProcessFailed

CODE = "smoke_test_failed"
_NOT_TELLING = re.compile(
    # Our own words, what Docker's program adds below an error, and a warning that repo2docker's
    # entrypoint has of itself on older Pythons.
    rf"{WORD} |(Run|See) 'docker |time=|.*RuntimeWarning: line buffering|self\.stdout = io\.open"
)
_KEPT_LINES = 40
_MOST_SAID = 2**18
"""Characters after which an image has said too much: reading on keeps the service from its work."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What a server needs of an image."""

    user_id: int
    home: str
    """Where a spawner mounts the person's home."""
    singleuser: SpecifierSet
    """Which versions of jupyterhub-singleuser go with the hub."""
    timeout_seconds: float


async def try_image(engine: Engine, image: str, *, container: str, expected: Expected) -> str:
    """Run an image once; return the version of its jupyterhub-singleuser.

    Raises BuildFailed with the reason when no server could start from it. Whoever calls this
    removes the container: it may be there still when this is cancelled, or takes too long.
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
    try:
        async with asyncio.timeout(expected.timeout_seconds):
            async with aclosing(engine.stream(*words, grace_seconds=0)) as output:
                async for line in output:
                    text = line.rstrip("\r")
                    size += len(text) + 1
                    if size > _MOST_SAID:
                        _fail("its entrypoint or start script says more than a log takes")
                    (said if SPOKEN.match(text) else others).append(text)
    except TimeoutError as error:
        raise BuildFailed(
            f"The image was built, but `jupyterhub-singleuser --version` did not end in it within "
            f"{expected.timeout_seconds:g} seconds; an entrypoint or start script may hang.",
            code=CODE,
        ) from error
    except ProcessFailed as error:
        tail = _last_word(others) or error.message
        raise BuildFailed(
            f"The image was built, but no server could start from it: {tail}", code=CODE
        ) from error
    return check([*said, *others], expected)


def _owner(engine: Engine, user_id: int) -> str:
    """Return the options that let a user write to an empty home, which each engine has of its own."""
    return "notmpcopyup,U" if engine.podman else f"mode=0755,uid={user_id}"


def check(lines: Iterable[str], expected: Expected) -> str:
    """Return the version of the image's jupyterhub-singleuser, out of what its run said.

    Raises BuildFailed with what is wrong, and how to mend it. Pure.
    """
    kept = list(lines)
    said = {match[1]: match[2].strip() for line in kept if (match := SPOKEN.match(line))}
    if not said:
        _fail('it does not run commands: its entrypoint must end with exec "$@"')
    if said.get("uid") != str(expected.user_id):
        _fail(
            f"it runs as user id {said.get('uid')}, and people's homes belong to "
            f"{expected.user_id}. End its Dockerfile with `USER {expected.user_id}`"
        )
    if "writable" not in said:
        _fail(
            f"its user cannot write to its home, {said.get('home') or 'which is not set'}. Its "
            f"Dockerfile should say `ENV HOME={expected.home}`"
        )
    version = said.get("version", "").split(" ")[-1]
    if not version:
        _fail(
            "`jupyterhub-singleuser --version` fails in it. Install jupyterhub and jupyterlab "
            f"outside of the home. {_last_word(kept)}".rstrip()
        )
    if not _goes_with(version, expected.singleuser):
        _fail(
            f"its jupyterhub-singleuser is {version}, and this hub takes {expected.singleuser}. "
            "Ask for that version of jupyterhub"
        )
    return version


def singleuser_of(hub: str) -> str:
    """Return the versions of jupyterhub-singleuser that go with a hub's version.

    JupyterHub compares major versions, and warns of another one. repo2docker's images are a
    major version behind for a while after a release, and work: so one behind is taken too.
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


def _fail(why: str) -> None:
    raise BuildFailed(
        f"The image was built, but no server could start from it: {why.rstrip('.')}.", code=CODE
    )
