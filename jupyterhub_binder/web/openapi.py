"""The description of the REST API, OpenAPI 3.1: each route with its answers and errors.

A table of operations, and what makes a document out of it. The tests hold the handlers to it.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from jupyterhub_binder import __version__
from jupyterhub_binder.oversight import Action
from jupyterhub_binder.usage import UseOrder
from jupyterhub_binder.web.adminoperations import ADMIN_OPERATIONS
from jupyterhub_binder.web.adminschemas import ADMIN_EXAMPLES, ADMIN_SCHEMAS
from jupyterhub_binder.web.examples import EXAMPLES
from jupyterhub_binder.web.operation import JSON, LIST, READ, WRITE, Operation
from jupyterhub_binder.web.schemas import COUNT, SCHEMAS, TEXT, Schema, ref

SSE = "text/event-stream"

_ERRORS = {
    400: "What was sent cannot be understood; the message names the field.",
    401: "Nobody is signed in, or the token is not valid.",
    403: "The person may not do this, or the XSRF token is missing.",
    404: "There is no such thing, or none that this person may see.",
    409: "The thing is in a state in which this cannot be done.",
    413: "The body is too large.",
    415: "The body is not JSON, or does not say so.",
    422: "The repository, or its ref, cannot be had.",
    429: "A limit of this person is reached.",
    503: "Something that this needs does not answer; try again.",
}
_RESUME = (
    "Server-sent events. A line of the log has no name of its own, the id `seq`, and the data "
    "of a `BuildEvent`; `build` has a `Build` whenever its state or place in the queue changes; "
    "`end` has the finished `Build` and is the last: close the connection. A comment comes every "
    "15 seconds. After a dropped connection send `Last-Event-ID`, or `after`."
)
_LAUNCH_EVENTS = (
    "Server-sent events: `launch` has the `Launch` at each change, `end` has the finished one "
    "and is the last: close the connection. A comment comes every 15 seconds."
)

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "get",
        "/api/v1/",
        "info",
        "Who I am, what I may do, what this service offers",
        answer="Info",
        errors=(401, 403, 503),
    ),
    Operation(
        "get",
        "/api/v1/openapi.json",
        "openapi",
        "This description",
        answer="Description",
        errors=(503,),
        open=True,
    ),
    Operation(
        "post",
        "/api/v1/resolve",
        "resolve",
        "What a pasted link would become; nothing is kept or started",
        answer="Preview",
        body="LinkBody",
        body_required=True,
        errors=(400, 401, 403, 413, 415, 422, 429, 503),
    ),
    Operation(
        "get",
        "/api/v1/environments",
        "list_environments",
        "A page of the list of environments",
        answer="Environments",
        query=("search", "order", "owner", "deleted", "offset", "limit"),
        errors=LIST,
    ),
    Operation(
        "post",
        "/api/v1/environments",
        "create_environment",
        "Create an environment, and build it",
        answer="Environment",
        status=201,
        body="CreateBody",
        body_required=True,
        errors=(400, 401, 403, 409, 413, 415, 422, 429, 503),
    ),
    Operation(
        "get",
        "/api/v1/environments/{environment_id}",
        "get_environment",
        "One environment",
        answer="Environment",
    ),
    Operation(
        "patch",
        "/api/v1/environments/{environment_id}",
        "update_environment",
        "Rename it, change what opens, or what happens to its files",
        answer="Environment",
        body="UpdateBody",
        errors=(*WRITE, 409),
    ),
    Operation(
        "delete",
        "/api/v1/environments/{environment_id}",
        "delete_environment",
        "Delete it; for a while this can be undone",
        answer="Environment",
        errors=(*READ, 409),
    ),
    Operation(
        "post",
        "/api/v1/environments/{environment_id}/restore",
        "restore_environment",
        "Undo its deletion",
        answer="Environment",
        body="EmptyBody",
        errors=(*WRITE, 409, 429),
    ),
    Operation(
        "get",
        "/api/v1/environments/{environment_id}/builds",
        "list_builds",
        "Its builds, the newest first",
        answer="BuildSummaries",
        query=("offset", "limit"),
        errors=(400, *READ),
    ),
    Operation(
        "post",
        "/api/v1/environments/{environment_id}/builds",
        "build_environment",
        "Build it again",
        answer="Environment",
        status=201,
        body="BuildAgainBody",
        errors=(*WRITE, 409, 422, 429),
    ),
    Operation(
        "put",
        "/api/v1/environments/{environment_id}/current",
        "choose_build",
        "Choose the build that a server starts from",
        answer="Environment",
        body="CurrentBody",
        body_required=True,
        errors=(*WRITE, 409),
    ),
    Operation(
        "get",
        "/api/v1/environments/{environment_id}/launch-spec",
        "get_launch_spec",
        "What the hub needs to start a server in it",
        answer="LaunchSpec",
        query=("server_name",),
        errors=(*READ, 409),
    ),
    Operation(
        "post",
        "/api/v1/environments/{environment_id}/launch-spec",
        "prepare_start",
        "The same, when a server is about to start: what has no image gets a build to wait for",
        answer="LaunchSpec",
        query=("server_name",),
        body="EmptyBody",
        errors=(*WRITE, 409, 422, 429),
    ),
    Operation(
        "post",
        "/api/v1/environments/{environment_id}/launches",
        "launch_environment",
        "Start a server in it",
        answer="Launch",
        status=201,
        body="LaunchBody",
        errors=(*WRITE, 409, 422, 429),
    ),
    Operation(
        "post",
        "/api/v1/environments/{environment_id}/stop",
        "stop_servers",
        "Stop my servers of it, and give up its launches under way; answers with those that end",
        answer="Servers",
        body="EmptyBody",
        errors=(*WRITE, 409, 429),
    ),
    Operation("get", "/api/v1/builds/{build_id}", "get_build", "One build", answer="Build"),
    Operation(
        "get",
        "/api/v1/builds/{build_id}/events",
        "follow_build",
        "Its log as it grows, and its state",
        media=SSE,
        query=("after", "_xsrf"),
        errors=(400, *READ, 429),
        more=_RESUME,
    ),
    Operation(
        "get",
        "/api/v1/builds/{build_id}/log",
        "get_log",
        "Its log as plain text",
        media="text/plain",
        query=("download",),
    ),
    Operation(
        "post",
        "/api/v1/builds/{build_id}/cancel",
        "cancel_build",
        "Withdraw my wish for it; it ends when nobody else wants it",
        answer="Build",
        body="EmptyBody",
        errors=(*WRITE, 409),
    ),
    Operation("get", "/api/v1/launches/{launch_id}", "get_launch", "One launch", answer="Launch"),
    Operation(
        "get",
        "/api/v1/launches/{launch_id}/events",
        "follow_launch",
        "A launch as it goes on",
        media=SSE,
        query=("_xsrf",),
        errors=(400, *READ, 429),
        more=_LAUNCH_EVENTS,
    ),
    Operation(
        "post",
        "/api/v1/launches/{launch_id}/cancel",
        "cancel_launch",
        "Give up a launch",
        answer="Launch",
        body="EmptyBody",
        errors=(*WRITE, 409),
    ),
    Operation(
        "get",
        "/api/v1/servers",
        "list_servers",
        "My running servers, with their environments",
        answer="Servers",
        errors=(401, 403, 503),
    ),
    *ADMIN_OPERATIONS,
    Operation(
        "get",
        "/metrics",
        "metrics",
        "Numbers for Prometheus",
        media="text/plain",
        errors=(401, 403, 503),
        more=(
            "For admins, and tokens with the hub's scope `read:metrics`; for everybody where "
            "`JupyterHubBinder.authenticate_metrics` is False."
        ),
    ),
    Operation(
        "get",
        "/health",
        "health",
        "Whether the service works, for probes",
        answer="Health",
        errors=(),
        open=True,
        more="Answers 503 with the same shape when something is wrong.",
    ),
    Operation(
        "get",
        "/versions",
        "versions",
        "Which versions run",
        answer="Versions",
        errors=(),
        open=True,
    ),
)

_EXAMPLES = {**EXAMPLES, **ADMIN_EXAMPLES}

_QUERY: dict[str, tuple[Schema, str]] = {
    "search": ({**TEXT, "maxLength": 200}, "Part of a name or a repository"),
    "order": ({"type": "string", "enum": ["recent", "name"], "default": "recent"}, "The order"),
    "owner": (TEXT, "For admins: somebody else's, or * for all; default: mine"),
    "offset": ({**COUNT, "default": 0}, "How many to leave out"),
    "limit": ({"type": "integer", "minimum": 1, "maximum": 200, "default": 50}, "The most items"),
    "after": ({**COUNT, "default": 0}, "The sequence number that was seen last"),
    "download": (TEXT, "If there at all, a browser saves the answer as a file"),
    "deleted": ({"type": "string", "enum": ["0", "1"]}, "1: those that can still be restored"),
    "days": ({"type": "string", "enum": ["7", "30", "90"]}, "The period; default: 30"),
    "sort": ({"type": "string", "enum": list(UseOrder)}, "What is largest first; default: builds"),
    "person": (TEXT, "Whose: a person's name"),
    "action": ({"type": "string", "enum": list(Action)}, "Only such entries"),
    "server_name": (TEXT, "Which of the person's servers it is for; default: the unnamed one"),
    "_xsrf": (TEXT, "The XSRF token, for an EventSource, which cannot send headers"),
}
_PATH_HELP = {
    "environment_id": "An environment's id",
    "build_id": "A build's id",
    "launch_id": "A launch's id",
    "rule_id": "A rule's id",
}


def describe(base_url: str) -> dict[str, Any]:
    """Return the OpenAPI document of a service below a prefix."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "jupyterhub-binder",
            "version": __version__,
            "summary": "Build, keep and launch environments on a JupyterHub",
            "description": (
                "Programs send a JupyterHub token with the scope "
                "`access:services!service=binder` in `Authorization`; building needs "
                "`custom:binder:build`, administration `custom:binder:admin`. Browsers have the "
                "service's cookie and send the XSRF token as `X-XSRFToken`. "
                "Times are ISO 8601 in UTC, durations seconds."
            ),
            "license": {"name": "BSD-3-Clause", "identifier": "BSD-3-Clause"},
        },
        "servers": [{"url": base_url.rstrip("/") or "/"}],
        "security": [{"token": []}, {"cookie": [], "xsrf": []}],
        "paths": paths,
        "components": {
            "schemas": {**SCHEMAS, **ADMIN_SCHEMAS, "Description": {"type": "object"}},
            "responses": {_error_name(s): _error_answer(s) for s in _ERRORS},
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token of the hub; `Authorization: token …` does as well.",
                },
                "cookie": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": "service-binder",
                    "description": "Set after the hub's login. Its name is the OAuth client's.",
                },
                "xsrf": {"type": "apiKey", "in": "header", "name": "X-XSRFToken"},
            },
        },
    }


@lru_cache(maxsize=4)
def description_json(base_url: str) -> str:
    """Return the document as JSON text."""
    return json.dumps(describe(base_url), ensure_ascii=False, separators=(",", ":"))


def _operation(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [_tag(operation)],
        "responses": _answers(operation),
    }
    if operation.more:
        described["description"] = operation.more
    if parameters := _parameters(operation):
        described["parameters"] = parameters
    if operation.body:
        described["requestBody"] = {
            "required": operation.body_required,
            "content": {JSON: _content(operation.body)},
        }
    if operation.open:
        described["security"] = []
    return described


def _tag(operation: Operation) -> str:
    parts = operation.path.removeprefix("/api/v1/").split("/")
    kind = {"launches": "launches", "builds": "builds"}.get(parts[-1], parts[0])
    return kind if kind in ("admin", "environments", "builds", "launches") else "service"


def _parameters(operation: Operation) -> list[dict[str, Any]]:
    in_path = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": help_,
            "schema": {"type": "string", "pattern": "^[0-9a-z]{1,40}$"},
        }
        for name, help_ in _PATH_HELP.items()
        if f"{{{name}}}" in operation.path
    ]
    in_query = [
        {"name": name, "in": "query", "description": _QUERY[name][1], "schema": _QUERY[name][0]}
        for name in operation.query
    ]
    return in_path + in_query + ([_LAST_EVENT_ID] if "after" in operation.query else [])


_LAST_EVENT_ID = {
    "name": "Last-Event-ID",
    "in": "header",
    "description": "As a browser's EventSource sends it when it connects again",
    "schema": COUNT,
}


def _answers(operation: Operation) -> dict[str, Any]:
    good: dict[str, Any] = {"description": operation.summary}
    good["content"] = {operation.media: _shape(operation)}
    if operation.status == 201:
        good["headers"] = {"Location": {"description": "Where it is", "schema": TEXT}}
    answers = {str(operation.status): good}
    for status in sorted(operation.errors):
        answers[str(status)] = {"$ref": f"#/components/responses/{_error_name(status)}"}
    if operation.name == "health":
        answers["503"] = {"description": "What is wrong", "content": {JSON: _content("Health")}}
    return answers


def _shape(operation: Operation) -> dict[str, Any]:
    """Return what the answer is made of; what one event of a stream is, only words can say."""
    if operation.answer:
        return _content(operation.answer)
    return {} if operation.media == SSE else {"schema": TEXT}


def _content(schema: str) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": ref(schema)}
    if schema in _EXAMPLES:
        content["example"] = _EXAMPLES[schema]
    return content


def _error_name(status: int) -> str:
    return f"Error{status}"


def _error_answer(status: int) -> dict[str, Any]:
    return {
        "description": _ERRORS[status],
        "content": {JSON: {"schema": ref("Error"), "example": _error_example(status)}},
    }


def _error_example(status: int) -> dict[str, Any]:
    codes = {
        400: "not_understood",
        401: "not_signed_in",
        403: "not_allowed",
        404: "not_found",
        409: "conflict",
        413: "too_large",
        415: "unsupported_media_type",
        422: "ref_not_found",
        429: "limit_reached",
        503: "upstream_unavailable",
    }
    return {"error": {"code": codes[status], "message": _ERRORS[status], "detail": {}}}
