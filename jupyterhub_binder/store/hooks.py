"""Queries for hooks, their deliveries, and the looks at repositories that wait."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from jupyterhub_binder.model.prebuild import (
    Delivery,
    Hook,
    HookHost,
    Outcome,
    Prebuild,
    PrebuildCause,
)
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.store.database import Database
from jupyterhub_binder.store.deliveries import forget_scope, see
from jupyterhub_binder.store.tables import UTCTime, counted_id, metadata, type_of_state

MAX_DELIVERIES = 20
"""Kept and shown of each hook."""

_MESSAGE = sa.JSON(none_as_null=True)


def _environment_id() -> sa.Column[str]:
    return sa.Column(
        "environment_id",
        sa.String(16),
        sa.ForeignKey("environments.id", ondelete="CASCADE"),
        nullable=False,
    )


def _hook_id() -> sa.Column[str]:
    return sa.Column(
        "hook_id", sa.String(40), sa.ForeignKey("hooks.id", ondelete="CASCADE"), nullable=False
    )


hooks = sa.Table(
    "hooks",
    metadata,
    sa.Column("id", sa.String(40), nullable=False),
    _environment_id(),
    sa.Column("host", type_of_state, nullable=False),
    sa.Column("sealed", sa.Text, nullable=False),
    sa.Column("created", UTCTime, nullable=False),
    sa.Column("created_by", sa.Text, nullable=False),
    sa.Column("token", sa.Text),
    sa.Column("token_set", UTCTime),
    sa.PrimaryKeyConstraint("id"),
    sa.Index("ix_hooks_environment_id", "environment_id", "created"),
)

hook_deliveries = sa.Table(
    "hook_deliveries",
    metadata,
    counted_id(),
    _hook_id(),
    sa.Column("time", UTCTime, nullable=False),
    sa.Column("event", sa.Text, nullable=False),
    sa.Column("outcome", type_of_state, nullable=False),
    sa.Column("number", sa.Integer),
    sa.Column("message", _MESSAGE),
    sa.Index("ix_hook_deliveries_hook_id", "hook_id", "id"),
)

commit_reports = sa.Table(
    "commit_reports",
    metadata,
    counted_id(),
    _hook_id(),
    sa.Column("sha", sa.String(64), nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("context", sa.Text, nullable=False),
    sa.Column("told", type_of_state),
    sa.Column("time", UTCTime),
    sa.Column("message", _MESSAGE),
    sa.Column("done", sa.Boolean, nullable=False),
    sa.Index("ix_commit_reports_hook_id", "hook_id", "id"),
    # What became of a report that is gone must not be noted for another one.
    sqlite_autoincrement=True,
)

prebuilds = sa.Table(
    "prebuilds",
    metadata,
    _environment_id(),
    sa.Column("cron", sa.Text, nullable=False, server_default=""),
    sa.Column("time_zone", sa.Text, nullable=False, server_default="UTC"),
    sa.Column("due", UTCTime),
    sa.Column("pending", UTCTime),
    sa.Column("cause", type_of_state, nullable=False, server_default=PrebuildCause.HOOK),
    sa.Column("delivery", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("not_before", UTCTime),
    sa.Column("last", UTCTime),
    sa.Column("last_cause", type_of_state, nullable=False, server_default=PrebuildCause.HOOK),
    sa.Column("outcome", type_of_state),
    sa.Column("number", sa.Integer),
    sa.Column("message", _MESSAGE),
    sa.PrimaryKeyConstraint("environment_id"),
    sa.Index("ix_prebuilds_due", "due"),
    sa.Index("ix_prebuilds_pending", "pending"),
)


@dataclass(frozen=True, slots=True)
class Looked:
    """What a look came to."""

    outcome: Outcome
    number: int | None = None
    message: Message | None = None
    commit: str = ""
    """The commit or the record's version that it found; not stored here."""


class HookQueries:
    """Hooks and prebuilds."""

    _database: Database

    async def insert_hook(self, hook: Hook, *, limit: int) -> bool:
        """Keep a hook; False if the environment has `limit` already."""
        return await self._database.run(_insert, hook, limit)

    async def fetch_hook(self, hook_id: str) -> Hook | None:
        """Return a hook."""
        query = hooks.select().where(hooks.c.id == hook_id)
        return next(iter(await self._database.run(_read_hooks, query)), None)

    async def list_hooks(self, environment_id: str) -> tuple[Hook, ...]:
        """Return an environment's hooks, oldest first."""
        query = (
            hooks.select()
            .where(hooks.c.environment_id == environment_id)
            .order_by(hooks.c.created, hooks.c.id)
        )
        return await self._database.run(_read_hooks, query)

    async def replace_hook_secret(self, hook_id: str, sealed: str) -> None:
        """Keep another secret."""
        query = hooks.update().where(hooks.c.id == hook_id).values(sealed=sealed)
        await self._database.run(lambda c: c.execute(query).close())

    async def delete_hook(self, hook_id: str) -> None:
        """Remove a hook with its deliveries. Idempotent."""
        await self._database.run(_delete, [hook_id])

    async def list_deliveries(self, environment_id: str) -> tuple[Delivery, ...]:
        """Return what an environment's hooks received, newest first."""
        query = (
            hook_deliveries.select()
            .join(hooks, hooks.c.id == hook_deliveries.c.hook_id)
            .where(hooks.c.environment_id == environment_id)
            .order_by(hook_deliveries.c.id.desc())
        )
        return await self._database.run(_read_deliveries, query)

    async def note_delivery(self, hook: Hook, delivery: Delivery, name: str) -> Outcome | None:
        """Keep a delivery, and let it wait for a look if it is accepted and new.

        None if the hook is gone. Only what has a right signature is named, so that strangers can't
        use up the names.
        """
        return await self._database.run(_note, hook, delivery, name)

    async def fetch_prebuild(self, environment_id: str) -> Prebuild:
        """Return what is known of an environment's prebuilds."""
        return await self._database.run(_fetch, environment_id)

    async def put_schedule(
        self, environment_id: str, cron: str, time_zone: str, due: datetime | None
    ) -> None:
        """Set a schedule; an empty one ends it."""
        values = {"cron": cron, "time_zone": time_zone, "due": due}
        await self._database.run(_put, environment_id, values)

    async def want_prebuild(self, environment_id: str, cause: PrebuildCause, at: datetime) -> None:
        """Let a look wait, in place of one that waits."""
        await self._database.run(_put, environment_id, {"pending": at, "cause": cause})

    async def begin_scheduled(
        self, environment_id: str, *, at: datetime, due: datetime | None
    ) -> None:
        """Let a look of the schedule wait, and note when the schedule comes next."""
        values = {"pending": at, "cause": PrebuildCause.SCHEDULE, "due": due}
        await self._database.run(_put, environment_id, values)

    async def list_due_prebuilds(self, *, at: datetime, limit: int) -> tuple[Prebuild, ...]:
        """Return the schedules that have come, the longest due first."""
        query = (
            prebuilds.select().where(prebuilds.c.due <= at).order_by(prebuilds.c.due).limit(limit)
        )
        return await self._database.run(_read, query)

    async def list_pending_prebuilds(self, *, at: datetime, limit: int) -> tuple[Prebuild, ...]:
        """Return what waits and may be tried, the longest waiting first."""
        columns = prebuilds.c
        query = (
            prebuilds.select()
            .where(
                columns.pending.is_not(None),
                sa.or_(columns.not_before.is_(None), columns.not_before <= at),
            )
            .order_by(columns.pending)
            .limit(limit)
        )
        return await self._database.run(_read, query)

    async def delay_prebuild(
        self, environment_id: str, not_before: datetime, message: Message | None
    ) -> None:
        """Try what waits again later."""
        values = {"not_before": not_before, "message": _stored(message)}
        await self._database.run(_put, environment_id, values)

    async def finish_prebuild(
        self, looked_for: Prebuild, looked: Looked, *, at: datetime, not_before: datetime
    ) -> None:
        """Note what a look came to; what was wanted meanwhile waits on, until `not_before`."""
        await self._database.run(_finish, looked_for, looked, at, not_before)


def end(connection: sa.Connection, environment_id: str) -> None:
    """Remove an environment's hooks and schedule: they build in the name of its owner."""
    ids = connection.scalars(
        sa.select(hooks.c.id).where(hooks.c.environment_id == environment_id)
    ).all()
    _delete(connection, ids)
    connection.execute(prebuilds.delete().where(prebuilds.c.environment_id == environment_id))


def _insert(connection: sa.Connection, hook: Hook, limit: int) -> bool:
    query = sa.select(sa.func.count()).where(hooks.c.environment_id == hook.environment_id)
    if (connection.scalar(query) or 0) >= limit:
        return False
    names = ("id", "environment_id", "host", "sealed", "created", "created_by")
    connection.execute(hooks.insert(), {name: getattr(hook, name) for name in names})
    return True


def _delete(connection: sa.Connection, hook_ids: Any) -> None:
    for hook_id in hook_ids:
        forget_scope(connection, f"hook:{hook_id}")
        connection.execute(hook_deliveries.delete().where(hook_deliveries.c.hook_id == hook_id))
        connection.execute(commit_reports.delete().where(commit_reports.c.hook_id == hook_id))
        connection.execute(hooks.delete().where(hooks.c.id == hook_id))


def _read_hooks(connection: sa.Connection, query: sa.Select[Any]) -> tuple[Hook, ...]:
    rows = connection.execute(query).mappings()
    return tuple(Hook(**{**row, "host": HookHost(row["host"])}) for row in rows)


def _read_deliveries(connection: sa.Connection, query: sa.Select[Any]) -> tuple[Delivery, ...]:
    rows = connection.execute(query).mappings()
    return tuple(Delivery(**{**row, **_looked_of(row)}) for row in rows)


def _looked_of(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {"outcome": Outcome(row["outcome"]), "message": Message.from_json(row["message"])}


def _stored(message: Message | None) -> Any:
    return None if message is None else message.to_json()


def _note(connection: sa.Connection, hook: Hook, delivery: Delivery, name: str) -> Outcome | None:
    if connection.scalar(sa.select(hooks.c.id).where(hooks.c.id == hook.id)) is None:
        return None
    outcome = delivery.outcome
    if outcome is not Outcome.REFUSED and not see(
        connection, f"hook:{hook.id}", name, delivery.time
    ):
        outcome = Outcome.REPEATED
    row = {
        "hook_id": hook.id,
        "time": delivery.time,
        "event": delivery.event,
        "outcome": outcome,
    }
    (number,) = connection.execute(hook_deliveries.insert(), row).inserted_primary_key or (0,)
    _trim(connection, hook.id)
    if outcome is Outcome.ACCEPTED:
        wanted = {"pending": delivery.time, "cause": PrebuildCause.HOOK, "delivery": number}
        _put(connection, hook.environment_id, wanted)
    return outcome


def _trim(connection: sa.Connection, hook_id: str) -> None:
    columns = hook_deliveries.c
    query = (
        sa.select(columns.id)
        .where(columns.hook_id == hook_id)
        .order_by(columns.id.desc())
        .offset(MAX_DELIVERIES)
        .limit(1)
    )
    if (oldest := connection.scalar(query)) is not None:
        connection.execute(
            hook_deliveries.delete().where(columns.hook_id == hook_id, columns.id <= oldest)
        )


def _read(connection: sa.Connection, query: sa.Select[Any]) -> tuple[Prebuild, ...]:
    return tuple(_prebuild(row) for row in connection.execute(query).mappings())


def _prebuild(row: sa.RowMapping) -> Prebuild:
    return Prebuild(
        **{
            **row,
            "cause": PrebuildCause(row["cause"]),
            "last_cause": PrebuildCause(row["last_cause"]),
            "outcome": row["outcome"] and Outcome(row["outcome"]),
            "message": Message.from_json(row["message"]),
        }
    )


def _fetch(connection: sa.Connection, environment_id: str) -> Prebuild:
    query = prebuilds.select().where(prebuilds.c.environment_id == environment_id)
    return next(iter(_read(connection, query)), Prebuild(environment_id))


def _put(connection: sa.Connection, environment_id: str, values: Mapping[str, Any]) -> None:
    place = prebuilds.c.environment_id == environment_id
    if not connection.execute(prebuilds.update().where(place).values(**values)).rowcount:
        connection.execute(prebuilds.insert(), {"environment_id": environment_id, **values})


def _finish(
    connection: sa.Connection,
    looked_for: Prebuild,
    looked: Looked,
    at: datetime,
    not_before: datetime,
) -> None:
    result = {"outcome": looked.outcome, "number": looked.number}
    result["message"] = _stored(looked.message)
    place = prebuilds.c.environment_id == looked_for.environment_id
    values = {**result, "last": at, "last_cause": looked_for.cause, "not_before": not_before}
    connection.execute(prebuilds.update().where(place).values(**values))
    done = prebuilds.c.pending == looked_for.pending
    connection.execute(prebuilds.update().where(place, done).values(pending=None))
    waiting = sa.select(hooks.c.id).where(hooks.c.environment_id == looked_for.environment_id)
    connection.execute(
        hook_deliveries.update()
        .where(
            hook_deliveries.c.hook_id.in_(waiting),
            hook_deliveries.c.id <= looked_for.delivery,
            hook_deliveries.c.outcome == Outcome.ACCEPTED,
        )
        .values(**result)
    )
