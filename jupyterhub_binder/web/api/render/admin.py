"""Converts rules, limits, audit log and usage to JSON, CSV and JSON Lines. Pure."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jupyterhub_binder.admin.columns import USE
from jupyterhub_binder.admin.limits import Chosen
from jupyterhub_binder.launches.service import StoppedServers
from jupyterhub_binder.model.admin import (
    SERVICE,
    AuditEntry,
    Drain,
    LimitName,
    LimitOverride,
    PersonUse,
    Rule,
)
from jupyterhub_binder.model.detections import Detection
from jupyterhub_binder.utils.validation import one_line
from jupyterhub_binder.utils.wire import to_json
from jupyterhub_binder.web.api.shapes.admin import (
    AuditEntryJSON,
    ChosenJSON,
    DetectionJSON,
    DrainJSON,
    LimitOverrideJSON,
    LimitValuesJSON,
    RuleJSON,
    StoppedServersJSON,
)

_FORMULA = tuple("=+-@＝＋－＠")  # noqa: RUF001 - some spreadsheets read the wide ones alike


def render_rule(rule: Rule) -> RuleJSON:
    """Render a rule."""
    return RuleJSON(
        id=rule.id or None,
        kind=rule.kind,
        pattern=rule.pattern,
        reason=rule.reason,
        shows_reason=rule.shows_reason,
        created=rule.created,
        created_by=rule.created_by,
    )


def render_stopped(of: StoppedServers) -> StoppedServersJSON:
    """Render what became of a person's servers."""
    return StoppedServersJSON(stopped=of.stopped, left=of.left, problem=of.problem)


def render_detection(detection: Detection) -> DetectionJSON:
    """Render a report of the detector."""
    return DetectionJSON(
        id=detection.id,
        time=detection.time,
        last=detection.last,
        times=detection.times,
        repository=detection.repository or None,
        named=detection.named or None,
        person=detection.user or None,
        server_name=detection.server_name,
        environment_id=detection.environment_id or None,
        program=detection.program,
        confirmed=detection.confirmed,
    )


def render_limits(values: Mapping[LimitName, int]) -> LimitValuesJSON:
    """Render the limits that are set."""
    return LimitValuesJSON(**{str(name): value for name, value in values.items()})


def render_override(override: LimitOverride) -> LimitOverrideJSON:
    """Render a group's or person's limits."""
    return LimitOverrideJSON(
        holder=override.holder,
        name=override.name,
        limits=render_limits(override.values),
        updated=override.updated,
        updated_by=override.updated_by,
    )


def render_chosen(chosen: Chosen) -> ChosenJSON:
    """Render a limit that applies to a person."""
    default = "new" if chosen.until else "default"
    return ChosenJSON(
        limit=chosen.value,
        source=chosen.source.value if chosen.source else default,
        group=chosen.group or None,
        until=chosen.until,
    )


def render_drain(drain: Drain | None, *, running: int, waiting: int, launches: int) -> DrainJSON:
    """Render whether builds are paused, and what still runs."""
    return DrainJSON(
        draining=drain is not None,
        message=drain.message if drain else None,
        since=drain.since if drain else None,
        by=drain.by if drain else None,
        running=running,
        waiting=waiting,
        launches=launches,
    )


def render_audit(entry: AuditEntry) -> AuditEntryJSON:
    """Render an entry of the audit log."""
    return AuditEntryJSON(
        id=entry.id,
        time=entry.time,
        actor=None if entry.actor == SERVICE else entry.actor,
        action=entry.action,
        target=entry.target,
        detail=entry.detail,
    )


def audit_lines(entries: Iterable[AuditEntry]) -> str:
    """Render entries as JSON Lines."""
    return "".join(f"{json.dumps(to_json(render_audit(entry)))}\n" for entry in entries)


def use_csv(uses: Iterable[PersonUse]) -> str:
    """Render usage by person as CSV."""
    names = [column.name for column in USE]
    return write_csv(names, ([getattr(use, name) for name in names] for use in uses))


def write_csv(titles: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Write CSV, safe from spreadsheet formulas."""
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow([_harmless(title) for title in titles])
    for row in rows:
        writer.writerow([_harmless(value) for value in row])
    return file.getvalue()


def _harmless(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = one_line(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
