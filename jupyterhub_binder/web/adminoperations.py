"""The operations of the REST API that are for administrators."""

from __future__ import annotations

from jupyterhub_binder.web.operation import LIST, WRITE, Operation

_ADMIN = "/api/v1/admin"
_LOOK = (401, 403, 503)

ADMIN_OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "get",
        f"{_ADMIN}/queue",
        "get_queue",
        "For admins: everybody's builds that run or wait",
        answer="Queue",
        query=("offset", "limit"),
        errors=LIST,
        more=(
            "`offset` and `limit` cut what waits. "
            "`POST /api/v1/builds/{build_id}/cancel` by an admin ends one for everybody."
        ),
    ),
    Operation(
        "get",
        f"{_ADMIN}/backends",
        "list_backends",
        "For admins: the build backends, and how each stands",
        answer="Backends",
        errors=_LOOK,
    ),
    Operation(
        "get",
        f"{_ADMIN}/environments",
        "list_all_environments",
        "For admins: everybody's environments",
        answer="Environments",
        query=("search", "person", "deleted", "order", "offset", "limit"),
        errors=LIST,
        more="An admin reads, deletes and restores each as its owner does.",
    ),
    Operation(
        "get",
        f"{_ADMIN}/use",
        "list_use",
        "For admins: what people use",
        answer="Uses",
        query=("days", "sort", "search", "offset", "limit"),
        errors=LIST,
        more="Builds and launches of the period; environments and images as they are now.",
    ),
    Operation(
        "get",
        f"{_ADMIN}/use.csv",
        "download_use",
        "For admins: what people use, as CSV for a spreadsheet",
        media="text/csv",
        query=("days", "sort", "search"),
        errors=LIST,
    ),
    Operation(
        "get",
        f"{_ADMIN}/rules",
        "list_rules",
        "For admins: which repositories are banned, and which alone are allowed",
        answer="Rules",
        query=("search", "offset", "limit"),
        errors=LIST,
    ),
    Operation(
        "post",
        f"{_ADMIN}/rules",
        "add_rule",
        "For admins: ban repositories, or allow them",
        answer="RuleAdded",
        body="RuleBody",
        body_required=True,
        errors=WRITE,
        more=(
            "`builds` are those that run or wait and that the rule matches; with `cancel` they "
            "are ended. What waits and is refused does not begin in any case. A rule of the same "
            "kind and pattern gets the new reason."
        ),
    ),
    Operation(
        "delete",
        f"{_ADMIN}/rules/{{rule_id}}",
        "remove_rule",
        "For admins: remove a rule",
        answer="Rule",
    ),
    Operation(
        "post",
        f"{_ADMIN}/rules/{{rule_id}}/cancel",
        "cancel_rule_builds",
        "For admins: end the builds that a rule matches",
        answer="RuleAdded",
        body="EmptyBody",
        errors=WRITE,
    ),
    Operation(
        "get",
        f"{_ADMIN}/limits",
        "list_limits",
        "For admins: limits of everybody, of groups and of people",
        answer="Limits",
        query=("person", "search", "offset", "limit"),
        errors=LIST,
        more="With `person` also which limits hold for somebody, and where they come from.",
    ),
    Operation(
        "put",
        f"{_ADMIN}/limits",
        "set_limits",
        "For admins: set the limits of a person or of a group",
        answer="LimitOverride",
        body="LimitsBody",
        body_required=True,
        errors=WRITE,
        more=(
            "Takes the place of those that were set; what is left out or null is as for everybody. "
            "A person's own limit holds, else the largest of their groups', else everybody's."
        ),
    ),
    Operation(
        "get",
        f"{_ADMIN}/drain",
        "get_drain",
        "For admins: whether builds begin, and what still runs",
        answer="Drain",
        errors=_LOOK,
    ),
    Operation(
        "put",
        f"{_ADMIN}/drain",
        "drain",
        "For admins: pause builds, and tell everybody why",
        answer="Drain",
        body="DrainBody",
        errors=WRITE,
        more="What runs goes on to its end, the queue stays; a restart changes nothing of it.",
    ),
    Operation(
        "delete",
        f"{_ADMIN}/drain",
        "resume",
        "For admins: resume builds",
        answer="Drain",
        errors=_LOOK,
    ),
    Operation(
        "get",
        f"{_ADMIN}/audit",
        "list_audit",
        "For admins: who did what when, the newest first",
        answer="AuditEntries",
        query=("person", "action", "offset", "limit"),
        errors=LIST,
    ),
    Operation(
        "get",
        f"{_ADMIN}/audit.jsonl",
        "download_audit",
        "For admins: the audit log as JSON lines, the oldest first",
        media="application/jsonl",
        query=("person", "action"),
        errors=LIST,
    ),
)
