"""The JSON objects that only administrators see. See `shapes`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from typing import Annotated, Any, Literal

from jupyterhub_binder.admin.drain import MAX_MESSAGE_CHARACTERS
from jupyterhub_binder.admin.limits import LEAST, MOST
from jupyterhub_binder.admin.rules import MAX_PATTERN_CHARACTERS, MAX_REASON_CHARACTERS
from jupyterhub_binder.admin.usage import UseOrder
from jupyterhub_binder.model import BuildState
from jupyterhub_binder.model.admin import Action, Holder, LimitName, PersonUse, RuleKind
from jupyterhub_binder.utils.validation import MAX_PERSON_CHARACTERS
from jupyterhub_binder.utils.wire import OMIT_NONE
from jupyterhub_binder.web.api.shapes import (
    PAGE_LIMIT,
    Between,
    Count,
    Number,
    PageJSON,
    PageQuery,
    Person,
    ReasonJSON,
    Search,
    TextLine,
    shape,
)
from jupyterhub_binder.web.api.shapes.builds import BuildJSON
from jupyterhub_binder.web.api.shapes.environments import ListQuery

# --- Builds, environments and usage ---------------------------------------------------------------


@shape
class QueueJSON:
    """Everyone's builds that run or wait."""

    running: tuple[BuildJSON, ...]
    waiting: tuple[BuildJSON, ...]
    """In queue order"""
    waiting_total: Count
    offset: Count
    """Of the waiting builds"""
    limit: Number
    max_running: Number
    """How many run at once"""
    draining: bool
    """Whether builds are paused"""


Day = Annotated[str, TextLine(10)]


@shape
class HistoryQuery:
    """Which of everyone's builds."""

    state: BuildState | None = None
    person: Person = ""
    """Who requested it first; the whole name"""
    repository: Search = ""
    """Part of the repository as it is shown"""
    reason: Annotated[str, TextLine(64)] = ""
    """Why it failed: a rule's id, a fingerprint or the reason's code"""
    since: Day = ""
    """The first day of requests in UTC, such as 2026-11-30"""
    until: Day = ""
    """The last day"""
    after: Annotated[str, TextLine(16)] = ""
    """`older` of the part before"""


@shape
class HistoryPartQuery(HistoryQuery):
    """A part of everyone's builds."""

    limit: Annotated[int, Between(1, PAGE_LIMIT)] = 50
    """The maximum number of builds"""


@shape
class HistoryPartJSON:
    """A part of everyone's builds, the newest first."""

    items: tuple[BuildJSON, ...]
    older: str | None
    """For `after`, to get the next part; null at the end"""


@shape
class AllEnvironmentsQuery(ListQuery):
    """Which of everyone's environments."""

    person: Person = ""
    """Only environments of this person"""
    deleted: Literal["0", "1"] = "0"
    """1 lists deleted environments that can still be restored"""


@shape
class UsesJSON(PageJSON[PersonUse]):
    """A part of everyone's usage."""

    days: Number


@shape
class UseQuery:
    """Whose usage, in which period and order."""

    days: Literal["7", "30", "90"] = "30"
    """The period"""
    sort: UseOrder = UseOrder.BUILDS
    """What is largest first"""
    search: Search = ""
    """Part of a name"""


@shape
class UsePageQuery(UseQuery, PageQuery):
    """A part of everyone's usage."""


# --- Failures -------------------------------------------------------------------------------------


@shape
class FailureKindJSON:
    """Failed builds of one kind."""

    kind: str
    """A fingerprint, or a rule's id"""
    known: bool
    """Whether a rule explains it"""
    times: Count
    first: datetime | None
    last: datetime | None
    build_id: str
    """The newest of these builds"""
    label: str
    """Its repository"""
    backend: str
    reason: ReasonJSON | None
    """Why the newest one failed"""


@shape
class FailuresQuery(PageQuery):
    """Which kinds of failures."""

    known: Literal["", "1"] = ""
    """`1` for those that a rule explains"""


# --- Rules ----------------------------------------------------------------------------------------


@shape
class RuleJSON:
    """A rule that bans or allows repositories, or bans a person."""

    id: str | None
    """Null for a rule from the configuration, which can't be removed here"""
    kind: RuleKind
    pattern: str
    """A repository's address; * matches any text. For `ban_person`, the person's name"""
    reason: str
    shows_reason: bool
    """Whether people who are refused see the reason"""
    created: datetime | None
    created_by: str


@shape
class RuleBody:
    """A new rule."""

    kind: RuleKind = RuleKind.BAN
    pattern: Annotated[str, TextLine(MAX_PATTERN_CHARACTERS, min_length=1)]
    """github.com/owner/name, gh/owner/*, or an address in any other form; or a person's name"""
    reason: Annotated[str, TextLine(MAX_REASON_CHARACTERS)] = ""
    shows_reason: bool = True
    """Whether people who are refused see the reason"""
    cancel: bool = False
    """Whether to cancel the builds that it matches"""
    stop_servers: bool = False
    """With `ban_person`: whether to cancel the person's launches and stop all their servers"""


@shape
class StoppedServersJSON:
    """What became of a person's servers, by their names; the default server has an empty one."""

    stopped: tuple[str, ...]
    left: tuple[str, ...]
    """Those that still run"""
    problem: str | None
    """Why servers still run, or could not be asked for"""


@shape
class RuleAddedJSON:
    """A rule and the builds that it matches."""

    rule: RuleJSON
    builds: tuple[BuildJSON, ...]
    """Running or waiting builds that it matches"""
    cancelled: Count
    servers: StoppedServersJSON | None
    """Null unless `stop_servers` was true"""


@shape
class SearchQuery(PageQuery):
    """Which items of a list."""

    search: Search = ""
    """Part of a name or a pattern"""


@shape
class DetectionJSON:
    """A report of a detector of forbidden programs, with its repetitions."""

    id: str
    time: datetime
    last: datetime
    """When it was last repeated"""
    times: Number
    repository: str | None
    """As rules name it; null if the service knows no such repository"""
    named: str | None
    """The address of a repository in the message"""
    person: str | None
    server_name: str
    environment_id: str | None
    program: str
    """What was found"""
    confirmed: bool
    """Whether the hub says that the server runs the repository"""


# --- Limits ---------------------------------------------------------------------------------------


@shape
class LimitValuesJSON:
    """Limits; only those that are set."""

    environments: Count | None = field(default=None, metadata=OMIT_NONE)
    """Number of environments"""
    builds: Count | None = field(default=None, metadata=OMIT_NONE)
    """Number of builds waiting or running"""
    running: Number | None = field(default=None, metadata=OMIT_NONE)
    """Number of builds running at once"""
    share: Number | None = field(default=None, metadata=OMIT_NONE)
    """Turns in the queue; everyone else has 1"""


@shape
class LimitOverrideJSON:
    """The limits of one person or group."""

    holder: Holder
    name: str
    limits: LimitValuesJSON
    updated: datetime
    updated_by: str


@shape
class ChosenJSON:
    """A limit that applies to a person, and where it comes from."""

    limit: Count
    source: Literal["default", "new", "person", "group"]
    """`new` for a limit of new people"""
    group: str | None
    """Which group, if it is a group's limit"""
    until: datetime | None
    """When a limit of new people ends for this one"""


@shape
class PersonLimitsJSON:
    """The limits that apply to a person."""

    name: str
    groups: tuple[str, ...]
    """As they were when the person was last seen"""
    limits: Mapping[LimitName, ChosenJSON]


@shape
class LimitsPageJSON(PageJSON[LimitOverrideJSON]):
    """The default limits, and a part of those of people and groups."""

    defaults: LimitValuesJSON
    """From the configuration"""
    person: PersonLimitsJSON | None


@shape
class LimitsQuery(SearchQuery):
    """Which limits."""

    person: Person = ""
    """Also answer with the limits that apply to this person"""


def _amount(name: LimitName) -> Between:
    return Between(LEAST[name], MOST[name])


Holding = Annotated[str, TextLine(MAX_PERSON_CHARACTERS, min_length=1)]


@shape
class LimitsBody:
    """The limits of a person or a group."""

    person: Holding | None = None
    """Give either this or group"""
    group: Holding | None = None
    environments: Annotated[int, _amount(LimitName.ENVIRONMENTS)] | None = None
    """Number of environments"""
    builds: Annotated[int, _amount(LimitName.BUILDS)] | None = None
    """Number of builds waiting or running"""
    running: Annotated[int, _amount(LimitName.RUNNING)] | None = None
    """Number of builds running at once"""
    share: Annotated[int, _amount(LimitName.SHARE)] | None = None
    """Turns in the queue; everyone else has 1"""


# --- Draining and the audit log -------------------------------------------------------------------


@shape
class DrainJSON:
    """Whether builds are paused, and what is under way."""

    draining: bool
    message: str | None
    """Shown on every page"""
    since: datetime | None
    by: str | None
    running: Count
    """Builds that still run"""
    waiting: Count
    launches: Count
    """Launches under way"""


@shape
class DrainBody:
    """A pause of builds."""

    message: Annotated[str, TextLine(MAX_MESSAGE_CHARACTERS)] = ""
    """Shown on every page; default: a sentence about an upgrade"""


@shape
class AuditEntryJSON:
    """An entry of the audit log."""

    id: Number
    """Rises with each entry"""
    time: datetime
    actor: str | None
    """Null for the service itself"""
    action: Action
    target: str
    """An id, a pattern or a name"""
    detail: Mapping[str, Any]


@shape
class AuditQuery:
    """Which entries of the audit log."""

    person: Person = ""
    """Only entries of this person"""
    action: Action | None = None
    """Only entries of this action"""


@shape
class AuditPageQuery(AuditQuery, PageQuery):
    """A part of the audit log."""
