"""From what administrators decide and look at to JSON, CSV and JSON lines; pure.

Every shape has a schema of the same name in `adminschemas`.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from typing import Any

from jupyterhub_binder.inputs import one_line
from jupyterhub_binder.limits import Chosen
from jupyterhub_binder.oversight import (
    SERVICE,
    AuditEntry,
    Drain,
    LimitName,
    LimitOverride,
    PersonUse,
    Rule,
)
from jupyterhub_binder.web.render import JSON, iso_time

_USE_COLUMNS = ("name", "builds", "build_seconds", "launches", "environments", "image_bytes")
_FORMULA = tuple("=+-@＝＋－＠")  # noqa: RUF001 - some spreadsheets read the wide ones alike


def render_rule(rule: Rule) -> JSON:
    """Render a rule."""
    return {
        "id": rule.id or None,
        "kind": rule.kind,
        "pattern": rule.pattern,
        "reason": rule.reason,
        "created": iso_time(rule.created),
        "created_by": rule.created_by,
    }


def render_override(override: LimitOverride) -> JSON:
    """Render the limits of a group or a person."""
    return {
        "holder": override.holder,
        "name": override.name,
        "limits": dict(override.values),
        "updated": iso_time(override.updated),
        "updated_by": override.updated_by,
    }


def render_chosen(chosen: Mapping[LimitName, Chosen]) -> JSON:
    """Render which limits hold for somebody, and whose they are."""
    return {
        name: {
            "limit": each.value,
            "source": each.source or "default",
            "group": each.group or None,
        }
        for name, each in chosen.items()
    }


def render_drain(drain: Drain | None, *, running: int, waiting: int, launches: int) -> JSON:
    """Render whether builds begin, and what is under way."""
    return {
        "draining": drain is not None,
        "message": drain.message if drain else None,
        "since": iso_time(drain.since) if drain else None,
        "by": drain.by if drain else None,
        "running": running,
        "waiting": waiting,
        "launches": launches,
    }


def render_audit(entry: AuditEntry) -> JSON:
    """Render an entry of the audit log."""
    return {
        "id": entry.id,
        "time": iso_time(entry.time),
        "actor": None if entry.actor == SERVICE else entry.actor,
        "action": entry.action,
        "target": entry.target,
        "detail": dict(entry.detail),
    }


def audit_lines(entries: Iterable[AuditEntry]) -> str:
    """Render entries as JSON lines."""
    return "".join(f"{json.dumps(render_audit(entry))}\n" for entry in entries)


def render_use(use: PersonUse) -> JSON:
    """Render what a person uses."""
    return {name: getattr(use, name) for name in _USE_COLUMNS}


def use_csv(uses: Iterable[PersonUse]) -> str:
    """Render what people use as CSV; no name is taken for a formula by a spreadsheet."""
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(_USE_COLUMNS)
    for use in uses:
        writer.writerow([_harmless(getattr(use, name)) for name in _USE_COLUMNS])
    return file.getvalue()


def _harmless(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = one_line(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
