"""Routes of prebuilds: webhooks and schedules. `web.hooks` receives the deliveries."""

from __future__ import annotations

from collections.abc import Iterable

from tornado.httputil import HTTPServerRequest

from jupyterhub_binder.environments.hooks import NewHook
from jupyterhub_binder.environments.schedules import Schedule
from jupyterhub_binder.model.prebuild import CommitReport, Delivery, Hook, HookHost, Prebuild
from jupyterhub_binder.utils.time import utc_now
from jupyterhub_binder.web.api.common import Handler
from jupyterhub_binder.web.api.operation import operation
from jupyterhub_binder.web.api.shapes.hooks import (
    CommitReportJSON,
    DeliveryJSON,
    HookBody,
    HookJSON,
    HookSecretJSON,
    LookJSON,
    PrebuildJSON,
    ScheduleBody,
    ScheduleJSON,
    SecretBody,
    TokenBody,
)
from jupyterhub_binder.web.services import Services

SHOWN_TIMES = 3


class _Handler(Handler):
    """Answers with everything that builds an environment ahead."""

    async def render_ahead(self, environment_id: str) -> PrebuildJSON:
        """Render it."""
        services = self.services
        return render_prebuild(
            services.public_base,
            await services.prebuilds.fetch(self.me, environment_id),
            await services.hooks.list(self.me, environment_id),
            await services.hooks.deliveries(self.me, environment_id),
            await services.hooks.reports(self.me, environment_id),
        )


class PrebuildHandler(_Handler):
    """What builds an environment ahead."""

    @operation("get_prebuild")
    async def get(self, environment_id: str) -> PrebuildJSON:
        """Get an environment's webhooks and schedule, and what came of them."""
        return await self.render_ahead(environment_id)


class ScheduleHandler(_Handler):
    """The schedule of an environment."""

    @operation("put_schedule", needs_body=True)
    async def put(self, environment_id: str, *, body: ScheduleBody) -> PrebuildJSON:
        """Look at the repository by a schedule, and build what is newer; an empty one ends that.

        The builds are made in the owner's name, and count to the owner's limits.
        """
        await self.services.prebuilds.set_schedule(
            self.me, environment_id, body.cron, body.time_zone
        )
        return await self.render_ahead(environment_id)


class HooksHandler(Handler):
    """The webhooks of an environment."""

    @operation("create_hook", errors=(429,), needs_body=True)
    async def post(self, environment_id: str, *, body: HookBody) -> HookSecretJSON:
        """Create a webhook. The answer has its secret, which is told only once.

        Give the host the address and the secret, and let it send pushes as JSON.
        """
        made = await self.services.hooks.create(
            self.me, environment_id, HookHost(body.host), secret=body.secret or ""
        )
        return render_secret(self.services.public_base, made)


class OneHookHandler(_Handler):
    """A webhook."""

    @operation("delete_hook")
    async def delete(self, environment_id: str, hook_id: str) -> PrebuildJSON:
        """Remove a webhook. Its address then answers 404."""
        await self.services.hooks.delete(self.me, environment_id, hook_id)
        return await self.render_ahead(environment_id)


class SecretHandler(Handler):
    """The secret of a webhook."""

    @operation("replace_hook_secret")
    async def post(self, environment_id: str, hook_id: str, *, body: SecretBody) -> HookSecretJSON:
        """Give a webhook another secret. The one before is worth nothing from then on."""
        made = await self.services.hooks.replace_secret(
            self.me, environment_id, hook_id, secret=body.secret or ""
        )
        return render_secret(self.services.public_base, made)


class TokenHandler(_Handler):
    """The token with which a webhook sets commit statuses."""

    @operation("put_hook_token", errors=(409,), needs_body=True)
    async def put(self, environment_id: str, hook_id: str, *, body: TokenBody) -> PrebuildJSON:
        """Give a webhook a token of the repository's host, in place of an earlier one.

        With it, the service sets the status of the commits that it builds ahead. The token is sent to
        that host only.
        """
        address = base_of(self.request, self.services)
        await self.services.hooks.set_token(
            self.me, environment_id, hook_id, body.token, address=address
        )
        return await self.render_ahead(environment_id)

    @operation("delete_hook_token")
    async def delete(self, environment_id: str, hook_id: str) -> PrebuildJSON:
        """Forget the token of a webhook."""
        await self.services.hooks.remove_token(self.me, environment_id, hook_id)
        return await self.render_ahead(environment_id)


def base_of(request: HTTPServerRequest, services: Services) -> str:
    """Return the service's address: the hub's public one, or as whoever asks knows it."""
    origin = services.public_origin or f"{request.protocol}://{request.host}"
    return f"{origin}{services.base_url}"


def address_of(base: str, hook: Hook) -> str:
    """Return the address that the host calls."""
    return f"{base}hooks/{hook.id}"


def render_secret(base: str, made: NewHook) -> HookSecretJSON:
    """Render a webhook with its secret."""
    hook = made.hook
    return HookSecretJSON(
        id=hook.id, url=address_of(base, hook), host=hook.host, secret=made.secret
    )


def newest_by_hook(reports: Iterable[CommitReport]) -> dict[str, CommitReport]:
    """Return the last status of each hook, of statuses newest first."""
    found: dict[str, CommitReport] = {}
    for report in reports:
        found.setdefault(report.hook_id, report)
    return found


def render_prebuild(
    base: str,
    prebuild: Prebuild,
    hooks: Iterable[Hook],
    deliveries: Iterable[Delivery],
    reports: Iterable[CommitReport],
) -> PrebuildJSON:
    """Render what builds an environment ahead."""
    last = newest_by_hook(reports)
    found: dict[str, list[DeliveryJSON]] = {}
    for each in deliveries:
        found.setdefault(each.hook_id, []).append(_render_delivery(each))
    return PrebuildJSON(
        hooks=tuple(
            HookJSON(
                id=hook.id,
                url=address_of(base, hook),
                host=hook.host,
                created=hook.created,
                deliveries=tuple(found.get(hook.id, ())),
                token_set=hook.token_set,
                report=_render_report(last.get(hook.id)),
            )
            for hook in hooks
        ),
        schedule=_render_schedule(prebuild),
        pending=prebuild.pending,
        last=_render_look(prebuild),
    )


def _render_delivery(delivery: Delivery) -> DeliveryJSON:
    return DeliveryJSON(
        time=delivery.time,
        event=delivery.event,
        outcome=delivery.outcome,
        number=delivery.number,
        message=delivery.message or "",
    )


def _render_report(report: CommitReport | None) -> CommitReportJSON | None:
    if report is None or report.time is None:
        return None
    return CommitReportJSON(
        time=report.time,
        commit=report.sha,
        number=report.number,
        state=report.told,
        message=report.message or "",
    )


def _render_schedule(prebuild: Prebuild) -> ScheduleJSON | None:
    if not prebuild.cron:
        return None
    schedule = Schedule(prebuild.cron, prebuild.time_zone)
    return ScheduleJSON(
        cron=schedule.cron,
        time_zone=schedule.time_zone,
        words=schedule.words,
        next=schedule.next(utc_now(), SHOWN_TIMES),
    )


def _render_look(prebuild: Prebuild) -> LookJSON | None:
    if prebuild.last is None or prebuild.outcome is None:
        return None
    return LookJSON(
        time=prebuild.last,
        cause=prebuild.last_cause,
        outcome=prebuild.outcome,
        number=prebuild.number,
        message=prebuild.message or "",
    )
