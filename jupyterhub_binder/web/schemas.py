"""The shapes of the API's JSON, as JSON Schema (2020-12); the tests hold every answer to them.

Data only: nothing is checked with these while the service runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from jupyterhub_binder.backends.base import HostState
from jupyterhub_binder.inputs import (
    MOST_ADDRESS_CHARACTERS,
    MOST_NAME_CHARACTERS,
    MOST_PATH_CHARACTERS,
    MOST_REF_CHARACTERS,
    MOST_SERVER_CHARACTERS,
)
from jupyterhub_binder.model import (
    BuildState,
    ContentMode,
    EnvironmentState,
    LaunchState,
    Phase,
    RefKind,
    Severity,
)

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
BOOLEAN: Schema = {"type": "boolean"}
COUNT: Schema = {"type": "integer", "minimum": 0}
NUMBER: Schema = {"type": "integer", "minimum": 1}
ANY_OBJECT: Schema = {"type": "object"}


def said(schema: Schema, description: str) -> Schema:
    """Return a schema with a description."""
    return {**schema, "description": description}


def ref(name: str) -> Schema:
    """Return a reference to a named schema."""
    return {"$ref": f"#/components/schemas/{name}"}


def or_null(schema: Schema) -> Schema:
    """Return a schema that takes null as well."""
    kind = schema.get("type")
    if isinstance(kind, str) and "enum" not in schema:
        return {**schema, "type": [kind, "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


def words(kind: type[StrEnum]) -> Schema:
    """Return the schema of an enum's strings."""
    return {"type": "string", "enum": list(kind)}


def many(schema: Schema) -> Schema:
    """Return the schema of a list."""
    return {"type": "array", "items": schema}


def closed(properties: Mapping[str, Schema], *, optional: tuple[str, ...] = ()) -> Schema:
    """Return the schema of an object with these members and no others."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }


def body(properties: Mapping[str, Schema], *, required: tuple[str, ...] = ()) -> Schema:
    """Return the schema of what a client sends: what is not required may be null as well."""
    return {
        "type": "object",
        "properties": {
            name: schema if name in required else or_null(schema)
            for name, schema in properties.items()
        },
        "required": list(required),
        "additionalProperties": False,
    }


def page(name: str) -> Schema:
    """Return the schema of a part of a list."""
    return closed({"items": many(ref(name)), "total": COUNT, "offset": COUNT, "limit": NUMBER})


def line(most: int) -> Schema:
    """Return the schema of one line of text that a client sends."""
    return {"type": "string", "maxLength": most}


TIME: Schema = {"type": "string", "format": "date-time", "description": "UTC"}
SECONDS: Schema = {"type": "number", "minimum": 0, "description": "seconds"}
ADDRESS: Schema = {"type": "string", "format": "uri-reference"}

_SPEC: dict[str, Schema] = {
    "provider": said(
        TEXT,
        "The provider's prefix: gh, gl, gist, git, zenodo, figshare, hydroshare, dataverse, ckan",
    ),
    "repo": said(TEXT, "The provider's name of the repository"),
    "ref": said(TEXT, "As it was typed; it may move"),
    "spec": said(TEXT, "BinderHub's text of repository and ref"),
}
_PLACE: dict[str, Schema] = {
    "label": said(TEXT, "What a person recognises: github.com/org/name"),
    "repo_url": said(TEXT, "Where a person reads the repository"),
}
_NAMED = closed({"id": TEXT, "name": TEXT})
_OPENS = "What opens: relative to the repository's root, or below the server's address: /rstudio"
_CONTENT_SOURCE: dict[str, Schema] = {
    "content_url": said(
        TEXT, "Where git fetches the files; empty where they are the environment's own"
    ),
    "content_ref": said(TEXT, "The branch, tag or commit of content_url"),
}

_SUMMARY: dict[str, Schema] = {
    "id": TEXT,
    "number": said(or_null(NUMBER), "Counts the builds of the environment, from 1"),
    "state": words(BuildState),
    "phase": words(Phase),
    "resolved_ref": said(TEXT, "The commit, or the version of a record; it never changes"),
    "ref": TEXT,
    "created": TIME,
    "started": or_null(TIME),
    "finished": or_null(TIME),
    "size_bytes": or_null(COUNT),
    "withdrawn": said(or_null(TIME), "When the person cancelled"),
    "reason": or_null(ref("Reason")),
    "queue_position": said(or_null(NUMBER), "1 is the next to begin; null once it runs"),
    "expected_seconds": or_null(SECONDS),
    "elapsed_seconds": or_null(SECONDS),
}

_LINK: dict[str, Schema] = {
    "url": said(
        line(MOST_ADDRESS_CHARACTERS), "Anything that a person pastes; or else provider and spec"
    ),
    "provider": line(20),
    "spec": said(line(MOST_ADDRESS_CHARACTERS), "BinderHub's text after the prefix: org/name/ref"),
    "ref": said(line(MOST_REF_CHARACTERS), "Instead of the ref in url or spec"),
    "path": said(line(MOST_PATH_CHARACTERS), _OPENS),
}
_CHOICES: dict[str, Schema] = {
    "name": {**line(MOST_NAME_CHARACTERS), "minLength": 1},
    "content": said(words(ContentMode), "Left out: sync for another repository's files, else copy"),
    "content_url": said(
        line(MOST_ADDRESS_CHARACTERS),
        "The git repository of the files, as pasted; empty: the environment's own",
    ),
    "content_ref": said(
        line(MOST_REF_CHARACTERS), "Its branch, tag or commit; empty: its default branch"
    ),
}

SCHEMAS: dict[str, Schema] = {
    "Error": closed(
        {
            "error": closed(
                {
                    "code": said(TEXT, "Stable, for programs"),
                    "message": said(TEXT, "What happened, and what to do about it"),
                    "detail": ANY_OBJECT,
                }
            )
        }
    ),
    "Reason": closed(
        {
            "code": TEXT,
            "message": TEXT,
            "seq": said(or_null(NUMBER), "The line of the log that decided it"),
        }
    ),
    "Limit": closed({"limit": said(or_null(COUNT), "null for no limit"), "used": COUNT}),
    "Info": closed(
        {
            "version": TEXT,
            "user": closed({"name": TEXT, "admin": BOOLEAN, "groups": many(TEXT)}),
            "permissions": closed({"build": BOOLEAN, "admin": BOOLEAN}),
            "limits": closed({"environments": ref("Limit"), "builds": ref("Limit")}),
            "backend": closed(
                {
                    "name": TEXT,
                    "description": TEXT,
                    "health": said(or_null(TEXT), "null if builds would work now"),
                }
            ),
            "providers": many(ref("Provider")),
            "hub": closed({"url": ADDRESS, "named_servers": BOOLEAN}),
            "drain": said(or_null(TEXT), "Why builds are paused; null if they are not"),
        }
    ),
    "Provider": closed({"prefix": TEXT, "name": TEXT, "placeholder": TEXT, "default_ref": TEXT}),
    "LinkBody": body(_LINK),
    "Preview": closed(
        {
            **_SPEC,
            **_PLACE,
            "path": said(TEXT, _OPENS),
            **_CONTENT_SOURCE,
            "resolved_ref": TEXT,
            "ref_kind": words(RefKind),
            "commit": or_null(closed({"sha": TEXT, "subject": TEXT, "time": TIME})),
            "name": said(TEXT, "A name for the environment"),
            "directory": said(TEXT, "The folder of the home that would take the files"),
            "recipe": ref("Recipe"),
            "findings": many(ref("Finding")),
            "built": said(BOOLEAN, "Whether somebody has built this already"),
            "expected_seconds": or_null(SECONDS),
            "earlier_builds": COUNT,
            "kept": said(or_null(_NAMED), "Your environment of this, if you keep one already"),
        }
    ),
    "Recipe": closed(
        {
            "directory": said(TEXT, "Where the configuration files are: '', binder or .binder"),
            "buildpack": TEXT,
            "python": TEXT,
            "packages": COUNT,
            "unpinned": many(TEXT),
            "files": many(
                closed(
                    {
                        "path": TEXT,
                        "kind": TEXT,
                        "used": said(BOOLEAN, "false where another file takes precedence"),
                        "supported": BOOLEAN,
                        "action": said(TEXT, "What the backend will do with it"),
                    }
                )
            ),
        }
    ),
    "Finding": closed({"severity": words(Severity), "code": TEXT, "message": TEXT, "path": TEXT}),
    "Environment": closed(
        {
            "id": TEXT,
            "name": TEXT,
            "owner": TEXT,
            **_SPEC,
            **_PLACE,
            "path": said(TEXT, _OPENS),
            "content": words(ContentMode),
            **_CONTENT_SOURCE,
            "directory": said(TEXT, "The folder of the home that takes the repository's files"),
            "options": ANY_OBJECT,
            "state": words(EnvironmentState),
            "created": TIME,
            "updated": TIME,
            "launched": or_null(TIME),
            "deleted": or_null(TIME),
            "current": said(or_null(ref("BuildSummary")), "The build a server starts from"),
            "latest": said(or_null(ref("BuildSummary")), "The newest, whatever became of it"),
            "links": closed(
                {"self": ADDRESS, "page": ADDRESS, "builds": ADDRESS, "launches": ADDRESS}
            ),
        }
    ),
    "Environments": page("Environment"),
    "CreateBody": body(
        {
            **_LINK,
            **_CHOICES,
            "options": said(ANY_OBJECT, "The backend's, see its documentation"),
            "build": said(BOOLEAN, "Build at once; true if left out"),
        }
    ),
    "UpdateBody": body({**_CHOICES, "path": line(MOST_PATH_CHARACTERS)}),
    "BuildAgainBody": body(
        {
            "ref": said(
                line(MOST_REF_CHARACTERS),
                "Move to this ref; left out: the same ref, asked for anew",
            ),
            "force": said(BOOLEAN, "Build even if this very commit is built already"),
        }
    ),
    "CurrentBody": body({"number": NUMBER}, required=("number",)),
    "BuildSummary": closed(_SUMMARY),
    "BuildSummaries": page("BuildSummary"),
    "Build": closed(
        {
            **_SUMMARY,
            **_SPEC,
            **_PLACE,
            "options": ANY_OBJECT,
            "backend": TEXT,
            "lines": COUNT,
            "people": said(or_null(COUNT), "How many people want it"),
            "environment": said(or_null(_NAMED), "The environment of yours that it is for"),
            "requested_by": said(TEXT, "For the owner and for admins"),
            "links": closed(
                {
                    "self": ADDRESS,
                    "events": ADDRESS,
                    "log": ADDRESS,
                    "cancel": ADDRESS,
                    "page": ADDRESS,
                }
            ),
        },
        optional=("requested_by",),
    ),
    "BuildEvent": closed({"seq": NUMBER, "time": TIME, "phase": words(Phase), "message": TEXT}),
    "LaunchSpec": closed(
        {
            "environment_id": TEXT,
            "environment_name": TEXT,
            "state": words(EnvironmentState),
            "build_id": or_null(TEXT),
            "image": or_null(TEXT),
            "content": words(ContentMode),
            "directory": TEXT,
            "path": TEXT,
            "repo_url": TEXT,
            "ref": TEXT,
            "resolved_ref": TEXT,
            "ref_url": said(TEXT, "Where a person reads the repository as it was built"),
            "request": said(TEXT, "BinderHub's link to it, below the service's address"),
            "persistent_request": said(TEXT, "The same, at the resolved ref"),
            "content_url": said(TEXT, "Where git fetches the files; empty: nowhere"),
            "content_ref": said(TEXT, "The branch, tag or commit that the files follow"),
            "content_elsewhere": said(BOOLEAN, "Whether the image has other files than these"),
            "client_ip": said(
                TEXT, "Who asked the service for the launch under way; empty if nobody did"
            ),
        }
    ),
    "LaunchBody": body(
        {
            "server_name": said(
                line(MOST_SERVER_CHARACTERS), "Left out or empty: the default server"
            ),
            "path": said(
                line(MOST_PATH_CHARACTERS), "What opens; left out: what the environment says"
            ),
            "restart": said(BOOLEAN, "Stop what a server of this name runs now"),
        }
    ),
    "Launch": closed(
        {
            "id": TEXT,
            "environment": _NAMED,
            "server_name": TEXT,
            "path": TEXT,
            "state": words(LaunchState),
            "build_id": or_null(TEXT),
            "progress": {"type": "integer", "minimum": 0, "maximum": 100},
            "message": TEXT,
            "url": said(or_null(TEXT), "Where the server answers; set once it is ready"),
            "created": TIME,
            "finished": or_null(TIME),
            "reason": or_null(ref("Reason")),
            "links": closed(
                {"self": ADDRESS, "events": ADDRESS, "cancel": ADDRESS, "page": ADDRESS}
            ),
        }
    ),
    "Servers": closed({"items": many(ref("Server"))}),
    "Server": closed(
        {
            "name": said(TEXT, "Empty for the default server"),
            "display_name": TEXT,
            "ready": BOOLEAN,
            "url": or_null(TEXT),
            "environment": or_null(_NAMED),
            "started": or_null(TIME),
        }
    ),
    "Backends": closed({"items": many(ref("Backend"))}),
    "Backend": closed(
        {
            "name": TEXT,
            "description": TEXT,
            "health": said(or_null(TEXT), "What is wrong; null where nothing is"),
            "hosts": said(many(ref("Host")), "The BinderHubs that it sends builds to"),
        }
    ),
    "Host": closed(
        {
            "name": TEXT,
            "url": TEXT,
            "weight": {"type": "number", "minimum": 0},
            "state": words(HostState),
            "reason": said(or_null(TEXT), "What is wrong; null where nothing is"),
            "checked": said(or_null(TIME), "When it was last asked"),
            "version": or_null(TEXT),
            "providers": said(or_null(many(TEXT)), "Prefixes; null where it does not tell"),
            "running": COUNT,
            "built": said(COUNT, "Since the service started, as the next two"),
            "build_failures": said(COUNT, "Builds that failed through their repository"),
            "host_failures": said(COUNT, "Builds that it could not take or finish"),
        }
    ),
    "EmptyBody": body({}),
    "Health": closed(
        {
            "ok": BOOLEAN,
            "draining": said(BOOLEAN, "Whether an administrator has paused builds"),
            "checks": many(closed({"service": TEXT, "ok": BOOLEAN, "message": or_null(TEXT)})),
        }
    ),
    "Versions": closed(
        {
            "jupyterhub_binder": TEXT,
            "jupyterhub": TEXT,
            "builder": TEXT,
            "binderhub": TEXT,
            "builder_info": {"type": "object"},
        }
    ),
}
