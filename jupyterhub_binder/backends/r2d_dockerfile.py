"""What a trial reads of a Dockerfile, and the Dockerfile that it builds. Pure.

So much of the language is understood here as is needed for that. Where it is in doubt, a trial is to
fail, not to pass: then the image is tried by itself.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Sequence

from jupyterhub_binder.backends.r2d_script import SCRIPT

_HOME = "binder-trial-home"
_LONGEST = 2**17
"""Characters of a Dockerfile that is read: reading keeps its build waiting."""
_CONTINUED = re.compile(r"\\[ \t]*\r?\n")
# What is indented is taken for a part of the line before.
_FROM = re.compile(
    r"^FROM[ \t]+(?:--\S+[ \t]+)*(\S+)(?:[ \t]+AS[ \t]+\S+)?[ \t]*\r?$",
    re.MULTILINE | re.IGNORECASE,
)
_COMMAND = re.compile(r"^RUN\b", re.MULTILINE | re.IGNORECASE)
_ENTRYPOINT = re.compile(r"^ENTRYPOINT[ \t]+(.*)$", re.MULTILINE | re.IGNORECASE)
_ARGUMENTS = re.compile(r"^[ \t]*ARG[ \t]+(.*)$", re.MULTILINE | re.IGNORECASE)
_VARIABLES = re.compile(r"^ENV[ \t]+(.*)$", re.MULTILINE | re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Dockerfile:
    """A Dockerfile's text; its last stage becomes the image."""

    def __init__(self, text: str) -> None:
        self._text = text
        stages = list(_FROM.finditer(text)) if len(text) <= _LONGEST else []
        self._last = stages[-1].start() if stages else 0
        self.base = stages[-1][1] if stages else ""
        """What the last stage begins with: an image, an earlier stage, or a variable.

        Empty where none is found, or the text is too long to look."""
        self.commands = len(_COMMAND.findall(text))
        """How many steps run a command."""
        self.entrypoint = (_ENTRYPOINT.findall(text, self._last) or [""])[-1].strip()
        """What the last stage sets, as it stands there; empty where that is its base's affair."""

    def with_trial(self, entrypoint: Sequence[str], *, home: str, user_id: int) -> str:
        """Return a Dockerfile of the same image, whose last step tries it and fails.

        The smoke test runs as a spawner would run a server: through the entrypoint, with an empty
        folder of the user's as home, and without what only a build knows. It fails, so that it is
        not kept, and says the same another time.
        """
        unset = [word for name in self._find_arguments() for word in ("-u", name)]
        command = json.dumps(["env", *unset, *entrypoint, "sh", "-c", f"{SCRIPT}exit 1\n"])
        return (
            # A stage more before the last one changes no other's number.
            f"{self._text[: self._last]}"
            f"FROM scratch AS {_HOME}\nUSER {user_id}:{user_id}\nWORKDIR /home\n"
            f"{self._text[self._last :]}\n"
            f"RUN --mount=type=bind,rw,from={_HOME},source=/home,target={home} {command}\n"
        )

    def _find_arguments(self) -> list[str]:
        """Return the arguments of the build: its commands see them as variables, the image not."""
        text, last = (_CONTINUED.sub(" ", part) for part in (self._text, self._text[self._last :]))
        words = {word for line in _ARGUMENTS.findall(text) for word in line.split()}
        found = {word.partition("=")[0] for word in words}
        return sorted(
            filter(_NAME.fullmatch, found.difference(*map(_names_set, _VARIABLES.findall(last))))
        )


def _names_set(words: str) -> Iterator[str]:
    """Yield what an ENV sets, ``A=1 B=2`` or ``A the rest``."""
    try:
        first, *others = shlex.split(words)
    except ValueError:
        return
    yield first.partition("=")[0]
    if "=" in first:
        yield from (other.partition("=")[0] for other in others)


def read_entrypoint(text: str) -> list[str] | None:
    """Return the words of an entrypoint in JSON, ``null`` is none; None where it is for a shell."""
    try:
        words = json.loads(text) or []
    except (ValueError, RecursionError):
        return None
    return words if isinstance(words, list) and all(isinstance(w, str) for w in words) else None
