"""The JSON objects of featured environments."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from jupyterhub_binder.environments.gallery import MAX_TEXT_CHARACTERS
from jupyterhub_binder.web.api.shapes import TextLine, shape
from jupyterhub_binder.web.api.shapes.environments import EnvironmentJSON
from jupyterhub_binder.web.api.shapes.sharing import SubjectText


@shape
class FeaturedJSON:
    """A featured environment."""

    environment: EnvironmentJSON
    subject: str
    """Who sees it: group:NAME, or everyone"""
    text: str
    """The administrator's text, or the first paragraph of the repository's README"""
    written: bool
    """Whether the text is an administrator's"""
    picture: str | None
    """The address of the README's first picture"""
    since: datetime
    by: str | None
    """The administrator; null for the configuration"""
    link: str | None
    """The link in the configuration; null if an administrator featured it"""


@shape
class FeatureBody:
    """Who sees a featured environment, and its text."""

    subject: SubjectText = "everyone"
    """group:NAME, or everyone"""
    text: Annotated[str, TextLine(MAX_TEXT_CHARACTERS)] = ""
    """Plain text; empty for the first paragraph of the README"""


@shape
class PictureQuery:
    """Which picture."""

    v: Annotated[str, TextLine(40)] = ""
    """The picture's checksum, with which browsers may keep it"""
