"""Why a server ended before it answered, from what its container said last. Pure."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

_MAX_SAID = 300
_MAX_READ = 4000
"""What a container says is untrusted, and the patterns take quadratic time."""
_SERVER = "jupyterhub-singleuser"
_KNOWN = (
    (
        rf"{_SERVER}\W.*(not found|no such file)|no such file.*{_SERVER}",
        f"it has no {_SERVER}. Install jupyterhub and jupyterlab in it",
    ),
    (
        r"\bsh\W.*executable file not found|\bsh: no such file",
        "it has no shell, sh, which every image needs",
    ),
    (
        r"running as root is not recommended|will run as root|runasnonroot",
        "it runs as root. End its Dockerfile with the USER that owns home directories",
    ),
    (
        r"bind source path does not exist",
        "the container engine can't find its folder. Build it again; if that does not help, tell "
        "your administrator",
    ),
)
"""What is missing, by what containers and engines say."""


@dataclass(frozen=True, slots=True)
class EndedServer:
    """A container that does not run."""

    which: str
    """Another one for every end."""
    said: str


def read_end(parts: Iterable[bytes], *, keep: int, give_up: int) -> bytes:
    """Return the last `keep` bytes of what comes in parts, of the first `give_up` bytes."""
    end: deque[bytes] = deque()
    read = held = 0
    for part in parts:
        end.append(part)
        read += len(part)
        held += len(part)
        while held - len(end[0]) >= keep:
            held -= len(end.popleft())
        if read >= give_up:
            break
    return b"".join(end)[-keep:]


def explain_end(said: str) -> str:
    """Return what is missing, or the last line; without a full stop."""
    known = find_cause(said)
    lines = [line.strip() for line in said[-_MAX_READ:].splitlines() if line.strip()]
    last = lines[-1][:_MAX_SAID].rstrip(".") if lines else "it ended without a word"
    return known or last


def find_cause(said: str) -> str:
    """Return what is known to be missing, or ''."""
    said = said[-_MAX_READ:]
    return next((why for cause, why in _KNOWN if re.search(cause, said, re.IGNORECASE)), "")
