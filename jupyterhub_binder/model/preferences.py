"""How a person likes to use an environment, as frozen data."""

from __future__ import annotations

from dataclasses import dataclass, field

from jupyterhub_binder.model.profiles import ProfileChoice


@dataclass(frozen=True, slots=True)
class Preference:
    """One person's choices for one environment."""

    pinned: bool = False
    """Whether it stands at the top of the person's list."""
    opens: str = ""
    """The server address of the application that was opened last; empty: as in the settings."""
    profile: ProfileChoice = field(default_factory=ProfileChoice)
    """The hub's profile that was chosen last."""


@dataclass(frozen=True, slots=True)
class Application:
    """A program in an environment that shows itself in a browser."""

    name: str
    path: str
    """Below the server's address: ``/rstudio``. Empty: what the environment's settings open."""
