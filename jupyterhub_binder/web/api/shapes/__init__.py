"""The JSON objects of the REST API, one frozen class per object.

`make openapi` generates the schemas: `EnvironmentJSON` becomes `Environment`, and a field's
docstring its description. An answer has every field. In a body or query, a field with a default is
optional, and null counts as absent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, TypeVar, dataclass_transform

from jupyterhub_binder.model.failures import Owner, WayKind
from jupyterhub_binder.utils.validation import (
    MAX_ADDRESS_CHARACTERS,
    MAX_NAME_CHARACTERS,
    MAX_PATH_CHARACTERS,
    MAX_PERSON_CHARACTERS,
    MAX_REF_CHARACTERS,
    MAX_SEARCH_CHARACTERS,
    MAX_SERVER_CHARACTERS,
    clean_path,
    clean_server_name,
)

T = TypeVar("T")

PAGE_LIMIT = 200
"""The most items that one answer lists."""
LARGEST_INTEGER = 2**31 - 1


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def shape(kind: type[T]) -> type[T]:
    """Make a frozen, keyword-only dataclass."""
    return dataclass(frozen=True, kw_only=True)(kind)


@dataclass(frozen=True, slots=True)
class TextLine:
    """One stripped line of text."""

    max_length: int
    min_length: int = 0
    clean: Callable[[str], str] = str
    """Normalises the text. Raises InvalidInput."""

    def __get_pydantic_json_schema__(self, core: Any, handler: Any) -> dict[str, Any]:
        """Return the JSON Schema."""
        least = {"minLength": self.min_length} if self.min_length else {}
        return {**handler(core), **least, "maxLength": self.max_length}


@dataclass(frozen=True, slots=True)
class Between:
    """A number with bounds."""

    minimum: int = 0
    maximum: int = LARGEST_INTEGER

    def __get_pydantic_json_schema__(self, core: Any, handler: Any) -> dict[str, Any]:
        """Return the JSON Schema."""
        most = {} if self.maximum == LARGEST_INTEGER else {"maximum": self.maximum}
        return {**handler(core), "minimum": self.minimum, **most}


@dataclass(frozen=True, slots=True)
class Items:
    """A list of objects with a maximum length."""

    maximum: int

    def __get_pydantic_json_schema__(self, core: Any, handler: Any) -> dict[str, Any]:
        """Return the JSON Schema."""
        return {**handler(core), "maxItems": self.maximum}


Count = Annotated[int, Between()]
Number = Annotated[int, Between(1)]
Seconds = Annotated[float, Between()]
Address = Annotated[str, TextLine(MAX_ADDRESS_CHARACTERS, min_length=1)]
Ref = Annotated[str, TextLine(MAX_REF_CHARACTERS)]
Path = Annotated[str, TextLine(MAX_PATH_CHARACTERS, clean=clean_path)]
Person = Annotated[str, TextLine(MAX_PERSON_CHARACTERS)]
ProfileName = Annotated[str, TextLine(MAX_NAME_CHARACTERS)]
Search = Annotated[str, TextLine(MAX_SEARCH_CHARACTERS)]
PythonVersion = Annotated[str, TextLine(10)]
BackendName = Annotated[str, TextLine(32)]
ServerName = Annotated[str, TextLine(MAX_SERVER_CHARACTERS, clean=clean_server_name)]


@shape
class NamedJSON:
    """An environment's id and name."""

    id: str
    name: str


@shape
class PageJSON(Generic[T]):
    """A part of a list."""

    items: tuple[T, ...]
    total: Count
    offset: Count
    limit: Number


@shape
class ListJSON(Generic[T]):
    """A whole list."""

    items: tuple[T, ...]


@shape
class PageQuery:
    """Which part of a list."""

    offset: Count = 0
    """How many items to skip"""
    limit: Annotated[int, Between(1, PAGE_LIMIT)] = 50
    """The maximum number of items"""


@shape
class EmptyBody:
    """No fields."""


@shape
class ProblemJSON:
    """What went wrong."""

    code: str
    """Stable, for programs"""
    message: str
    """What happened, and what to do about it"""
    detail: Mapping[str, Any]


@shape
class ErrorJSON:
    """The answer to a request that failed."""

    error: ProblemJSON


@shape
class WayOutJSON:
    """A way out of a failure."""

    kind: WayKind
    """`again`, `newest` and `python` are builds to request; `open` is a page; `admin` is for an
    administrator; `advice` is a sentence"""
    label: str
    url: str | None
    """The page to open"""
    python: str | None
    """The version to build with"""


@shape
class ReasonJSON:
    """Why something did not succeed."""

    code: str
    message: str
    seq: Number | None
    """The log line that decided it"""
    rule: str | None
    """The rule that explains it, of a failed build"""
    owner: Owner | None
    """Who can remove the cause"""
    line: str | None
    """The decisive line"""
    actions: tuple[WayOutJSON, ...]
    """Ways out, best first"""
    fingerprint: str | None
    """The same for failures of one kind that no rule explains"""


@shape
class SpecJSON:
    """A repository and a ref."""

    provider: str
    """The provider's prefix: gh, gl, gist, git, zenodo, figshare, hydroshare, dataverse, ckan,
    docker"""
    repo: str
    """The provider's name of the repository"""
    ref: str
    """As it was typed; it may move"""
    spec: str
    """BinderHub's text of repository and ref"""
    label: str
    """The repository's name for people: github.com/owner/name"""
    repo_url: str
    """The repository's web page"""
