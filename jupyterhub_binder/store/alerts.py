"""Alerts that are on, their messages that wait, and the time of the last backup."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, replace
from datetime import datetime

import sqlalchemy as sa

from jupyterhub_binder.model.alerts import Alert, AlertName, Notice, WaitingNotice
from jupyterhub_binder.store.database import Database
from jupyterhub_binder.store.tables import UTCTime, metadata, switches

alerts = sa.Table(
    "alerts",
    metadata,
    sa.Column("name", sa.String(32), primary_key=True),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("since", UTCTime, nullable=False),
    sa.Column("said", UTCTime, nullable=False),
)

alert_notices = sa.Table(
    "alert_notices",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("destination", sa.Text, nullable=False),
    sa.Column("event", sa.String(16), nullable=False),
    sa.Column("alert", sa.String(32), nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("time", sa.String(32), nullable=False),
)

_BACKUP = switches.c.name == "backup"


class AlertQueries:
    """Alerts."""

    _database: Database

    async def list_alerts(self) -> tuple[Alert, ...]:
        """Return the alerts that are on, the oldest first."""
        return await self._database.run(_list)

    async def put_alert(
        self, alert: Alert, notices: Iterable[WaitingNotice]
    ) -> tuple[WaitingNotice, ...]:
        """Keep an alert that is on, and what is to be told; return that with ids."""
        return await self._database.run(_put, alert, tuple(notices))

    async def delete_alert(
        self, name: AlertName, notices: Iterable[WaitingNotice]
    ) -> tuple[WaitingNotice, ...]:
        """Forget an alert that is over, and keep what is to be told; return that with ids."""
        return await self._database.run(_delete, name, tuple(notices))

    async def list_alert_notices(self) -> tuple[WaitingNotice, ...]:
        """Return the messages that wait, the oldest first."""
        return await self._database.run(_list_notices)

    async def delete_alert_notices(self, ids: Iterable[int]) -> None:
        """Forget messages that were sent, or never will be."""
        await self._database.run(_delete_notices, tuple(ids))

    async def fetch_last_backup(self) -> datetime | None:
        """Return when `jupyterhub-binder db backup` last ended; None if it never did."""
        return await self._database.run(_last_backup)


def _list(connection: sa.Connection) -> tuple[Alert, ...]:
    known = set(AlertName)
    rows = connection.execute(alerts.select().order_by(alerts.c.since, alerts.c.name))
    return tuple(
        Alert(AlertName(row.name), row.text, row.since, row.said)
        for row in rows
        if row.name in known
    )


def _put(
    connection: sa.Connection, alert: Alert, notices: tuple[WaitingNotice, ...]
) -> tuple[WaitingNotice, ...]:
    kept = _delete(connection, alert.name, notices)
    row = {"name": alert.name, "text": alert.text, "since": alert.since, "said": alert.said}
    connection.execute(alerts.insert(), row)
    return kept


def _delete(
    connection: sa.Connection, name: AlertName, notices: tuple[WaitingNotice, ...]
) -> tuple[WaitingNotice, ...]:
    connection.execute(alerts.delete().where(alerts.c.name == name))
    return tuple(replace(each, id=_insert_notice(connection, each)) for each in notices)


def _insert_notice(connection: sa.Connection, waiting: WaitingNotice) -> int:
    row = {"destination": waiting.destination, **asdict(waiting.notice)}
    key = connection.execute(alert_notices.insert().values(row)).inserted_primary_key
    assert key is not None
    return key[0]


def _list_notices(connection: sa.Connection) -> tuple[WaitingNotice, ...]:
    return tuple(
        WaitingNotice(
            row.destination, Notice(row.event, row.alert, row.subject, row.text, row.time), row.id
        )
        for row in connection.execute(alert_notices.select().order_by(alert_notices.c.id))
    )


def _delete_notices(connection: sa.Connection, ids: tuple[int, ...]) -> None:
    connection.execute(alert_notices.delete().where(alert_notices.c.id.in_(ids)))


def _last_backup(connection: sa.Connection) -> datetime | None:
    return connection.scalar(sa.select(switches.c.since).where(_BACKUP))


def note_backup(connection: sa.Connection, at: datetime) -> None:
    """Keep the time of a backup."""
    connection.execute(switches.delete().where(_BACKUP))
    connection.execute(switches.insert(), {"name": "backup", "message": "", "since": at, "by": ""})
