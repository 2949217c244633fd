"""Makes the OpenAPI 3.1 document from routes, operations and shapes.

`make openapi` writes it to `openapi.json`, which the service sends. The service never imports this
module, because pydantic needs time and memory.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
from collections.abc import Iterable, Iterator
from enum import Enum
from itertools import pairwise
from typing import Any, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter

from jupyterhub_binder.model import BuildEvent
from jupyterhub_binder.web.api.openapi.examples import EXAMPLES
from jupyterhub_binder.web.api.operation import JSON, SSE, Operation
from jupyterhub_binder.web.api.routes import ID, ROUTES
from jupyterhub_binder.web.api.shapes import ErrorJSON, ListJSON, PageJSON

Schema = dict[str, Any]

METHODS = ("get", "post", "put", "patch", "delete")
_ERRORS = {
    400: ("not_understood", "The request is not valid; the message names the field."),
    401: ("not_signed_in", "Not signed in, or the token is not valid."),
    403: ("not_allowed", "The person may not do this, or the XSRF token is missing."),
    404: ("not_found", "It doesn't exist, or this person may not see it."),
    409: ("conflict", "Its state does not allow this."),
    413: ("too_large", "The body is too large."),
    415: ("unsupported_media_type", "The body is not JSON, or its Content-Type does not say so."),
    422: ("ref_not_found", "The repository or its ref is not available."),
    429: ("limit_reached", "A limit of this person is reached."),
    503: ("upstream_unavailable", "A service that this needs does not answer; try again."),
}
_PATH_HELP = {
    "environment_id": "An environment's id",
    "build_id": "A build's id",
    "launch_id": "A launch's id",
    "hook_id": "A webhook's id",
    "rule_id": "A rule's id",
    "detection_id": "The id of a detector's report",
    "table": "A table of the usage page, such as launches or quarters",
}
_XSRF = {
    "name": "_xsrf",
    "in": "query",
    "description": "The XSRF token, for an EventSource, which can't send headers",
    "schema": {"type": "string"},
}
_LAST_EVENT_ID = {
    "name": "Last-Event-ID",
    "in": "header",
    "description": "Sent by a browser's EventSource when it reconnects",
    "schema": {"type": "integer", "minimum": 0},
}
_DESCRIPTION = """
Programs send a JupyterHub token with the scope `access:services!service=binder` in
`Authorization`; building needs `custom:binder:build`, administration `custom:binder:admin`.
Browsers have the service's cookie and send the XSRF token as `X-XSRFToken`.
Times are ISO 8601 in UTC, durations seconds.
"""


def operations() -> Iterator[tuple[str, str, Operation]]:
    """Yield each method, path template and operation of the routes."""
    for pattern, handler in ROUTES:
        for method in METHODS:
            declared = getattr(getattr(handler, method), "operation", None)
            if declared is not None:
                names = [name for name in _parameters_of(declared) if name in _PATH_HELP]
                template = pattern.replace(r"\.", ".").replace(ID, "{{{}}}").format(*names)
                yield method, f"/{template}", declared


def _parameters_of(operation: Operation) -> list[str]:
    return list(inspect.signature(operation.method).parameters)


def describe() -> dict[str, Any]:
    """Return the document; the service adds its version and address."""
    paths: dict[str, dict[str, Any]] = {}
    shapes: dict[Any, bool] = {ErrorJSON: False, BuildEvent: False}
    for method, path, operation in operations():
        paths.setdefault(path, {})[method] = _describe_operation(operation, path)
        shapes |= {operation.answer: False, operation.body: True}
    shapes.pop(None, None)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "jupyterhub-binder",
            "version": "0",
            "summary": "Build, keep and launch environments on a JupyterHub",
            "description": " ".join(_DESCRIPTION.split()),
            "license": {"name": "BSD-3-Clause", "identifier": "BSD-3-Clause"},
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}, {"cookie": [], "xsrf": []}],
        "paths": paths,
        "components": {
            "schemas": _schemas(shapes),
            "responses": {f"Error{status}": _error_answer(status) for status in _ERRORS},
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token of the hub; `Authorization: token …` works too.",
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


# --- Operations -------------------------------------------------------------------------------------


def _describe_operation(operation: Operation, path: str) -> dict[str, Any]:
    summary, _, details = (inspect.getdoc(operation.method) or "").partition("\n")
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": summary.rstrip("."),
        "tags": [_tag(path)],
        "responses": _answers(operation, path),
    }
    if details:
        described["description"] = " ".join(details.split())
    if parameters := _parameters(operation):
        described["parameters"] = parameters
    if operation.body is not None:
        described["requestBody"] = {
            "required": operation.needs_body,
            "content": {JSON: _content(name_of(operation.body))},
        }
    if operation.public:
        described["security"] = []
    return described


def _tag(path: str) -> str:
    parts = path.removeprefix("/api/v1/").split("/")
    kind = {"launches": "launches", "builds": "builds"}.get(parts[-1], parts[0])
    kind = "environments" if kind == "featured" else kind
    return kind if kind in ("admin", "environments", "builds", "launches", "usage") else "service"


def _parameters(operation: Operation) -> list[dict[str, Any]]:
    found = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": _PATH_HELP[name],
            "schema": {"type": "string", "pattern": "^[0-9a-z]{1,40}$"},
        }
        for name in _parameters_of(operation)
        if name in _PATH_HELP
    ]
    if operation.query is not None:
        schemas = _schema_of(operation.query, sent=False)
        for name, schema in schemas.pop(name_of(operation.query))["properties"].items():
            schema = _without_null(_inlined(schema, schemas))
            described = {"description": schema.pop("description")}
            found.append({"name": name, "in": "query", **described, "schema": schema})
            if name == "after":
                found.append(_LAST_EVENT_ID)
    return [*found, _XSRF] if operation.media == SSE else found


def _answers(operation: Operation, path: str) -> dict[str, Any]:
    summary = (inspect.getdoc(operation.method) or "").partition("\n")[0]
    good: dict[str, Any] = {"description": summary, "content": {operation.media: {}}}
    if operation.answer is not None:
        good["content"] = {JSON: _content(name_of(operation.answer))}
    elif operation.media == JSON:
        good["content"] = {JSON: {"schema": {"$ref": "#/components/schemas/Description"}}}
    elif operation.media != SSE:
        good["content"] = {operation.media: {"schema": {"type": "string"}}}
    if operation.status == 201:
        address = {"description": "Its address", "schema": {"type": "string"}}
        good["headers"] = {"Location": address}
    answers = {str(operation.status): good}
    for status in sorted(_statuses(operation, path)):
        answers[str(status)] = {"$ref": f"#/components/responses/Error{status}"}
    if operation.name == "health":
        answers["503"] = {"description": "What is wrong", "content": {JSON: _content("Health")}}
    return answers


def _statuses(operation: Operation, path: str) -> set[int]:
    """Return the error statuses: declared ones, and those that follow from the signature."""
    found = set(operation.errors)
    if not operation.public:
        found |= {401, 403, 503}
    if "{" in path:
        found |= {404}
    if operation.query is not None:
        found |= {400}
    if operation.body is not None:
        found |= {400, 413, 415}
    return found


def _content(name: str) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": {"$ref": f"#/components/schemas/{name}"}}
    if name in EXAMPLES:
        content["example"] = EXAMPLES[name]
    return content


def _error_answer(status: int) -> dict[str, Any]:
    code, message = _ERRORS[status]
    example = {"error": {"code": code, "message": message, "detail": {}}}
    schema = {"$ref": "#/components/schemas/Error"}
    return {"description": message, "content": {JSON: {"schema": schema, "example": example}}}


# --- Schemas ----------------------------------------------------------------------------------------


def name_of(kind: Any) -> str:
    """Return the name of a shape's schema."""
    origin = get_origin(kind)
    if origin in (PageJSON, ListJSON):
        (item,) = get_args(kind)
        return f"{name_of(item)}{'Page' if origin is PageJSON else 'List'}"
    return kind.__name__.removesuffix("JSON")


def _schemas(shapes: dict[Any, bool]) -> dict[str, Schema]:
    found: dict[str, Schema] = {"Description": {"type": "object"}}
    refuse_shared_names(shapes)
    for kind, sent in shapes.items():
        found |= _schema_of(kind, sent=sent)
    return dict(sorted(found.items()))


def refuse_shared_names(kinds: Iterable[Any]) -> None:
    """Raise ValueError if two classes would get the same schema's name."""
    named: dict[str, type[Any]] = {}
    for kind in kinds:
        for each in _classes_in(kind):
            other = named.setdefault(name_of(each), each)
            if other is not each:
                raise ValueError(
                    f"{other.__module__}.{other.__name__} and {each.__module__}.{each.__name__} "
                    f"would share the schema {name_of(each)}. Rename one of them."
                )


def _schema_of(kind: Any, *, sent: bool) -> dict[str, Schema]:
    """Return the schemas of a shape and its parts, by name."""
    mode = "validation" if sent else "serialization"
    made = TypeAdapter(kind).json_schema(mode=mode, ref_template="#/components/schemas/{model}")
    schemas = made.pop("$defs", {})
    inner = {each.__name__: each for each in _classes_in(kind)}
    schemas = {name: _finish(schema, inner.get(name), sent) for name, schema in schemas.items()}
    schemas[name_of(kind)] = _finish(made, get_origin(kind) or kind, sent)
    return {name.removesuffix("JSON"): schema for name, schema in schemas.items()}


def _finish(schema: Schema, kind: Any, sent: bool) -> Schema:
    """List required fields, add descriptions, forbid other fields, drop titles."""
    schema = _clean(schema)
    if "properties" not in schema:
        return schema
    descriptions = dict(_field_docstrings(kind))
    for name, member in schema["properties"].items():
        if name in descriptions:
            member["description"] = descriptions[name]
    schema["additionalProperties"] = False
    if sent:
        optional = [name for name in schema["properties"] if name not in schema["required"]]
        for name in optional:
            schema["properties"][name] = _or_null(schema["properties"][name])
    elif not kind.__name__.endswith("Query"):
        omitted = {each.name for each in dataclasses.fields(kind) if each.metadata}
        schema["required"] = [name for name in schema["properties"] if name not in omitted]
        for member in schema["properties"].values():
            member.pop("default", None)
    return schema


def _clean(value: Any) -> Any:
    """Drop titles; shorten references to shapes' names."""
    if isinstance(value, list):
        return [_clean(each) for each in value]
    if not isinstance(value, dict):
        return value
    cleaned = {
        key: {name: _clean(each) for name, each in part.items()}
        if key == "properties"
        else _clean(part)
        for key, part in value.items()
        if key != "title"
    }
    if "properties" in cleaned:
        cleaned.setdefault("required", [])
    if isinstance(reference := cleaned.get("$ref"), str):
        cleaned["$ref"] = reference.removesuffix("JSON")
    if cleaned.get("format") == "date-time":
        cleaned["description"] = "UTC"
    return cleaned


def _or_null(schema: Schema) -> Schema:
    if any(each == {"type": "null"} for each in schema.get("anyOf", ())):
        return schema
    description = {"description": schema.pop("description")} if "description" in schema else {}
    return {"anyOf": [schema, {"type": "null"}], **description}


def _without_null(schema: Schema) -> Schema:
    """Return the schema of a query argument, which can't be null."""
    rest = {key: value for key, value in schema.items() if key not in ("anyOf", "default")}
    if "anyOf" not in schema:
        return {**rest, **({"default": schema["default"]} if schema.get("default") else {})}
    (only,) = (each for each in schema["anyOf"] if each != {"type": "null"})
    return {**only, **rest}


def _inlined(schema: Schema, schemas: dict[str, Schema]) -> Schema:
    """Replace references by their schemas."""
    if "$ref" in schema:
        rest = {key: value for key, value in schema.items() if key != "$ref"}
        return {**schemas[schema["$ref"].rpartition("/")[2]], **rest}
    if "anyOf" in schema:
        return {**schema, "anyOf": [_inlined(each, schemas) for each in schema["anyOf"]]}
    return schema


def _classes_in(kind: Any) -> set[type[Any]]:
    """Return a shape's dataclasses and enums."""
    found: set[type[Any]] = set()
    waiting = [kind]
    while waiting:
        each = waiting.pop()
        waiting += get_args(each)
        shape = get_origin(each) or each
        if not isinstance(shape, type) or shape in found:
            continue
        if dataclasses.is_dataclass(shape):
            waiting += get_type_hints(shape).values()
        elif not issubclass(shape, Enum):
            continue
        found.add(shape)
    return found


def _field_docstrings(kind: type[Any]) -> Iterable[tuple[str, str]]:
    """Yield each field's name and docstring, base classes first."""
    for each in reversed(kind.__mro__):
        if not dataclasses.is_dataclass(each):
            continue
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(each))).body
        body = definition.body if isinstance(definition, ast.ClassDef) else []
        for member, after in pairwise(body):
            if (
                isinstance(member, ast.AnnAssign)
                and isinstance(member.target, ast.Name)
                and isinstance(after, ast.Expr)
                and isinstance(after.value, ast.Constant)
            ):
                yield member.target.id, inspect.cleandoc(str(after.value.value))
