"""Converts what is known of upstream to the API's shapes. Pure."""

from __future__ import annotations

from typing import Any

from jupyterhub_binder.environments.upstream_words import describe, describe_hold
from jupyterhub_binder.model import Environment
from jupyterhub_binder.model.upstream import Comparison, Newer, Upstream
from jupyterhub_binder.web.api.shapes import ReasonJSON
from jupyterhub_binder.web.api.shapes.environments import (
    ChangedFileJSON,
    NewCommitJSON,
    NewerDetailJSON,
    NewerJSON,
    UpdatesHoldJSON,
    UpstreamJSON,
)


def render_newer(newer: Newer | None) -> NewerJSON | None:
    """Render what is newer, without lists."""
    return NewerJSON(**_fields(newer)) if newer else None


def render_upstream(
    upstream: Upstream | None, newer: Newer | None, reason: ReasonJSON | None
) -> UpstreamJSON:
    """Render all that is known."""
    return UpstreamJSON(
        follows=upstream is not None,
        checked=upstream.checked if upstream else None,
        due=upstream.due if upstream else None,
        reason=reason,
        newer=_detail(newer) if newer else None,
    )


def render_hold(environment: Environment) -> UpdatesHoldJSON | None:
    """Render a pause of updates."""
    held = environment.held
    return UpdatesHoldJSON(code=held, message=describe_hold(environment)) if held else None


def _detail(newer: Newer) -> NewerDetailJSON:
    found = newer.change.comparison if newer.change else Comparison()
    return NewerDetailJSON(
        **_fields(newer),
        commits=tuple(
            NewCommitJSON(sha=c.sha, author=c.author, subject=c.subject, time=c.time)
            for c in found.commits
        ),
        files=found.files,
        diff=found.diff,
    )


def _fields(newer: Newer) -> dict[str, Any]:
    change = newer.change
    found = change.comparison if change else Comparison()
    return {
        "resolved_ref": newer.upstream.resolved_ref,
        "summary": describe(newer),
        "checked": newer.upstream.checked,
        "count": found.count,
        "more": found.more,
        "rewritten": found.rewritten,
        "needs_build": change.needs_build if change else None,
        "expected_seconds": newer.expected_seconds,
        "file_count": found.file_count,
        "recipe": tuple(
            ChangedFileJSON(path=f.path, added=f.added, removed=f.removed) for f in found.recipe
        ),
    }
