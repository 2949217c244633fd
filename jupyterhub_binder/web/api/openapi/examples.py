"""One example for each schema. Tests check them against the schemas."""

from __future__ import annotations

from typing import Any

_SHA = "2f0c0a1b7b9c9b6f2f5d1f5b9a0e4c3d2b1a0f9e"
_ENVIRONMENT = "/services/binder/api/v1/environments/k7m2p9qx4t"
_BUILD = "/services/binder/api/v1/builds/b3n8w5yd2h"
_LAUNCH = "/services/binder/api/v1/launches/v6c4r9sj7e"

_SPEC = {
    "provider": "gh",
    "repo": "binder-examples/requirements",
    "ref": "main",
    "spec": "binder-examples/requirements/main",
}
_PLACE = {
    "label": "github.com/binder-examples/requirements",
    "repo_url": "https://github.com/binder-examples/requirements",
}

_SUMMARY: dict[str, Any] = {
    "id": "b3n8w5yd2h",
    "number": 1,
    "state": "running",
    "phase": "building",
    "resolved_ref": _SHA,
    "ref": "main",
    "created": "2026-03-01T09:30:00.000Z",
    "started": "2026-03-01T09:30:02.500Z",
    "finished": None,
    "size_bytes": None,
    "reused": False,
    "packages_from": None,
    "withdrawn": None,
    "reason": None,
    "queue_position": None,
    "step": "",
    "expected_seconds": 41.0,
    "elapsed_seconds": 12.5,
}

_NAMED = {"id": "k7m2p9qx4t", "name": "requirements"}

_RULE: dict[str, Any] = {
    "id": "p4r8c6w2mz",
    "kind": "ban",
    "pattern": "github.com/org/miner",
    "reason": "It mines coins.",
    "shows_reason": True,
    "created": "2026-03-01T09:30:00.000Z",
    "created_by": "root",
}

_DELIVERY = {
    "time": "2026-03-01T09:30:00.000Z",
    "event": "push",
    "outcome": "building",
    "number": 2,
    "message": "",
}
_REPORT = {
    "time": "2026-03-01T09:31:02.000Z",
    "commit": "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c",
    "number": 2,
    "state": "success",
    "message": "",
}
_HOOK = {
    "id": "4f1c0d6a2b7e9835f0a1c2d3e4b5a69788796a5b",
    "url": "/services/binder/hooks/4f1c0d6a2b7e9835f0a1c2d3e4b5a69788796a5b",
    "host": "github",
    "created": "2026-02-01T09:30:00.000Z",
    "deliveries": [_DELIVERY],
    "token_set": "2026-02-01T09:35:00.000Z",
    "report": _REPORT,
}
_SCHEDULE = {
    "cron": "30 3 * * *",
    "time_zone": "Europe/Berlin",
    "words": "Every day at 03:30.",
    "next": ["2026-03-02T02:30:00.000Z", "2026-03-03T02:30:00.000Z", "2026-03-04T02:30:00.000Z"],
}
_LOOK = {
    "time": "2026-03-01T09:30:01.000Z",
    "cause": "hook",
    "outcome": "building",
    "number": 2,
    "message": "",
}

EXAMPLES: dict[str, Any] = {
    "Info": {
        "version": "0.1.0",
        "user": {"name": "ada", "admin": False, "groups": ["astronomy"]},
        "permissions": {"build": True, "admin": False},
        "limits": {
            "environments": {"limit": 100, "used": 3},
            "builds": {"limit": 10, "used": 1},
        },
        "backend": {"name": "venv", "description": "Builds on this machine", "health": None},
        "providers": [
            {
                "prefix": "gh",
                "name": "GitHub",
                "placeholder": "https://github.com/owner/name",
                "default_ref": "HEAD",
            }
        ],
        "hub": {"url": "/hub/", "named_servers": True},
        "drain": None,
    },
    "LinkBody": {"url": "https://github.com/binder-examples/requirements/blob/main/index.ipynb"},
    "Preview": {
        **_SPEC,
        **_PLACE,
        "path": "index.ipynb",
        "content_url": "",
        "content_ref": "",
        "resolved_ref": _SHA,
        "ref_kind": "branch",
        "default_branch": "",
        "commit": {"sha": _SHA, "subject": "Add an index", "time": "2026-02-27T16:05:11.000Z"},
        "name": "requirements",
        "directory": "requirements",
        "recipe": {
            "directory": "",
            "buildpack": "python",
            "python": "",
            "packages": 3,
            "unpinned": ["numpy"],
            "files": [
                {
                    "path": "requirements.txt",
                    "kind": "requirements.txt",
                    "used": True,
                    "supported": True,
                    "action": "Installs 3 packages",
                }
            ],
        },
        "findings": [
            {
                "severity": "note",
                "code": "unpinned",
                "message": "A package names no version.",
                "path": "requirements.txt",
            }
        ],
        "built": False,
        "expected_seconds": 41.0,
        "earlier_builds": 4,
        "backend": "venv",
        "why": "Python packages only",
        "ways": [
            {"backend": "venv", "made": "made as a folder", "expected_seconds": 41.0},
            {
                "backend": "binderhub",
                "made": "made as a container image by BinderHub",
                "expected_seconds": None,
            },
        ],
        "kept": None,
    },
    "CreateBody": {
        "url": "https://github.com/binder-examples/requirements",
        "name": "My requirements",
    },
    "Environment": {
        **_NAMED,
        "owner": "ada",
        "default_branch": "",
        "right": "own",
        **_SPEC,
        **_PLACE,
        "path": "index.ipynb",
        "content": "copy",
        "content_url": "",
        "content_ref": "",
        "directory": "requirements",
        "options": {},
        "state": "building",
        "status": "building",
        "created": "2026-03-01T09:30:00.000Z",
        "updated": "2026-03-01T09:30:00.000Z",
        "launched": None,
        "deleted": None,
        "current": None,
        "latest": _SUMMARY,
        "newer": None,
        "updates": "ask",
        "hold": None,
        "links": {
            "self": _ENVIRONMENT,
            "page": "/services/binder/environments/k7m2p9qx4t",
            "builds": f"{_ENVIRONMENT}/builds",
            "launches": f"{_ENVIRONMENT}/launches",
            "upstream": f"{_ENVIRONMENT}/upstream",
        },
    },
    "Upstream": {
        "follows": True,
        "checked": "2026-03-01T09:30:00.000Z",
        "due": "2026-03-01T09:46:00.000Z",
        "reason": None,
        "newer": {
            "resolved_ref": _SHA,
            "summary": "1 new commit · requirements.txt: +2 -1 · rebuild about 40 s",
            "checked": "2026-03-01T09:30:00.000Z",
            "count": 1,
            "more": False,
            "rewritten": False,
            "needs_build": True,
            "expected_seconds": 41.0,
            "file_count": 1,
            "recipe": [{"path": "requirements.txt", "added": 2, "removed": 1}],
            "commits": [
                {
                    "sha": _SHA,
                    "author": "Ada",
                    "subject": "Newer packages",
                    "time": "2026-02-27T16:05:11.000Z",
                }
            ],
            "files": ["requirements.txt"],
            "diff": ["+scipy==1.14.1"],
        },
    },
    "SharesBody": {
        "shares": [
            {"subject": "group:astronomy", "right": "launch"},
            {"subject": "user:grace", "right": "manage"},
        ]
    },
    "Shares": {
        "shares": [
            {
                "subject": "group:astronomy",
                "right": "launch",
                "since": "2026-03-01T09:30:00.000Z",
                "by": "ada",
            }
        ],
        "people": 3,
        "launched": "2026-03-02T10:15:00.000Z",
    },
    "CopyBody": {"name": "My requirements"},
    "TransferBody": {"to": "grace"},
    "Transfer": {
        "environment": _NAMED,
        "label": _PLACE["label"],
        "owner": "ada",
        "to": "grace",
        "by": "ada",
        "offered": "2026-03-01T09:30:00.000Z",
        "expires": "2026-03-08T09:30:00.000Z",
    },
    "FeatureBody": {"subject": "group:astronomy", "text": "The notebooks of the course."},
    "UpdateBody": {"name": "Course, week 1"},
    "BuildAgainBody": {"ref": "v2.0"},
    "CurrentBody": {"number": 1, "reason": "numpy 2.1 breaks exercise 4"},
    "Change": {
        "number": 3,
        "from_number": 2,
        "to_number": 1,
        "cause": "rolled_back",
        "reason": "numpy 2.1 breaks exercise 4",
        "time": "2026-03-01T09:30:00.000Z",
        "by": "ada",
    },
    "SignedReceipt": {
        "receipt": {
            "version": 1,
            "build": "b3n8w5yd2h",
            "built": "2026-03-01T09:31:00.000Z",
            "packages_from": "2026-03-01T09:31:00.000Z",
            "hub": "https://hub.example.org",
            "repository": {
                "provider": "gh",
                "repo": "binder-examples/requirements",
                "url": "https://github.com/binder-examples/requirements",
                "ref": "main",
                "commit": _SHA,
            },
            "recipe_digest": None,
            "content_key": "0d1c5b",
            "backend": "venv",
            "options": {},
            "image": {"kind": "venv", "digest": None},
            "lock": "numpy==2.1.3\n",
            "packages": [["numpy", "2.1.3", "pip"]],
            "tools": {"jupyterhub-binder": "0.1.0", "python": "3.12.3", "uv": "0.9.1"},
        },
        "key": {
            "algorithm": "Ed25519",
            "id": "3d0941964aa3ebdc",
            "public_key": "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
        },
        "signature": "bWFkZSB1cA==",
    },
    "ReceiptCheck": {
        "own": True,
        "key_id": "3d0941964aa3ebdc",
        "exact": True,
        "notes": ["The packages are installed in the versions of the receipt."],
    },
    "Packages": {
        "build_id": "b3n8w5yd2h",
        "known": True,
        "items": [{"name": "numpy", "version": "2.1.3", "source": "pip"}],
        "tools": {"python": "3.12.3", "uv": "0.9.1"},
    },
    "Difference": {
        "from_number": 1,
        "to_number": 2,
        "known": True,
        "added": [],
        "removed": [{"name": "six", "version": "1.16.0", "source": "pip"}],
        "changed": [{"name": "numpy", "source": "pip", "before": "1.26.4", "after": "2.1.3"}],
    },
    "Build": {
        **_SUMMARY,
        **_SPEC,
        **_PLACE,
        "options": {},
        "backend": "venv",
        "lines": 87,
        "people": 2,
        "environment": _NAMED,
        "requested_by": "ada",
        "links": {
            "self": _BUILD,
            "events": f"{_BUILD}/events",
            "log": f"{_BUILD}/log",
            "cancel": f"{_BUILD}/cancel",
            "page": "/services/binder/builds/b3n8w5yd2h",
        },
    },
    "Delivery": _DELIVERY,
    "CommitReport": _REPORT,
    "Hook": _HOOK,
    "HookSecret": {
        "id": _HOOK["id"],
        "url": _HOOK["url"],
        "host": "github",
        "secret": "whsec_QmFzZTY0IG9mIHRoaXJ0eS10d28gcmFuZG9tIGJ5dGU=",
    },
    "Schedule": _SCHEDULE,
    "Look": _LOOK,
    "Prebuild": {"hooks": [_HOOK], "schedule": _SCHEDULE, "pending": None, "last": _LOOK},
    "HookBody": {"host": "github"},
    "SecretBody": {},
    "TokenBody": {"token": "github_pat_..."},
    "ScheduleBody": {"cron": "30 3 * * *", "time_zone": "Europe/Berlin"},
    "LaunchSpec": {
        "environment_id": "k7m2p9qx4t",
        "environment_name": "requirements",
        "state": "ready",
        "build_id": "b3n8w5yd2h",
        "image": "venv:9d1c7b",
        "content": "copy",
        "directory": "requirements",
        "path": "index.ipynb",
        "repo_url": _PLACE["repo_url"],
        "ref": "main",
        "resolved_ref": _SHA,
        "ref_url": f"{_PLACE['repo_url']}/tree/{_SHA}",
        "request": "v2/gh/binder-examples/requirements/main",
        "persistent_request": f"v2/gh/binder-examples/requirements/{_SHA}",
        "content_url": _PLACE["repo_url"],
        "content_ref": "main",
        "content_elsewhere": False,
        "content_key": "",
        "content_kept": True,
        "client_ip": "203.0.113.7",
        "build_number": 1,
        "receipt": "",
    },
    "LaunchBody": {"server_name": "requirements"},
    "Launch": {
        "id": "v6c4r9sj7e",
        "environment": _NAMED,
        "server_name": "requirements",
        "path": "index.ipynb",
        "profile": "",
        "state": "ready",
        "build_id": "b3n8w5yd2h",
        "progress": 100,
        "message": "The server is ready.",
        "url": "/user/ada/requirements/lab/tree/requirements/index.ipynb",
        "created": "2026-03-01T09:31:00.000Z",
        "finished": "2026-03-01T09:31:04.200Z",
        "reason": None,
        "links": {
            "self": _LAUNCH,
            "events": f"{_LAUNCH}/events",
            "cancel": f"{_LAUNCH}/cancel",
            "page": "/services/binder/launch/v6c4r9sj7e",
        },
    },
    "Health": {
        "ok": True,
        "draining": False,
        "checks": [{"service": "database", "ok": True, "message": None}],
    },
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
    "RuleAdded": {"rule": _RULE, "builds": [], "cancelled": 0, "servers": None},
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
