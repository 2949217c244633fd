"""Routes for admins: failed builds by kind."""

from __future__ import annotations

from jupyterhub_binder.model.admin import FailureKind
from jupyterhub_binder.web.api.admin.base import AdminAPIHandler
from jupyterhub_binder.web.api.operation import operation
from jupyterhub_binder.web.api.render import render_page, render_reason
from jupyterhub_binder.web.api.shapes import PageJSON
from jupyterhub_binder.web.api.shapes.admin import FailureKindJSON, FailuresQuery


class FailuresHandler(AdminAPIHandler):
    """Kinds of failures."""

    @operation("list_failures")
    async def get(self, *, query: FailuresQuery) -> PageJSON[FailureKindJSON]:
        """For admins: list failed builds by kind, the most frequent first.

        Kinds are fingerprints of failures that no rule explains, or with `known` the rules.
        """
        page = await self.services.store.list_failure_kinds(
            known=query.known == "1", offset=query.offset, limit=query.limit
        )
        return render_page(page, render_kind)


def render_kind(kind: FailureKind) -> FailureKindJSON:
    """Render one kind of failures."""
    build = kind.newest
    return FailureKindJSON(
        kind=kind.key,
        known=kind.known,
        times=kind.times,
        first=kind.first,
        last=build.finished,
        build_id=build.id,
        label=build.label,
        backend=build.backend,
        reason=render_reason(build.reason),
    )
