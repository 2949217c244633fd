"""Converts the model to the API's shapes. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypedDict, TypeVar

from jupyterhub_binder.backends.base import HostStatus
from jupyterhub_binder.builds.service import BuildProgress
from jupyterhub_binder.environments.previews import Preview
from jupyterhub_binder.launches.service import Server
from jupyterhub_binder.model import (
    Build,
    BuildRequest,
    Environment,
    Launch,
    Page,
    Reason,
    Spec,
    User,
)
from jupyterhub_binder.model.failures import Explanation
from jupyterhub_binder.model.sharing import Right
from jupyterhub_binder.model.upstream import Newer
from jupyterhub_binder.web.api.render.upstream import render_hold, render_newer
from jupyterhub_binder.web.api.shapes import ListJSON, NamedJSON, PageJSON, ReasonJSON, WayOutJSON
from jupyterhub_binder.web.api.shapes.backends import HostJSON
from jupyterhub_binder.web.api.shapes.builds import BuildJSON, BuildLinksJSON, BuildSummaryJSON
from jupyterhub_binder.web.api.shapes.environments import EnvironmentJSON, EnvironmentLinksJSON
from jupyterhub_binder.web.api.shapes.launches import LaunchJSON, LaunchLinksJSON, ServerJSON
from jupyterhub_binder.web.api.shapes.links import (
    CommitJSON,
    FindingJSON,
    PreviewJSON,
    RecipeFileJSON,
    RecipeJSON,
    WayJSON,
)
from jupyterhub_binder.web.api.shapes.service import CheckJSON

T = TypeVar("T")
S = TypeVar("S")


class _SpecFields(TypedDict):
    provider: str
    repo: str
    ref: str
    spec: str
    label: str
    repo_url: str


@dataclass(frozen=True, slots=True)
class Renderer:
    """Renders the answer to one request."""

    base_url: str
    format_spec: Callable[[Spec], str]
    progress_by_id: Mapping[str, BuildProgress] = field(default_factory=dict)
    """By build id; a finished build needs none."""
    newer_by_id: Mapping[str, Newer] = field(default_factory=dict)
    """By environment id."""

    def environment(self, environment: Environment) -> EnvironmentJSON:
        """Render an environment with its current and its newest build."""
        e = environment
        this = f"{self.base_url}api/v1/environments/{e.id}"
        return EnvironmentJSON(
            id=e.id,
            name=e.name,
            owner=e.owner,
            default_branch=e.default_branch,
            right=e.right,
            **self._spec(e.spec, e.label, e.repo_url),
            path=e.path,
            content=e.content,
            content_url=e.content_url,
            content_ref=e.content_ref,
            directory=e.directory,
            options=e.options,
            state=e.state,
            status=e.status,
            created=e.created,
            updated=e.updated,
            launched=e.launched,
            deleted=e.deleted,
            current=self.request(e.current) if e.current else None,
            latest=self.request(e.latest) if e.latest else None,
            newer=render_newer(self.newer_by_id.get(e.id)),
            updates=e.updates,
            hold=render_hold(e),
            links=EnvironmentLinksJSON(
                self=this,
                page=f"{self.base_url}environments/{e.id}",
                builds=f"{this}/builds",
                launches=f"{this}/launches",
                upstream=f"{this}/upstream",
            ),
        )

    def _spec(self, spec: Spec, label: str, repo_url: str) -> _SpecFields:
        return {
            "provider": spec.provider,
            "repo": spec.repo,
            "ref": spec.ref,
            "spec": self.format_spec(spec),
            "label": label,
            "repo_url": repo_url,
        }

    def request(self, request: BuildRequest) -> BuildSummaryJSON:
        """Render one environment's build."""
        return BuildSummaryJSON(**self._summary(request.build, request), ref=request.build.spec.ref)

    def _summary(self, build: Build, request: BuildRequest | None) -> dict[str, Any]:
        progress = self.progress_by_id.get(build.id)
        return {
            "id": build.id,
            "number": request.number if request else None,
            "state": build.state,
            "phase": build.phase,
            "resolved_ref": build.resolved_ref,
            "created": request.requested if request else build.created,
            "started": build.started,
            "finished": build.finished,
            "size_bytes": build.size_bytes,
            "reused": build.reused_key is not None,
            "packages_from": build.packages_from,
            "withdrawn": request.withdrawn if request else None,
            "reason": render_reason(build.reason),
            "queue_position": progress.queue_position if progress else None,
            "step": progress.step if progress else "",
            "expected_seconds": progress.expected_seconds if progress else None,
            "elapsed_seconds": progress.elapsed_seconds if progress else build.duration_seconds,
        }

    def build(
        self,
        build: Build,
        *,
        user: User,
        environment: Environment | None = None,
        request: BuildRequest | None = None,
    ) -> BuildJSON:
        """Render a build as one person sees it."""
        progress = self.progress_by_id.get(build.id)
        this = f"{self.base_url}api/v1/builds/{build.id}"
        requested_by = build.created_by if user.admin else None
        if request and environment:
            manages = environment.right.covers(Right.MANAGE)
            requested_by = request.requested_by if manages else None
        return BuildJSON(
            **self._summary(build, request),
            **self._spec(build.spec, build.label, build.repo_url),
            options=build.options,
            backend=build.backend,
            lines=build.lines,
            people=progress.people if progress else None,
            environment=_named(environment),
            requested_by=requested_by,
            links=BuildLinksJSON(
                self=this,
                events=f"{this}/events",
                log=f"{this}/log",
                cancel=f"{this}/cancel",
                page=f"{self.base_url}builds/{build.id}",
            ),
        )

    def launch(
        self, launch: Launch, environment_name: str, build: Build | None = None
    ) -> LaunchJSON:
        """Render a launch; a failed build explains why it did not start."""
        this = f"{self.base_url}api/v1/launches/{launch.id}"
        return LaunchJSON(
            id=launch.id,
            environment=NamedJSON(id=launch.environment_id, name=environment_name),
            server_name=launch.server_name,
            path=launch.path,
            profile=launch.profile.slug,
            state=launch.state,
            build_id=launch.build_id,
            progress=launch.progress,
            message=launch.message,
            url=launch.url,
            created=launch.created,
            finished=launch.finished,
            reason=render_reason(reason_of_launch(launch, build)),
            links=LaunchLinksJSON(
                self=this,
                events=f"{this}/events",
                cancel=f"{this}/cancel",
                page=f"{self.base_url}launch/{launch.id}",
            ),
        )

    def preview(self, preview: Preview) -> PreviewJSON:
        """Render the preview of a link."""
        resolved, commit = preview.resolved, preview.commit
        return PreviewJSON(
            **self._spec(resolved.spec, resolved.label, resolved.repo_url),
            path=preview.link.path,
            content_url=preview.content_url,
            content_ref=preview.content_ref,
            resolved_ref=resolved.resolved_ref,
            ref_kind=resolved.ref_kind,
            default_branch=resolved.default_branch,
            commit=CommitJSON(sha=commit.sha, subject=commit.subject, time=commit.time)
            if commit
            else None,
            name=preview.suggested_name,
            directory=preview.directory,
            recipe=_recipe(preview),
            findings=tuple(
                FindingJSON(severity=f.severity, code=f.code, message=f.message, path=f.path)
                for f in preview.findings
            ),
            built=preview.built,
            expected_seconds=preview.expected_seconds,
            earlier_builds=preview.earlier_builds,
            backend=preview.choice.backend.name,
            why=preview.choice.why,
            ways=tuple(
                WayJSON(
                    backend=way.backend.name,
                    made=way.backend.made,
                    expected_seconds=way.expected_seconds,
                )
                for way in preview.ways
            ),
            kept=_named(preview.kept),
        )


def render_page(page: Page[T], render: Callable[[T], S]) -> PageJSON[S]:
    """Render a part of a longer list."""
    items = tuple(render(item) for item in page.items)
    return PageJSON(items=items, total=page.total, offset=page.offset, limit=page.limit)


def reason_of_launch(launch: Launch, build: Build | None) -> Reason | None:
    """Return why a launch failed, with the explanation of the build that it waited for."""
    reason = launch.reason
    told = build.reason if build is not None else None
    if reason is None or told is None or reason.code != "build_failed":
        return reason
    return replace(reason, message=told.message, seq=told.seq, explanation=told.explanation)


def render_reason(reason: Reason | None) -> ReasonJSON | None:
    """Render the reason of a failure."""
    if reason is None:
        return None
    told = reason.explanation or Explanation()
    return ReasonJSON(
        code=reason.code,
        message=reason.message,
        seq=reason.seq,
        rule=told.rule or None,
        owner=told.owner,
        line=told.line or None,
        actions=tuple(
            WayOutJSON(
                kind=way.kind, label=way.label, url=way.url or None, python=way.python or None
            )
            for way in told.ways
        ),
        fingerprint=told.fingerprint or None,
    )


def render_host(host: HostStatus) -> HostJSON:
    """Render a BinderHub's state."""
    return HostJSON(
        name=host.name,
        url=host.url,
        weight=host.weight,
        state=host.state,
        reason=host.reason or None,
        checked=host.checked,
        version=host.version or None,
        providers=None if host.prefixes is None else tuple(sorted(host.prefixes)),
        running=host.running,
        built=host.built,
        build_failures=host.build_failures,
        host_failures=host.host_failures,
    )


def render_checks(parts: Mapping[str, str | None]) -> tuple[CheckJSON, ...]:
    """Render the health of the service's parts."""
    return tuple(
        CheckJSON(service=name, ok=wrong is None, message=wrong) for name, wrong in parts.items()
    )


def render_servers(servers: Iterable[Server]) -> ListJSON[ServerJSON]:
    """Render a person's servers."""
    return ListJSON(items=tuple(_server(server) for server in servers))


def _server(server: Server) -> ServerJSON:
    environment = None
    if server.environment_id is not None and server.environment_name is not None:
        environment = NamedJSON(id=server.environment_id, name=server.environment_name)
    return ServerJSON(
        name=server.name,
        display_name=server.display_name,
        ready=server.ready,
        url=server.url,
        environment=environment,
        build_number=server.build_number,
        outdated=server.outdated,
        started=server.started,
    )


def _named(environment: Environment | None) -> NamedJSON | None:
    return NamedJSON(id=environment.id, name=environment.name) if environment else None


def _recipe(preview: Preview) -> RecipeJSON:
    recipe = preview.recipe
    actions = {action.path: action for action in preview.assessment.actions}
    files = []
    for file in recipe.files:
        action = actions.get(file.path)
        files.append(
            RecipeFileJSON(
                path=file.path,
                kind=file.kind,
                used=file.used,
                supported=action.supported if action else True,
                action=action.action if action else "",
            )
        )
    return RecipeJSON(
        directory=recipe.directory,
        buildpack=recipe.buildpack,
        python=recipe.python,
        packages=len(recipe.packages),
        unpinned=tuple(recipe.unpinned),
        files=tuple(files),
    )
