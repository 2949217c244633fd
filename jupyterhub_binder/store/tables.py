"""The tables, and conversion between rows and model objects.

Times are integer microseconds, so that all databases order them alike.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from jupyterhub_binder.model import (
    Build,
    BuildEvent,
    BuildRequest,
    BuildState,
    ContentMode,
    Environment,
    Hold,
    Launch,
    LaunchState,
    Phase,
    Reason,
    Spec,
    UpdateMode,
    repository_key,
)
from jupyterhub_binder.model.admin import (
    Action,
    AuditEntry,
    Drain,
    Holder,
    LimitName,
    LimitOverride,
    Rule,
    RuleKind,
)
from jupyterhub_binder.model.history import ChangeCause
from jupyterhub_binder.model.profiles import ProfileChoice
from jupyterhub_binder.model.text import MAX_JSON_CHARACTERS, Message
from jupyterhub_binder.store.explanations import explanation_row, read_explanation

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

type_of_state = sa.String(16)
_TEMPLATE = sa.JSON(none_as_null=True)
"""NULL for text without a template."""


class UTCTime(sa.types.TypeDecorator[datetime]):
    """An aware datetime, stored as microseconds since 1970 UTC."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> int | None:
        """Convert to microseconds."""
        return None if value is None else (value - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: int | None, dialect: sa.Dialect) -> datetime | None:
        """Convert from microseconds."""
        return None if value is None else _EPOCH + timedelta(microseconds=value)


metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
    }
)


def counted_id() -> sa.Column[int]:
    """Return a primary key that the database counts up."""
    return sa.Column(
        "id",
        sa.BigInteger().with_variant(sa.Integer, "sqlite"),
        primary_key=True,
        autoincrement=True,
    )


def _spec_columns() -> tuple[sa.Column[Any], ...]:
    return (
        sa.Column("provider", sa.String(32), nullable=False),
        sa.Column("repo", sa.Text, nullable=False),
        sa.Column("ref", sa.Text, nullable=False),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("repo_url", sa.Text, nullable=False),
        sa.Column("options", sa.JSON, nullable=False),
    )


builds = sa.Table(
    "builds",
    metadata,
    sa.Column("id", sa.String(16), primary_key=True),
    sa.Column("base_key", sa.String(64), nullable=False),
    sa.Column("generation", sa.Integer, nullable=False),
    *_spec_columns(),
    sa.Column("repository_key", sa.Text, nullable=False),
    sa.Column("resolved_ref", sa.Text, nullable=False),
    sa.Column("clone_url", sa.Text, nullable=False),
    sa.Column("backend", sa.String(32), nullable=False),
    sa.Column("state", type_of_state, nullable=False),
    sa.Column("phase", type_of_state, nullable=False),
    sa.Column("created", UTCTime, nullable=False),
    sa.Column("created_by", sa.Text, nullable=False),
    sa.Column("started", UTCTime),
    sa.Column("finished", UTCTime),
    sa.Column("image", sa.Text),
    sa.Column("size_bytes", sa.BigInteger),
    sa.Column("lines", sa.Integer, nullable=False),
    sa.Column("reason_code", sa.String(64)),
    sa.Column("reason_message", sa.Text),
    sa.Column("reason_template", _TEMPLATE),
    sa.Column("reason_seq", sa.Integer),
    sa.Column("reason_rule", sa.String(48)),
    sa.Column("reason_fingerprint", sa.String(16)),
    sa.Column("reason_explanation", sa.JSON(none_as_null=True)),
    sa.Column("checkpoint", sa.JSON, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("forced", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("recipe_digest", sa.String(40)),
    sa.Column("reused_key", sa.String(64)),
    sa.Column("packages_from", UTCTime),
    # The BinderHub that made it, if several can; for usage alone.
    sa.Column("host", sa.Text),
    sa.Index("ix_builds_base_key", "base_key", "generation"),
    sa.Index("ix_builds_repository_key", "repository_key", "finished"),
    sa.Index("ix_builds_state", "state", "finished"),
    sa.Index("ix_builds_state_created", "state", "created"),
    sa.Index("ix_builds_created_by", "created_by", "created"),
    sa.Index("ix_builds_created", "created"),
    sa.Index("ix_builds_recipe_digest", "recipe_digest", "packages_from"),
    sa.Index("ix_builds_rule", "reason_rule", "finished"),
    sa.Index("ix_builds_fingerprint", "reason_fingerprint", "finished"),
)

ACTIVE = builds.c.state.in_((BuildState.PENDING, BuildState.RUNNING))

# At most one active build per content key.
active_build = sa.Index(
    "ux_builds_active",
    builds.c.base_key,
    builds.c.generation,
    unique=True,
    sqlite_where=sa.text("state in ('pending', 'running')"),
    postgresql_where=sa.text("state in ('pending', 'running')"),
)

build_events = sa.Table(
    "build_events",
    metadata,
    sa.Column("build_id", sa.String(16), sa.ForeignKey("builds.id", ondelete="CASCADE")),
    sa.Column("seq", sa.Integer),
    sa.Column("time", UTCTime, nullable=False),
    sa.Column("phase", type_of_state, nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.PrimaryKeyConstraint("build_id", "seq"),
    sqlite_with_rowid=False,
)

environments = sa.Table(
    "environments",
    metadata,
    sa.Column("id", sa.String(16), primary_key=True),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    *_spec_columns(),
    sa.Column("repository_key", sa.Text, nullable=False),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("content", sa.String(16), nullable=False),
    sa.Column("directory", sa.Text, nullable=False),
    sa.Column("created", UTCTime, nullable=False),
    sa.Column("updated", UTCTime, nullable=False),
    sa.Column("touched", UTCTime, nullable=False),
    sa.Column("launched", UTCTime),
    sa.Column("deleted", UTCTime),
    sa.Column("current_number", sa.Integer),
    sa.Column("latest_number", sa.Integer),
    sa.Column("content_url", sa.Text, nullable=False, server_default=""),
    sa.Column("content_ref", sa.Text, nullable=False, server_default=""),
    sa.Column("default_branch", sa.Text, nullable=False, server_default=""),
    sa.Column("updates", sa.String(16), nullable=False, server_default="ask"),
    sa.Column("held", sa.String(16)),
    sa.Index("ix_environments_repository_key", "owner", "repository_key"),
    sa.Index("ix_environments_directory", "owner", "directory"),
    sa.Index("ix_environments_touched", "touched"),
)

# A covering index for lists and counts; without deleted environments.
kept_environments = sa.Index(
    "ix_environments_kept",
    environments.c.owner,
    environments.c.touched,
    sqlite_where=environments.c.deleted.is_(None),
    postgresql_where=environments.c.deleted.is_(None),
)

build_requests = sa.Table(
    "build_requests",
    metadata,
    sa.Column(
        "environment_id", sa.String(16), sa.ForeignKey("environments.id", ondelete="CASCADE")
    ),
    sa.Column("number", sa.Integer),
    sa.Column("build_id", sa.String(16), sa.ForeignKey("builds.id"), nullable=False),
    sa.Column("requested", UTCTime, nullable=False),
    sa.Column("requested_by", sa.Text, nullable=False),
    sa.Column("withdrawn", UTCTime),
    sa.Column("cause", type_of_state, nullable=False, server_default=ChangeCause.ASKED),
    sa.Column("reason", sa.Text, nullable=False, server_default=""),
    sa.PrimaryKeyConstraint("environment_id", "number"),
    sa.Index("ix_build_requests_build_id", "build_id"),
)

launches = sa.Table(
    "launches",
    metadata,
    sa.Column("id", sa.String(16), primary_key=True),
    sa.Column(
        "environment_id",
        sa.String(16),
        sa.ForeignKey("environments.id", ondelete="CASCADE"),
        nullable=False,
    ),
    sa.Column("user", sa.Text, nullable=False),
    sa.Column("server_name", sa.Text, nullable=False),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("state", type_of_state, nullable=False),
    sa.Column("created", UTCTime, nullable=False),
    sa.Column("build_id", sa.String(16)),
    sa.Column("progress", sa.Integer, nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("message_template", _TEMPLATE),
    sa.Column("url", sa.Text),
    sa.Column("finished", UTCTime),
    sa.Column("reason_code", sa.String(64)),
    sa.Column("reason_message", sa.Text),
    sa.Column("reason_template", _TEMPLATE),
    sa.Column("profile", sa.JSON(none_as_null=True)),
    sa.Index("ix_launches_user", "user", "created"),
    sa.Index("ix_launches_environment_id", "environment_id"),
    sa.Index("ix_launches_state", "state"),
    sa.Index("ix_launches_created", "created"),
)

# Without a foreign key: these rows outlive the launch and its environment.
launch_events = sa.Table(
    "launch_events",
    metadata,
    sa.Column("launch_id", sa.String(16), primary_key=True),
    sa.Column("time", UTCTime, nullable=False),
    sa.Column("provider", sa.String(32), nullable=False),
    sa.Column("spec", sa.Text, nullable=False),
    sa.Column("resolved_ref", sa.Text, nullable=False),
    sa.Column("clone_url", sa.Text, nullable=False),
    sa.Column("repo_url", sa.Text, nullable=False),
    sa.Column("origin", sa.Text, nullable=False),
    sa.Column("request_origin", sa.Text, nullable=False),
    sa.Index("ix_launch_events_time", "time"),
)

rules = sa.Table(
    "rules",
    metadata,
    sa.Column("id", sa.String(16), primary_key=True),
    sa.Column("kind", type_of_state, nullable=False),
    sa.Column("pattern", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("created", UTCTime, nullable=False),
    sa.Column("created_by", sa.Text, nullable=False),
    sa.Column("shows_reason", sa.Boolean, nullable=False, server_default=sa.true()),
    sa.Index("ix_rules_kind", "kind", "pattern", unique=True),
)

limit_overrides = sa.Table(
    "limit_overrides",
    metadata,
    sa.Column("holder", type_of_state, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("values", sa.JSON, nullable=False),
    sa.Column("updated", UTCTime, nullable=False),
    sa.Column("updated_by", sa.Text, nullable=False),
    sa.PrimaryKeyConstraint("holder", "name"),
)

# The users' last known groups and rights, for builds that begin after the users have left.
people = sa.Table(
    "people",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("groups", sa.JSON, nullable=False),
    sa.Column("can_build", sa.Boolean, nullable=False, server_default=sa.true()),
    sa.Column("first_seen", UTCTime, nullable=False, server_default="0"),
)

switches = sa.Table(
    "switches",
    metadata,
    sa.Column("name", sa.String(32), primary_key=True),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("since", UTCTime, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
)

audit = sa.Table(
    "audit",
    metadata,
    counted_id(),
    sa.Column("time", UTCTime, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("action", sa.String(32), nullable=False),
    sa.Column("target", sa.Text, nullable=False),
    sa.Column("detail", sa.JSON, nullable=False),
    sa.Index("ix_audit_actor", "actor", "id"),
    sa.Index("ix_audit_action", "action", "id"),
    sa.Index("ix_audit_time", "time"),
)

Row = sa.RowMapping


# --- Rows to objects, objects to rows -----------------------------------------------------------


def build_row(build: Build) -> dict[str, Any]:
    """Return a build's columns."""
    return {
        **{name: getattr(build, name) for name in _SAME_IN_BUILD},
        **_spec_row(build.spec),
        "repository_key": repository_key(build.spec),
        "options": dict(build.options),
        "checkpoint": dict(build.checkpoint),
        **build_reason_row(build.reason),
    }


def reason_row(reason: Reason | None) -> dict[str, Any]:
    """Return the English message, and its template with values."""
    return {
        "reason_code": reason.code if reason else None,
        "reason_message": str(reason.message) if reason else None,
        "reason_template": _template(reason.message) if reason else None,
    }


def build_reason_row(reason: Reason | None) -> dict[str, Any]:
    """Return the columns of a build's reason: as `reason_row`, with its explanation."""
    return {
        **reason_row(reason),
        "reason_seq": reason.seq if reason else None,
        **explanation_row(reason.explanation if reason else None),
    }


def _template(text: str) -> dict[str, Any] | None:
    """Return a message's parts; None if it is plain text or too large."""
    if not isinstance(text, Message):
        return None
    stored = text.to_json()
    return stored if len(json.dumps(stored)) <= MAX_JSON_CHARACTERS else None


_SAME_IN_BUILD = (
    "id", "base_key", "generation", "resolved_ref", "label", "repo_url", "clone_url", "backend",
    "state", "phase", "created", "created_by", "started", "finished", "image", "size_bytes",
    "lines", "attempts", "forced", "recipe_digest", "reused_key", "packages_from",
)  # fmt: skip


def read_build(row: Row, prefix: str = "") -> Build:
    """Read a build from prefixed columns."""
    return Build(
        **{name: row[prefix + name] for name in _SAME_IN_BUILD if name not in ("state", "phase")},
        spec=_read_spec(row, prefix),
        state=BuildState(row[prefix + "state"]),
        phase=Phase(row[prefix + "phase"]),
        options=row[prefix + "options"],
        checkpoint=row[prefix + "checkpoint"],
        reason=_read_build_reason(row, prefix),
    )


def _spec_row(spec: Spec) -> dict[str, str]:
    return {"provider": spec.provider, "repo": spec.repo, "ref": spec.ref}


def _read_spec(row: Row, prefix: str = "") -> Spec:
    return Spec(row[prefix + "provider"], row[prefix + "repo"], row[prefix + "ref"])


def _read_reason(row: Row, prefix: str = "", seq: int | None = None) -> Reason | None:
    code = row[prefix + "reason_code"]
    if code is None:
        return None
    message = Message.from_json(row[prefix + "reason_template"])
    message = message or Message.verbatim(row[prefix + "reason_message"] or "")
    return Reason(code, message, seq)


def _read_build_reason(row: Row, prefix: str) -> Reason | None:
    reason = _read_reason(row, prefix, row[prefix + "reason_seq"])
    if reason is None:
        return None
    return replace(reason, explanation=read_explanation(row, prefix))


def read_event(row: Sequence[Any]) -> BuildEvent:
    """Read an event from seq, time, phase, message."""
    return BuildEvent(row[0], row[1], Phase(row[2]), row[3])


def read_request(row: Row, request: str, build: str) -> BuildRequest | None:
    """Read an outer join's request."""
    if row[request + "number"] is None:
        return None
    return BuildRequest(
        environment_id=row[request + "environment_id"],
        number=row[request + "number"],
        build=read_build(row, build),
        requested=row[request + "requested"],
        requested_by=row[request + "requested_by"],
        withdrawn=row[request + "withdrawn"],
        cause=ChangeCause(row[request + "cause"]),
        reason=row[request + "reason"],
    )


_SAME_IN_ENVIRONMENT = (
    "id", "owner", "name", "label", "repo_url", "path", "content", "directory", "options",
    "created", "updated", "launched", "deleted", "content_url", "content_ref",
    "default_branch",
    "updates", "held",
)  # fmt: skip


def environment_row(environment: Environment) -> dict[str, Any]:
    """Return the columns of an environment without builds."""
    return {
        **{name: getattr(environment, name) for name in _SAME_IN_ENVIRONMENT},
        **_spec_row(environment.spec),
        "repository_key": repository_key(environment.spec),
        "options": dict(environment.options),
        "touched": environment.created,
    }


def read_environment(
    row: Row, *, current: BuildRequest | None, latest: BuildRequest | None
) -> Environment:
    """Read an environment."""
    enums = ("content", "updates", "held")
    same = {name: row[name] for name in _SAME_IN_ENVIRONMENT if name not in enums}
    return Environment(
        **same,
        spec=_read_spec(row),
        content=ContentMode(row["content"]),
        updates=UpdateMode(row["updates"]),
        held=Hold(row["held"]) if row["held"] else None,
        current=current,
        latest=latest,
    )


_SAME_IN_LAUNCH = (
    "id", "environment_id", "user", "server_name", "path", "state", "created", "build_id",
    "progress", "message", "url", "finished",
)  # fmt: skip


def launch_row(launch: Launch) -> dict[str, Any]:
    """Return a launch's columns."""
    return {
        **{name: getattr(launch, name) for name in _SAME_IN_LAUNCH},
        "message": str(launch.message),
        "message_template": _template(launch.message),
        "profile": choice_row(launch.profile),
        **reason_row(launch.reason),
    }


def choice_row(choice: ProfileChoice) -> dict[str, Any] | None:
    """Return a choice's column; None for one that says nothing."""
    if choice == ProfileChoice():
        return None
    return {"slug": choice.slug, "options": dict(choice.options)}


def read_choice(value: Mapping[str, Any] | None) -> ProfileChoice:
    """Read a choice."""
    return ProfileChoice(value["slug"], value["options"]) if value else ProfileChoice()


def read_launch(row: Row) -> Launch:
    """Read a launch."""
    same = {name: row[name] for name in _SAME_IN_LAUNCH if name not in ("state", "message")}
    message = Message.from_json(row["message_template"]) or row["message"]
    state = LaunchState(row["state"])
    return Launch(
        **same,
        message=message,
        state=state,
        reason=_read_reason(row),
        profile=read_choice(row["profile"]),
    )


def rule_row(rule: Rule) -> dict[str, Any]:
    """Return a rule's columns."""
    return {name: getattr(rule, name) for name in _SAME_IN_RULE}


_SAME_IN_RULE = ("id", "kind", "pattern", "reason", "created", "created_by", "shows_reason")


def read_rule(row: Row) -> Rule:
    """Read a rule."""
    return Rule(**{**{name: row[name] for name in _SAME_IN_RULE}, "kind": RuleKind(row["kind"])})


def override_row(override: LimitOverride) -> dict[str, Any]:
    """Return an override's columns."""
    return {
        "holder": override.holder,
        "name": override.name,
        "values": dict(override.values),
        "updated": override.updated,
        "updated_by": override.updated_by,
    }


def read_override(row: Row) -> LimitOverride:
    """Read an override; ignore limits unknown to this version."""
    known = set(LimitName)
    return LimitOverride(
        holder=Holder(row["holder"]),
        name=row["name"],
        values={LimitName(name): value for name, value in row["values"].items() if name in known},
        updated=row["updated"],
        updated_by=row["updated_by"],
    )


def read_drain(row: Row) -> Drain:
    """Read a drain."""
    return Drain(row["message"], row["since"], row["by"])


def audit_row(entry: AuditEntry) -> dict[str, Any]:
    """Return an audit entry's columns, without the id."""
    return {
        "time": entry.time,
        "actor": entry.actor,
        "action": entry.action,
        "target": entry.target,
        "detail": dict(entry.detail),
    }


def read_audit(row: Row) -> AuditEntry:
    """Read an audit entry."""
    return AuditEntry(
        id=row["id"],
        time=row["time"],
        actor=row["actor"],
        action=Action(row["action"]),
        target=row["target"],
        detail=row["detail"],
    )
