"""From the model to the JSON of the API; pure.

Every shape here has a schema of the same name in `schemas`; the tests hold one to the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from jupyterhub_binder.clock import isoformat
from jupyterhub_binder.model import (
    Build,
    BuildRequest,
    Environment,
    Launch,
    LaunchSpec,
    Page,
    Reason,
    Spec,
    User,
)

if TYPE_CHECKING:
    from jupyterhub_binder.backends.base import HostStatus
    from jupyterhub_binder.builds import Standing
    from jupyterhub_binder.environments import Limit
    from jupyterhub_binder.previews import Preview

JSON = dict[str, Any]
T = TypeVar("T")


def iso_time(time: datetime | None) -> str | None:
    """Write a time as on the wire; None for none."""
    return None if time is None else isoformat(time)


@dataclass(frozen=True, slots=True)
class Renderer:
    """Renders for one request: knows the prefix of links and how specs are written."""

    base_url: str
    format_spec: Callable[[Spec], str]
    standings: Mapping[str, Standing] = field(default_factory=dict)
    """By build id; a finished build needs none."""

    # --- Environments -----------------------------------------------------------------------

    def environments(self, page: Page[Environment]) -> JSON:
        """Render a page of a list of environments."""
        return render_page(page, self.environment)

    def environment(self, environment: Environment) -> JSON:
        """Render an environment with its current and its newest build."""
        e = environment
        return {
            "id": e.id,
            "name": e.name,
            "owner": e.owner,
            **self._spec(e.spec),
            "label": e.label,
            "repo_url": e.repo_url,
            "path": e.path,
            "content": e.content,
            "content_url": e.content_url,
            "content_ref": e.content_ref,
            "directory": e.directory,
            "options": e.options,
            "state": e.state,
            "created": iso_time(e.created),
            "updated": iso_time(e.updated),
            "launched": iso_time(e.launched),
            "deleted": iso_time(e.deleted),
            "current": self.request(e.current) if e.current else None,
            "latest": self.request(e.latest) if e.latest else None,
            "links": self._environment_links(e.id),
        }

    def _environment_links(self, environment_id: str) -> JSON:
        this = f"{self.base_url}api/v1/environments/{environment_id}"
        return {
            "self": this,
            "page": f"{self.base_url}environments/{environment_id}",
            "builds": f"{this}/builds",
            "launches": f"{this}/launches",
        }

    def _spec(self, spec: Spec) -> JSON:
        return {
            "provider": spec.provider,
            "repo": spec.repo,
            "ref": spec.ref,
            "spec": self.format_spec(spec),
        }

    # --- Builds -----------------------------------------------------------------------------

    def requests(self, page: Page[BuildRequest]) -> JSON:
        """Render a page of an environment's builds."""
        return render_page(page, self.request)

    def request(self, request: BuildRequest) -> JSON:
        """Render a build as one environment's build of a number."""
        return self._summary(request.build, request)

    def _summary(self, build: Build, request: BuildRequest | None) -> JSON:
        standing = self.standings.get(build.id)
        return {
            "id": build.id,
            "number": request.number if request else None,
            "state": build.state,
            "phase": build.phase,
            "resolved_ref": build.resolved_ref,
            "ref": build.spec.ref,
            "created": iso_time(request.requested if request else build.created),
            "started": iso_time(build.started),
            "finished": iso_time(build.finished),
            "size_bytes": build.size_bytes,
            "withdrawn": iso_time(request.withdrawn) if request else None,
            "reason": render_reason(build.reason),
            "queue_position": standing.queue_position if standing else None,
            "expected_seconds": standing.expected_seconds if standing else None,
            "elapsed_seconds": standing.elapsed_seconds if standing else build.duration_seconds,
        }

    def build(
        self,
        build: Build,
        *,
        user: User,
        environment: Environment | None = None,
        request: BuildRequest | None = None,
    ) -> JSON:
        """Render a build for one person: with their environment, if it has one of theirs."""
        standing = self.standings.get(build.id)
        rendered = {
            **self._summary(build, request),
            **self._spec(build.spec),
            "label": build.label,
            "repo_url": build.repo_url,
            "options": build.options,
            "backend": build.backend,
            "lines": build.lines,
            "people": standing.people if standing else None,
            "environment": _environment_name(environment),
            "links": self._build_links(build.id),
        }
        if request is not None:
            rendered["requested_by"] = request.requested_by
        elif user.admin:
            rendered["requested_by"] = build.created_by
        return rendered

    def _build_links(self, build_id: str) -> JSON:
        this = f"{self.base_url}api/v1/builds/{build_id}"
        return {
            "self": this,
            "events": f"{this}/events",
            "log": f"{this}/log",
            "cancel": f"{this}/cancel",
            "page": f"{self.base_url}builds/{build_id}",
        }

    # --- Launches ---------------------------------------------------------------------------

    def launch(self, launch: Launch, environment_name: str) -> JSON:
        """Render a launch."""
        this = f"{self.base_url}api/v1/launches/{launch.id}"
        return {
            "id": launch.id,
            "environment": {"id": launch.environment_id, "name": environment_name},
            "server_name": launch.server_name,
            "path": launch.path,
            "state": launch.state,
            "build_id": launch.build_id,
            "progress": launch.progress,
            "message": launch.message,
            "url": launch.url,
            "created": iso_time(launch.created),
            "finished": iso_time(launch.finished),
            "reason": render_reason(launch.reason),
            "links": {
                "self": this,
                "events": f"{this}/events",
                "cancel": f"{this}/cancel",
                "page": f"{self.base_url}launch/{launch.id}",
            },
        }

    # --- Before anything is kept ------------------------------------------------------------

    def preview(self, preview: Preview) -> JSON:
        """Render what a pasted link would become."""
        resolved = preview.resolved
        return {
            **self._spec(resolved.spec),
            "label": resolved.label,
            "repo_url": resolved.repo_url,
            "path": preview.link.path,
            "content_url": preview.content_url,
            "content_ref": preview.content_ref,
            "resolved_ref": resolved.resolved_ref,
            "ref_kind": resolved.ref_kind,
            "commit": _commit(preview),
            "name": preview.suggested_name,
            "directory": preview.directory,
            "recipe": _recipe(preview),
            "findings": [_finding(f) for f in preview.findings],
            "built": preview.built,
            "expected_seconds": preview.expected_seconds,
            "earlier_builds": preview.earlier_builds,
            "kept": _environment_name(preview.kept),
        }


def render_page(page: Page[T], render: Callable[[T], JSON]) -> JSON:
    """Render a part of a longer list."""
    return {
        "items": [render(item) for item in page.items],
        "total": page.total,
        "offset": page.offset,
        "limit": page.limit,
    }


def render_reason(reason: Reason | None) -> JSON | None:
    """Render why something did not succeed."""
    if reason is None:
        return None
    return {"code": reason.code, "message": reason.message, "seq": reason.seq}


def render_host(host: HostStatus) -> JSON:
    """Render how one of the backend's BinderHubs stands."""
    return {
        "name": host.name,
        "url": host.url,
        "weight": host.weight,
        "state": host.state,
        "reason": host.reason or None,
        "checked": iso_time(host.checked),
        "version": host.version or None,
        "providers": None if host.prefixes is None else sorted(host.prefixes),
        "running": host.running,
        "built": host.built,
        "build_failures": host.build_failures,
        "host_failures": host.host_failures,
    }


def render_limits(limits: Mapping[str, Limit]) -> JSON:
    """Render a person's limits and what they use of them."""
    return {name: {"limit": each.limit, "used": each.used} for name, each in limits.items()}


def render_launch_spec(spec: LaunchSpec, *, client_ip: str) -> JSON:
    """Render what the hub needs to start a server."""
    return {
        "environment_id": spec.environment_id,
        "environment_name": spec.environment_name,
        "state": spec.state,
        "build_id": spec.build_id,
        "image": spec.image,
        "content": spec.content,
        "directory": spec.directory,
        "path": spec.path,
        "repo_url": spec.repo_url,
        "ref": spec.ref,
        "resolved_ref": spec.resolved_ref,
        "ref_url": spec.ref_url,
        "request": spec.request,
        "persistent_request": spec.persistent_request,
        "content_url": spec.content_url,
        "content_ref": spec.content_ref,
        "content_elsewhere": spec.content_elsewhere,
        "client_ip": client_ip,
    }


def _environment_name(environment: Environment | None) -> JSON | None:
    return {"id": environment.id, "name": environment.name} if environment else None


def _commit(preview: Preview) -> JSON | None:
    commit = preview.commit
    if commit is None:
        return None
    return {"sha": commit.sha, "subject": commit.subject, "time": iso_time(commit.time)}


def _recipe(preview: Preview) -> JSON:
    recipe = preview.recipe
    actions = {action.path: action for action in preview.assessment.actions}
    files = []
    for file in recipe.files:
        action = actions.get(file.path)
        files.append(
            {
                "path": file.path,
                "kind": file.kind,
                "used": file.used,
                "supported": action.supported if action else True,
                "action": action.action if action else "",
            }
        )
    return {
        "directory": recipe.directory,
        "buildpack": recipe.buildpack,
        "python": recipe.python,
        "packages": len(recipe.packages),
        "unpinned": list(recipe.unpinned),
        "files": files,
    }


def _finding(finding: Any) -> JSON:
    return {
        "severity": finding.severity,
        "code": finding.code,
        "message": finding.message,
        "path": finding.path,
    }
