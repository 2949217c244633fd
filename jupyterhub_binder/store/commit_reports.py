"""Queries for the tokens of hooks, and for what hosts are told about commits."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from jupyterhub_binder.model.prebuild import CommitReport, CommitState
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.store.database import Database
from jupyterhub_binder.store.hooks import commit_reports, hooks
from jupyterhub_binder.store.tables import build_requests

MAX_REPORTS = 10
"""Kept of each hook, the newest."""

_columns = commit_reports.c


class CommitReportQueries:
    """Tokens of hooks and commit statuses."""

    _database: Database

    async def put_hook_token(self, hook_id: str, sealed: str, at: datetime) -> None:
        """Keep a token. The newest status is sent again with it."""
        await self._database.run(_put_token, hook_id, sealed, at)

    async def delete_hook_token(self, hook_id: str) -> None:
        """Remove a hook's token, and what was sent with it. Idempotent."""
        await self._database.run(_delete_token, hook_id)

    async def want_reports(
        self, environment_id: str, sha: str, number: int, context: str
    ) -> tuple[str, ...]:
        """Let the hosts of an environment's hooks be told about a commit; return these hooks.

        A host that knows the state of this build already is told nothing.
        """
        return await self._database.run(_want, environment_id, sha, number, context)

    async def note_report(self, report_id: int, changes: Mapping[str, Any]) -> None:
        """Note what was sent."""
        message: Message | None = changes["message"]
        values = {**changes, "message": None if message is None else message.to_json()}
        query = commit_reports.update().where(_columns.id == report_id).values(**values)
        await self._database.run(lambda c: c.execute(query).close())

    async def list_reports(
        self, environment_id: str, *, limit: int = MAX_REPORTS
    ) -> tuple[CommitReport, ...]:
        """Return what the hosts of an environment's hooks were told, newest first."""
        query = (
            commit_reports.select()
            .join(hooks, hooks.c.id == _columns.hook_id)
            .where(hooks.c.environment_id == environment_id, _columns.time.is_not(None))
            .order_by(_columns.time.desc(), _columns.id.desc())
            .limit(limit)
        )
        return await self._database.run(_read, query)

    async def list_open_reports(self, hook_id: str) -> tuple[CommitReport, ...]:
        """Return what a hook's host is still to be told, newest first."""
        query = (
            commit_reports.select()
            .where(_columns.hook_id == hook_id, ~_columns.done)
            .order_by(_columns.id.desc())
        )
        return await self._database.run(_read, query)

    async def list_telling_hooks(self, build_id: str | None = None) -> tuple[str, ...]:
        """Return the hooks whose hosts are still to be told something, perhaps of one build."""
        query = sa.select(_columns.hook_id).distinct().where(~_columns.done)
        if build_id is not None:
            query = (
                query.join(hooks, hooks.c.id == _columns.hook_id)
                .join(
                    build_requests,
                    sa.and_(
                        build_requests.c.environment_id == hooks.c.environment_id,
                        build_requests.c.number == _columns.number,
                    ),
                )
                .where(build_requests.c.build_id == build_id)
            )
        return await self._database.run(lambda c: tuple(c.scalars(query)))


def _put_token(connection: sa.Connection, hook_id: str, sealed: str, at: datetime) -> None:
    values = {"token": sealed, "token_set": at}
    connection.execute(hooks.update().where(hooks.c.id == hook_id).values(**values))
    newest = sa.select(sa.func.max(_columns.id)).where(_columns.hook_id == hook_id)
    again = {"told": None, "done": False}
    connection.execute(
        commit_reports.update().where(_columns.id == newest.scalar_subquery()).values(**again)
    )


def _delete_token(connection: sa.Connection, hook_id: str) -> None:
    values = {"token": None, "token_set": None}
    connection.execute(hooks.update().where(hooks.c.id == hook_id).values(**values))
    connection.execute(commit_reports.delete().where(_columns.hook_id == hook_id))


def _want(
    connection: sa.Connection, environment_id: str, sha: str, number: int, context: str
) -> tuple[str, ...]:
    query = sa.select(hooks.c.id).where(
        hooks.c.environment_id == environment_id, hooks.c.token.is_not(None)
    )
    found = tuple(connection.scalars(query))
    for hook_id in found:
        _want_of(connection, hook_id, sha, number, context)
    return found


def _want_of(connection: sa.Connection, hook_id: str, sha: str, number: int, context: str) -> None:
    here = sa.and_(_columns.hook_id == hook_id, _columns.sha == sha)
    known = here & (_columns.number == number) & _columns.message.is_(None)
    if connection.scalar(sa.select(sa.func.count()).where(known)):
        return
    connection.execute(commit_reports.delete().where(here))  # the newest build counts
    report = {"hook_id": hook_id, "sha": sha, "number": number, "context": context, "done": False}
    connection.execute(commit_reports.insert(), report)
    kept = (
        sa.select(_columns.id)
        .where(_columns.hook_id == hook_id)
        .order_by(_columns.id.desc())
        .limit(MAX_REPORTS)
    )
    numbers = list(connection.scalars(kept))
    connection.execute(
        commit_reports.delete().where(_columns.hook_id == hook_id, _columns.id < min(numbers))
    )


def _read(connection: sa.Connection, query: sa.Select[Any]) -> tuple[CommitReport, ...]:
    return tuple(
        CommitReport(
            **{
                **row,
                "told": row["told"] and CommitState(row["told"]),
                "message": Message.from_json(row["message"]),
            }
        )
        for row in connection.execute(query).mappings()
    )
