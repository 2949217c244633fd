"""The JSON objects about an environment's past; see `shapes`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from typing import Annotated, Any

from jupyterhub_binder.model.history import ChangeCause
from jupyterhub_binder.utils.validation import MAX_NAME_CHARACTERS
from jupyterhub_binder.utils.wire import OMIT_NONE
from jupyterhub_binder.web.api.shapes import Count, Number, TextLine, shape


@shape
class ChangeJSON:
    """A change of the build that servers start from. Entries are never altered."""

    number: Number
    """Counts the environment's changes, from 1"""
    from_number: Number | None
    """The build before; null for the first one"""
    to_number: Number
    """The build since then"""
    cause: ChangeCause
    """asked: a requested build succeeded; by_itself: the service built it; rolled_back: somebody
    chose an earlier build; chosen: somebody chose a later one"""
    reason: str
    """In a person's words; may be empty"""
    time: datetime
    by: str | None = field(default=None, metadata=OMIT_NONE)
    """Only for the owner and for admins"""


@shape
class PackageJSON:
    """A package in an image."""

    name: str
    version: str
    source: str
    """What manages it: pip or conda"""


@shape
class PackagesJSON:
    """The packages in a build's image."""

    build_id: str
    known: bool
    """False if the backend does not say what is in its images, or the build is not finished"""
    items: tuple[PackageJSON, ...]
    tools: Mapping[str, str]
    """What made the image, with versions"""


@shape
class PackageChangeJSON:
    """A package that has another version."""

    name: str
    source: str
    before: str
    after: str


@shape
class DifferenceQuery:
    """Which build to compare with."""

    number: Count = 0
    """The number of the other build in your environment; default: the one before"""


@shape
class DifferenceJSON:
    """What differs between the packages of two builds of one environment."""

    from_number: Number | None
    """The other build; null if there is none to compare with"""
    to_number: Number | None
    """This build; null if it is in no environment of yours"""
    known: bool
    """False if the packages of one of them are unknown"""
    added: tuple[PackageJSON, ...]
    removed: tuple[PackageJSON, ...]
    changed: tuple[PackageChangeJSON, ...]


@shape
class ReceiptKeyJSON:
    """A key that signs receipts."""

    algorithm: str
    id: str
    """The beginning of the SHA-256 of the key"""
    public_key: str
    """In Base64"""


@shape
class SignedReceiptJSON:
    """What a build was made of, signed."""

    receipt: Mapping[str, Any]
    """Repository and commit, recipe digest, lock or image digest, packages, tools and time"""
    key: ReceiptKeyJSON
    """What the service signed it with; compare it with the hub's own, `GET /receipt-key`"""
    signature: str
    """Of `receipt` as canonical JSON, in Base64"""


@shape
class ReceiptBody:
    """A receipt to make an environment from."""

    receipt: Mapping[str, Any]
    """The whole file: `receipt`, `key` and `signature`"""
    name: Annotated[str, TextLine(MAX_NAME_CHARACTERS, min_length=1)] | None = None
    """The environment's name; default: the repository's"""


@shape
class ReceiptCheckBody:
    """A receipt to look at."""

    receipt: Mapping[str, Any]
    """The whole file: `receipt`, `key` and `signature`"""


@shape
class ReceiptCheckJSON:
    """What this hub would make of a receipt that is valid."""

    own: bool
    """Whether this hub signed it"""
    key_id: str
    """The key that signed it"""
    exact: bool
    """Whether the environment has the same packages in the same versions"""
    notes: tuple[str, ...]
    """What is used, and what may differ"""
