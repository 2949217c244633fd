"""An explanation as columns of a build."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from jupyterhub_binder.model.failures import Explanation, Owner, Way, WayKind
from jupyterhub_binder.model.text import Message


def explanation_row(explanation: Explanation | None) -> dict[str, Any]:
    """Return the columns."""
    if explanation is None:
        return dict.fromkeys(("reason_rule", "reason_fingerprint", "reason_explanation"))
    return {
        "reason_rule": explanation.rule or None,
        "reason_fingerprint": explanation.fingerprint or None,
        "reason_explanation": {
            "owner": explanation.owner,
            "line": explanation.line,
            "ways": [
                {
                    "kind": way.kind,
                    "label": way.label.to_json(),
                    "url": way.url,
                    "python": way.python,
                }
                for way in explanation.ways
            ],
        },
    }


def read_explanation(row: sa.RowMapping, prefix: str = "") -> Explanation | None:
    """Read the columns; None for a build of an older version."""
    stored = row[prefix + "reason_explanation"]
    if not isinstance(stored, dict):
        return None
    owner = stored.get("owner")
    return Explanation(
        rule=row[prefix + "reason_rule"] or "",
        owner=Owner(owner) if owner in set(Owner) else None,
        line=str(stored.get("line", "")),
        ways=tuple(way for each in stored.get("ways", []) if (way := _read_way(each))),
        fingerprint=row[prefix + "reason_fingerprint"] or "",
    )


def _read_way(stored: Mapping[str, Any]) -> Way | None:
    """Read a way out; None for a kind that this version does not know."""
    label = Message.from_json(stored.get("label"))
    if stored.get("kind") not in set(WayKind) or label is None:
        return None
    return Way(
        WayKind(stored["kind"]), label, str(stored.get("url", "")), str(stored.get("python", ""))
    )
