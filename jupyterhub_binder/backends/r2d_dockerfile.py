"""What a trial reads of a Dockerfile, and the Dockerfile that it builds. Pure.

So much of the language is understood here as is needed for that. A Dockerfile may be read wrongly:
what a trial says counts only for an image with the entrypoint that was gone through.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from jupyterhub_binder.backends.r2d_script import SCRIPT

_HOME = "binder-trial-home"
# What is indented belongs to the line before.
_FROM = re.compile(r"^FROM[ \t]+(?:--\S+[ \t]+)*(\S+)", re.MULTILINE | re.IGNORECASE)
_COMMAND = re.compile(r"^RUN\b", re.MULTILINE | re.IGNORECASE)
_ENTRYPOINT = re.compile(r"^ENTRYPOINT[ \t]+(.*?)[ \t]*$", re.MULTILINE | re.IGNORECASE)


class Dockerfile:
    """A Dockerfile's text; its last stage becomes the image."""

    def __init__(self, text: str) -> None:
        self._text = text
        stages = list(_FROM.finditer(text))
        self._last = stages[-1].start() if stages else 0
        self.base = stages[-1][1] if stages else ""
        """What the last stage begins with: an image, an earlier stage, or a variable."""
        self.commands = len(_COMMAND.findall(text))
        """How many steps run a command."""
        self.entrypoint = (_ENTRYPOINT.findall(text, self._last) or [""])[-1]
        """What the last stage sets, as it stands there; empty where that is its base's affair."""

    def with_trial(self, entrypoint: Sequence[str], *, home: str, user_id: int) -> str:
        """Return a Dockerfile of the same image, whose last steps try it and fail.

        The smoke test runs as a spawner would run a server: through the entrypoint, with an empty
        folder of the user's as home. Its step fails as well, so that it is not kept, and says the
        same another time; but a repository's `start` may hide that.
        """
        command = json.dumps([*entrypoint, "sh", "-c", f"{SCRIPT}exit 1\n"])
        return (
            # A stage more before the last one changes no other's number.
            f"{self._text[: self._last]}"
            f"FROM scratch AS {_HOME}\nUSER {user_id}:{user_id}\nWORKDIR /home\n"
            f"{self._text[self._last :]}\n"
            f"RUN --mount=type=bind,rw,from={_HOME},source=/home,target={home} {command}\n"
            'RUN ["sh", "-c", "exit 1"]\n'
        )


def read_entrypoint(text: str) -> list[str] | None:
    """Return the words of an entrypoint in JSON, ``null`` is none; None where it is for a shell."""
    try:
        words = json.loads(text) or []
    except ValueError:
        return None
    return words if isinstance(words, list) and all(isinstance(w, str) for w in words) else None
