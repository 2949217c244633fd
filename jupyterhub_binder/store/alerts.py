"""Alerts that are on, and the time of the last backup."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from jupyterhub_binder.model.alerts import Alert, AlertName
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

_BACKUP = switches.c.name == "backup"


class AlertQueries:
    """Alerts."""

    _database: Database

    async def list_alerts(self) -> tuple[Alert, ...]:
        """Return the alerts that are on, the oldest first."""
        return await self._database.run(_list)

    async def put_alert(self, alert: Alert) -> None:
        """Keep an alert that is on."""
        await self._database.run(_put, alert)

    async def delete_alert(self, name: AlertName) -> None:
        """Forget an alert that is over."""
        await self._database.run(_delete, name)

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


def _put(connection: sa.Connection, alert: Alert) -> None:
    _delete(connection, alert.name)
    row = {"name": alert.name, "text": alert.text, "since": alert.since, "said": alert.said}
    connection.execute(alerts.insert(), row)


def _delete(connection: sa.Connection, name: AlertName) -> None:
    connection.execute(alerts.delete().where(alerts.c.name == name))


def _last_backup(connection: sa.Connection) -> datetime | None:
    return connection.scalar(sa.select(switches.c.since).where(_BACKUP))


def note_backup(connection: sa.Connection, at: datetime) -> None:
    """Keep the time of a backup."""
    connection.execute(switches.delete().where(_BACKUP))
    connection.execute(switches.insert(), {"name": "backup", "message": "", "since": at, "by": ""})
