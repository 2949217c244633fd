"""What a trial reads of a Dockerfile, and the Dockerfile that it builds. Pure.

So much of the language is understood here as is needed for that. Where it is in doubt, there is no
trial, or it fails: then the image is tried by itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from jupyterhub_binder.backends.r2d_script import SCRIPT

_HOME, _IMAGE = "binder-trial-home", "binder-trial-image"
_LONGEST = 2**17
"""Characters of a Dockerfile that is read: reading keeps its build waiting."""
_FROM = re.compile(
    r"^FROM[ \t]+(?:--\S+[ \t]+)*([^\s\\]+)(?:[ \t]+AS[ \t]+([a-z][a-z0-9_.-]*))?[ \t]*\r?$",
    re.MULTILINE | re.IGNORECASE,
)
_CONTINUED = re.compile(r"\\[ \t]*\r?\n")
_LOOKS_LIKE_FROM = re.compile(r"^[ \t]*FROM\b", re.MULTILINE | re.IGNORECASE)
_DOUBTFUL = re.compile(
    # Another sign at a line's end; texts in the midst; what runs in the next stage; no last line.
    r"^#[ \t]*escape\b|<<|^[ \t]*ONBUILD\b|\\\s*\Z",
    re.MULTILINE | re.IGNORECASE,
)
_COMMAND = re.compile(r"^RUN\b", re.MULTILINE | re.IGNORECASE)
_ENTRYPOINT = re.compile(r"^ENTRYPOINT[ \t]+(.*)$", re.MULTILINE | re.IGNORECASE)


class Dockerfile:
    """A Dockerfile's text; its last stage becomes the image."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._last = _find_last_stage(text)
        self.base = self._last[1] if self._last else ""
        """What the last stage begins with: an image, an earlier stage, or a variable.

        Empty where that is in doubt, or the text is too long to look."""
        self.commands = len(_COMMAND.findall(text))
        """How many steps run a command."""
        begin = self._last.start() if self._last else 0
        self.entrypoint = (_ENTRYPOINT.findall(text, begin) or [""])[-1].strip()
        """What the last stage sets, as it stands there; empty where that is its base's affair."""

    def with_trial(self, entrypoint: Sequence[str], *, home: str, user_id: int) -> str:
        """Return a Dockerfile of the same image, and of a stage more that tries it and fails.

        The smoke test runs as a spawner would run a server: through the entrypoint, and with an
        empty folder of the user's as home. A stage of its own has the image's variables, and none
        of the arguments that only a build knows. It fails, so that it is seldom kept.
        """
        assert self._last is not None
        name, end = self._last[2], self._last.end(1)
        named = self._text if name else f"{self._text[:end]} AS {_IMAGE}{self._text[end:]}"
        command = json.dumps([*entrypoint, "sh", "-c", f"{SCRIPT}exit 1\n"])
        return (
            f"{named}\n"
            f"FROM scratch AS {_HOME}\nUSER {user_id}:{user_id}\nWORKDIR /home\n"
            f"FROM {name or _IMAGE}\n"
            f"RUN --mount=type=bind,rw,from={_HOME},source=/home,target={home} {command}\n"
        )


def _find_last_stage(text: str) -> re.Match[str] | None:
    """Return where the last stage begins; None where that is in doubt."""
    if len(text) > _LONGEST or _DOUBTFUL.search(text):
        return None
    stages = list(_FROM.finditer(text))
    # What is indented may be a stage, or a part of the line before.
    if not stages or len(stages) != len(_LOOKS_LIKE_FROM.findall(_CONTINUED.sub("", text))):
        return None
    return stages[-1]


def read_entrypoint(text: str) -> list[str] | None:
    """Return the words of an entrypoint in JSON, ``null`` is none; None where it is for a shell."""
    try:
        words = json.loads(text) or []
    except (ValueError, RecursionError):
        return None
    return words if isinstance(words, list) and all(isinstance(w, str) for w in words) else None
