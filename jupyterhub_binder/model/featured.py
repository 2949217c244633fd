"""Featured environments: what people find above their list."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from jupyterhub_binder.model.sharing import Subject

HUB_OWNER = "service:"
"""The owner of environments from the configuration. No person and no service can have this name."""


@dataclass(frozen=True, slots=True)
class GalleryEntry:
    """What the gallery says of an environment. A share gives its people the right to launch it."""

    environment_id: str
    subject: Subject
    """Everyone, or a group."""
    since: datetime
    by: str
    written: str = ""
    """An administrator's text; empty for the README's paragraph."""
    paragraph: str = ""
    """Of the README at `read_ref`."""
    picture: str = ""
    """The checksum of the README's picture; empty if there is none."""
    read_ref: str = ""
    """The commit whose README was read; empty before."""
    link: str = ""
    """The text in the configuration; empty if an administrator featured it."""
    position: int | None = None
    """In the configuration."""

    @property
    def text(self) -> str:
        """What is shown: the administrator's text, or the README's."""
        return self.written or self.paragraph
