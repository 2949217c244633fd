"""The JSON objects of shares, copies and transfers."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from jupyterhub_binder.environments.sharing import MAX_SHARES
from jupyterhub_binder.model.sharing import Right
from jupyterhub_binder.utils.validation import MAX_NAME_CHARACTERS, MAX_PERSON_CHARACTERS
from jupyterhub_binder.web.api.shapes import Count, Items, NamedJSON, TextLine, shape

SubjectText = Annotated[str, TextLine(MAX_PERSON_CHARACTERS + 6, min_length=1)]


@shape
class ShareJSON:
    """A right for somebody."""

    subject: SubjectText
    """user:NAME, group:NAME, or everyone"""
    right: Literal["launch", "manage"]
    """launch: see it, launch it, read its logs. manage: also rename, build, update, choose a build,
    share"""


@shape
class GivenShareJSON:
    """A right that somebody has."""

    subject: str
    """user:NAME, group:NAME, or everyone"""
    right: Right
    since: datetime
    by: str


@shape
class SharesBody:
    """All shares of an environment."""

    shares: Annotated[tuple[ShareJSON, ...], Items(MAX_SHARES)]


@shape
class SharesJSON:
    """Who may use an environment besides its owner, and who does."""

    shares: tuple[GivenShareJSON, ...]
    people: Count
    """How many others have launched it"""
    launched: datetime | None
    """When one of them last did"""


@shape
class CopyBody:
    """A copy of an environment."""

    name: Annotated[str, TextLine(MAX_NAME_CHARACTERS, min_length=1)] | None = None
    """Default: the original's name"""


@shape
class TransferBody:
    """Who is to own an environment."""

    to: Annotated[str, TextLine(MAX_PERSON_CHARACTERS, min_length=1)]


@shape
class TransferJSON:
    """An offer of an environment."""

    environment: NamedJSON
    label: str
    """The repository's name for people: github.com/org/name"""
    owner: str
    to: str
    by: str
    offered: datetime
    expires: datetime
