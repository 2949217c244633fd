"""Queries for the reports of a detector. Their number and age are bounded."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from jupyterhub_binder.model import Spec, repository_key
from jupyterhub_binder.model.detections import Detection, DetectionState
from jupyterhub_binder.store.database import Database
from jupyterhub_binder.store.deliveries import see
from jupyterhub_binder.store.tables import UTCTime, builds, metadata, type_of_state

MAX_KEPT = 500
KEPT = timedelta(days=90)
_SCOPE = "detector"

detections = sa.Table(
    "detections",
    metadata,
    sa.Column("id", sa.String(16), nullable=False),
    sa.Column("time", UTCTime, nullable=False),
    sa.Column("last", UTCTime, nullable=False),
    sa.Column("times", sa.Integer, nullable=False),
    sa.Column("user", sa.Text, nullable=False),
    sa.Column("server_name", sa.Text, nullable=False),
    sa.Column("environment_id", sa.String(16), nullable=False),
    sa.Column("named", sa.Text, nullable=False),
    sa.Column("program", sa.Text, nullable=False),
    sa.Column("repository", sa.Text, nullable=False),
    sa.Column("confirmed", sa.Boolean, nullable=False),
    sa.Column("state", type_of_state, nullable=False),
    sa.PrimaryKeyConstraint("id"),
    sa.Index("ix_detections_last", "last"),
)


class DetectionQueries:
    """Reports of a detector."""

    _database: Database

    async def note_detection(self, report: Detection, delivery: str) -> Detection | None:
        """Keep a report, or count it with one that names the same and is not settled yet.

        None if the delivery was seen before.
        """
        return await self._database.run(_note, report, delivery)

    async def settle_detection(
        self, detection_id: str, *, repository: str, confirmed: bool, banned: bool
    ) -> bool:
        """Keep which repository a report is about, and whether it was banned.

        False if an open report says the same already; it counts both from then on. One that says
        something else stays as it is: a server may have run another repository by then, or none.
        What is known of the report already is not replaced by less.
        """
        return await self._database.run(_settle, detection_id, repository, confirmed, banned)

    async def dismiss_detection(self, detection_id: str) -> Detection | None:
        """Dismiss and return an open report."""
        return await self._database.run(_change, detection_id, {"state": DetectionState.DISMISSED})

    async def list_detections(self, state: DetectionState) -> tuple[Detection, ...]:
        """Return the reports in a state, the newest first."""
        return await self._database.run(_list, state)

    async def has_built(self, spec: Spec) -> bool:
        """Say whether a repository was ever requested here."""
        query = sa.select(builds.c.id).where(builds.c.repository_key == repository_key(spec))
        return await self._database.run(lambda c: c.scalar(query.limit(1))) is not None


def _note(connection: sa.Connection, report: Detection, delivery: str) -> Detection | None:
    if not see(connection, _SCOPE, delivery, report.time):
        return None
    known = _find_same(connection, report)
    if known is not None:
        return _change(connection, known, _counted(report))
    row = {name: getattr(report, name) for name in Detection.__dataclass_fields__}
    connection.execute(detections.insert(), row)
    _forget(connection, report.last - KEPT)
    return report


def _settle(
    connection: sa.Connection, detection_id: str, repository: str, confirmed: bool, banned: bool
) -> bool:
    values: dict[str, Any] = {"repository": repository, "confirmed": confirmed}
    if banned:
        values["state"] = DetectionState.BANNED
    elif _knows_more(connection, detection_id, repository, confirmed):
        return True
    report = _change(connection, detection_id, values)
    if report is None or banned:
        return True
    known = _find_same(connection, report)
    if known is None:
        return True
    counted = _counted(report)
    if confirmed:
        counted["confirmed"] = True
    _change(connection, known, counted)
    connection.execute(detections.delete().where(detections.c.id == detection_id))
    return False


def _knows_more(
    connection: sa.Connection, detection_id: str, repository: str, confirmed: bool
) -> bool:
    """Say whether a later report about the same, which was looked into sooner, found more."""
    columns = detections.c
    more = [] if confirmed else [columns.confirmed]
    more += [] if repository else [columns.repository != ""]
    query = sa.select(columns.id).where(columns.id == detection_id, sa.or_(sa.false(), *more))
    return connection.scalar(query) is not None


def _find_same(connection: sa.Connection, report: Detection) -> str | None:
    """Return the id of another open report about the same.

    What a process says of itself makes no difference if its server is known.
    """
    columns = detections.c
    names = ["user", "server_name", "repository"]
    names += [] if report.user else ["environment_id", "named"]
    query = sa.select(columns.id).where(
        columns.id != report.id,
        columns.state == DetectionState.OPEN,
        *(columns[name] == getattr(report, name) for name in names),
    )
    return connection.scalar(query.limit(1))


def _counted(report: Detection) -> dict[str, Any]:
    times = detections.c.times + report.times
    return {"times": times, "last": report.last, "program": report.program}


def _forget(connection: sa.Connection, before: datetime) -> None:
    last = detections.c.last
    oldest = connection.scalar(sa.select(last).order_by(last.desc()).offset(MAX_KEPT - 1).limit(1))
    if oldest is not None:
        before = max(before, oldest)
    connection.execute(detections.delete().where(last < before))


def _change(
    connection: sa.Connection, detection_id: str, values: dict[str, Any]
) -> Detection | None:
    place = sa.and_(detections.c.id == detection_id, detections.c.state == DetectionState.OPEN)
    if not connection.execute(detections.update().where(place).values(**values)).rowcount:
        return None
    query = detections.select().where(detections.c.id == detection_id)
    return _read(connection.execute(query).mappings().one())


def _list(connection: sa.Connection, state: DetectionState) -> tuple[Detection, ...]:
    columns = detections.c
    query = (
        detections.select().where(columns.state == state).order_by(columns.last.desc(), columns.id)
    )
    return tuple(_read(row) for row in connection.execute(query).mappings())


def _read(row: sa.RowMapping) -> Detection:
    return Detection(**{**row, "state": DetectionState(row["state"])})
