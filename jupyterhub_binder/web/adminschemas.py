"""The shapes of what administrators are answered and send, with examples; data only."""

from __future__ import annotations

from typing import Any

from jupyterhub_binder.drain import MOST_MESSAGE_CHARACTERS
from jupyterhub_binder.inputs import MOST_PERSON_CHARACTERS
from jupyterhub_binder.limits import LEAST, MOST
from jupyterhub_binder.oversight import Action, Holder, LimitName, RuleKind
from jupyterhub_binder.rules import MOST_PATTERN_CHARACTERS, MOST_REASON_CHARACTERS
from jupyterhub_binder.web.schemas import (
    ANY_OBJECT,
    BOOLEAN,
    COUNT,
    NUMBER,
    SECONDS,
    TEXT,
    TIME,
    Schema,
    body,
    closed,
    line,
    many,
    or_null,
    page,
    ref,
    said,
    words,
)

_LIMITS: dict[str, Schema] = {
    LimitName.ENVIRONMENTS: said(COUNT, "Environments kept"),
    LimitName.BUILDS: said(COUNT, "Builds waiting or running"),
    LimitName.RUNNING: said(NUMBER, "Builds running at once"),
    LimitName.SHARE: said(NUMBER, "Turns in the queue, next to somebody who has 1"),
}
_LIMITS_SENT: dict[str, Schema] = {
    name: {**schema, "minimum": LEAST[LimitName(name)], "maximum": MOST[LimitName(name)]}
    for name, schema in _LIMITS.items()
}
_CHOSEN = closed(
    {
        "limit": COUNT,
        "source": said(
            {"type": "string", "enum": ["default", *Holder]}, "Whose limit it is that holds"
        ),
        "group": said(or_null(TEXT), "Which group, if it is a group's"),
    }
)

ADMIN_SCHEMAS: dict[str, Schema] = {
    "Queue": closed(
        {
            "running": many(ref("Build")),
            "waiting": said(many(ref("Build")), "In the order in which they will begin"),
            "waiting_total": COUNT,
            "offset": said(COUNT, "Of what waits"),
            "limit": NUMBER,
            "max_running": said(NUMBER, "How many run at once"),
            "draining": said(BOOLEAN, "Whether none begins at the moment"),
        }
    ),
    "Use": closed(
        {
            "name": TEXT,
            "builds": said(COUNT, "Begun for this person in the period"),
            "build_seconds": said(SECONDS, "That those took which have ended"),
            "launches": said(COUNT, "In the period"),
            "environments": said(COUNT, "Kept now"),
            "image_bytes": said(COUNT, "Of the images that these need, each counted once"),
        }
    ),
    "Uses": closed(
        {
            "items": many(ref("Use")),
            "total": COUNT,
            "offset": COUNT,
            "limit": NUMBER,
            "days": NUMBER,
        }
    ),
    "Rule": closed(
        {
            "id": said(or_null(TEXT), "null for one of the configuration, which stays"),
            "kind": words(RuleKind),
            "pattern": said(TEXT, "A repository's address; * stands for any text"),
            "reason": said(TEXT, "What people read whose repository is refused"),
            "created": or_null(TIME),
            "created_by": TEXT,
        }
    ),
    "Rules": page("Rule"),
    "RuleBody": body(
        {
            "kind": words(RuleKind),
            "pattern": said(
                {**line(MOST_PATTERN_CHARACTERS), "minLength": 1},
                "github.com/org/name, gh/org/*, or any address that people paste",
            ),
            "reason": said(line(MOST_REASON_CHARACTERS), "What people read"),
            "cancel": said(BOOLEAN, "End the builds that it matches"),
        },
        required=("pattern",),
    ),
    "RuleAdded": closed(
        {
            "rule": ref("Rule"),
            "builds": said(many(ref("Build")), "That run or wait, and that it matches"),
            "cancelled": COUNT,
        }
    ),
    "LimitOverride": closed(
        {
            "holder": words(Holder),
            "name": TEXT,
            "limits": closed(_LIMITS, optional=tuple(_LIMITS)),
            "updated": TIME,
            "updated_by": TEXT,
        }
    ),
    "Limits": closed(
        {
            "items": many(ref("LimitOverride")),
            "total": COUNT,
            "offset": COUNT,
            "limit": NUMBER,
            "defaults": said(closed(_LIMITS), "Everybody's, of the configuration"),
            "person": or_null(
                closed(
                    {
                        "name": TEXT,
                        "groups": said(many(TEXT), "As they were when the person was last seen"),
                        "limits": closed(dict.fromkeys(LimitName, _CHOSEN)),
                    }
                )
            ),
        }
    ),
    "LimitsBody": body(
        {
            "person": said(line(MOST_PERSON_CHARACTERS), "Either this, or group"),
            "group": line(MOST_PERSON_CHARACTERS),
            **_LIMITS_SENT,
        }
    ),
    "Drain": closed(
        {
            "draining": BOOLEAN,
            "message": said(or_null(TEXT), "What everybody reads on every page"),
            "since": or_null(TIME),
            "by": or_null(TEXT),
            "running": said(COUNT, "Builds that still run"),
            "waiting": COUNT,
            "launches": said(COUNT, "Launches under way"),
        }
    ),
    "DrainBody": body(
        {"message": said(line(MOST_MESSAGE_CHARACTERS), "Left out: a sentence about an upgrade")}
    ),
    "AuditEntry": closed(
        {
            "id": said(NUMBER, "Rises with each entry"),
            "time": TIME,
            "actor": said(or_null(TEXT), "Who; null for the service by itself"),
            "action": words(Action),
            "target": said(TEXT, "To what: an id, a pattern, a name"),
            "detail": ANY_OBJECT,
        }
    ),
    "AuditEntries": page("AuditEntry"),
}

_RULE: dict[str, Any] = {
    "id": "p4r8c6w2mz",
    "kind": "ban",
    "pattern": "github.com/org/miner",
    "reason": "It mines coins.",
    "created": "2026-03-01T09:30:00.000Z",
    "created_by": "root",
}

ADMIN_EXAMPLES: dict[str, Any] = {
    "Uses": {
        "items": [
            {
                "name": "ada",
                "builds": 14,
                "build_seconds": 1290.5,
                "launches": 41,
                "environments": 9,
                "image_bytes": 8_412_000_000,
            }
        ],
        "total": 1,
        "offset": 0,
        "limit": 50,
        "days": 30,
    },
    "RuleBody": {"kind": "ban", "pattern": "gh/org/miner", "reason": "It mines coins."},
    "RuleAdded": {"rule": _RULE, "builds": [], "cancelled": 0},
    "LimitsBody": {"group": "astronomy", "environments": 300, "share": 2},
    "Drain": {
        "draining": True,
        "message": "Upgrade at noon: builds wait until then.",
        "since": "2026-03-01T09:30:00.000Z",
        "by": "root",
        "running": 1,
        "waiting": 4,
        "launches": 0,
    },
    "DrainBody": {"message": "Upgrade at noon: builds wait until then."},
    "AuditEntry": {
        "id": 4711,
        "time": "2026-03-01T09:30:00.000Z",
        "actor": "root",
        "action": "rule.add",
        "target": "github.com/org/miner",
        "detail": {"kind": "ban", "reason": "It mines coins."},
    },
}
