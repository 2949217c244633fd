"""Builds ahead: the section of an environment's page, its forms, and a webhook's secret."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from jupyterhub_binder.environments.hooks import MAX_TOKEN_CHARACTERS, NewHook
from jupyterhub_binder.environments.schedules import (
    MAX_CRON_CHARACTERS,
    MAX_ZONE_CHARACTERS,
    Schedule,
)
from jupyterhub_binder.model import Environment
from jupyterhub_binder.model.prebuild import (
    CommitReport,
    CommitState,
    Delivery,
    Hook,
    HookHost,
    Outcome,
    Prebuild,
)
from jupyterhub_binder.model.sharing import Right
from jupyterhub_binder.utils.time import utc_now
from jupyterhub_binder.web.api.hooks import SHOWN_TIMES, address_of, base_of, newest_by_hook
from jupyterhub_binder.web.i18n.language import N_, moment, say
from jupyterhub_binder.web.i18n.language import gettext as _
from jupyterhub_binder.web.pages.base import ID, PageHandler

ROUTE = rf"environments/{ID}/(schedule|hook|hook-(?:secret|token|tokenless|delete))"

HOSTS = {
    HookHost.GITHUB: "GitHub",
    HookHost.GITLAB: "GitLab",
    HookHost.GITEA: "Gitea, Forgejo, Codeberg, Gogs",
}
_WORDS = {
    Outcome.ACCEPTED: N_("accepted: the repository will be checked soon"),
    Outcome.PING: N_("a test by the host: it works"),
    Outcome.IGNORED: N_("ignored: not a push"),
    Outcome.REPEATED: N_("seen before"),
    Outcome.REFUSED: N_("signature wrong"),
    Outcome.BUILDING: N_("build %(number)s"),
    Outcome.NOTHING_NEW: N_("nothing new"),
    Outcome.FAILED_BEFORE: N_("nothing new: the build of this commit failed"),
    Outcome.ON_HOLD: N_("not built: updates are paused"),
    Outcome.NOT_BUILT: N_("not built"),
}
_STATES = {
    CommitState.PENDING: N_("building"),
    CommitState.SUCCESS: N_("ready"),
    CommitState.FAILURE: N_("failed"),
    CommitState.ERROR: N_("cancelled"),
}
_SOON = timedelta(seconds=90)
"""What waits is looked at every 30 seconds."""
_NIGHTLY, _WEEKLY, _OWN = "night", "week", "own"


@dataclass(frozen=True, slots=True)
class DeliveryView:
    """A delivery, or a look, in words."""

    time: datetime
    event: str
    outcome: Outcome
    number: int | None
    message: str

    @property
    def words(self) -> str:
        """What became of it."""
        text = _(_WORDS[self.outcome], number=self.number or "")
        return f"{text}: {self.message}" if self.message else text

    @property
    def bad(self) -> bool:
        """Whether somebody should see to it."""
        return self.outcome in (Outcome.REFUSED, Outcome.NOT_BUILT)


@dataclass(frozen=True, slots=True)
class HookView:
    """A webhook."""

    hook: Hook
    url: str
    deliveries: tuple[DeliveryView, ...]
    report: CommitReport | None

    @property
    def host(self) -> str:
        """The kind of host, in its own words."""
        return HOSTS[self.hook.host]

    @property
    def said(self) -> str:
        """What the host was told last, or why it did not take it."""
        if self.report is None:
            return ""
        if self.report.message:
            return say(self.report.message)
        return _(_STATES[self.report.told]) if self.report.told else ""

    @property
    def bad(self) -> bool:
        """Whether the host did not take the last status."""
        return self.report is not None and self.report.message is not None


@dataclass(frozen=True, slots=True)
class AheadView:
    """The section of the page."""

    hooks: tuple[HookView, ...]
    prebuild: Prebuild
    presets: dict[str, str]
    """Schedules by what they are called in the form."""
    max_hooks: int
    statuses: bool
    """Whether a webhook may get a token for commit statuses."""
    blocked: bool = False
    """Whether a check has to wait for the end of a build or of a drain."""

    @property
    def chosen(self) -> str:
        """The preset that is set."""
        cron = self.prebuild.cron
        known = [name for name, each in self.presets.items() if each == cron]
        return known[0] if known else _OWN if cron else ""

    @property
    def words(self) -> str:
        """The schedule in words."""
        return say(Schedule(self.prebuild.cron, self.prebuild.time_zone).words)

    @property
    def times(self) -> str:
        """When the schedule comes next, by its own clock."""
        zone = self.prebuild.time_zone
        times = Schedule(self.prebuild.cron, zone).next(utc_now(), SHOWN_TIMES)
        return " · ".join(moment(each, zone) for each in times)

    @property
    def begins(self) -> str:
        """When the check that waits begins; empty if that is not known."""
        return "" if self.blocked else begin_words(self.prebuild, utc_now())

    @property
    def last(self) -> DeliveryView | None:
        """The last look at the repository."""
        known = self.prebuild
        if known.last is None or known.outcome is None:
            return None
        said = say(known.message) if known.message else ""
        return DeliveryView(known.last, "", known.outcome, known.number, said)


async def ahead_values(handler: PageHandler, environment: Environment) -> dict[str, Any]:
    """Return what an environment's page tells its owner."""
    if environment.right is not Right.OWN:
        return {}
    hooks = handler.services.hooks
    deliveries = await hooks.deliveries(handler.me, environment.id)
    reports = newest_by_hook(await hooks.reports(handler.me, environment.id))
    views = tuple(
        HookView(hook, _address(handler, hook), _views_of(hook, deliveries), reports.get(hook.id))
        for hook in await hooks.list(handler.me, environment.id)
    )
    prebuild = await handler.services.prebuilds.fetch(handler.me, environment.id)
    latest = environment.latest
    builds = latest is not None and not latest.build.state.finished
    view = AheadView(
        views,
        prebuild,
        presets_of(environment.id),
        hooks.max_per_environment,
        hooks.statuses,
        blocked=builds or handler.services.drain.state is not None,
    )
    return {"ahead": view, "hook_hosts": HOSTS}


def begin_words(waiting: Prebuild, now: datetime) -> str:
    """Say when a check that waits begins, by the schedule's clock."""
    begins = waiting.not_before
    if begins is None or begins - now < _SOON:
        return _("It begins in less than two minutes.")
    time = moment(begins, waiting.time_zone)
    return _("It begins on %(time)s (%(zone)s).", time=time, zone=waiting.time_zone)


def presets_of(environment_id: str) -> dict[str, str]:
    """Return schedules at a time of the environment's own, so that not all come at once."""
    minute = zlib.crc32(environment_id.encode()) % 180
    at = f"{minute % 60} {2 + minute // 60}"
    return {_NIGHTLY: f"{at} * * *", _WEEKLY: f"{at} * * 1"}


def _views_of(hook: Hook, deliveries: tuple[Delivery, ...]) -> tuple[DeliveryView, ...]:
    return tuple(
        DeliveryView(
            each.time,
            each.event,
            each.outcome,
            each.number,
            say(each.message) if each.message else "",
        )
        for each in deliveries
        if each.hook_id == hook.id
    )


def _address(handler: PageHandler, hook: Hook) -> str:
    return address_of(base_of(handler.request, handler.services), hook)


class PrebuildAction(PageHandler):
    """``POST /environments/<id>/<action>``. A secret is shown by the answer, and never again."""

    async def post(self, environment_id: str, action: str) -> None:
        """Run the action, then redirect or show the secret."""
        self.back = f"{self.prefix}environments/{environment_id}"
        await getattr(self, f"_{action.replace('-', '_')}")(environment_id)

    async def _schedule(self, environment_id: str) -> None:
        chosen = self.form.text("preset", max_length=10) or ""
        written = self.form.text("cron", max_length=MAX_CRON_CHARACTERS) or ""
        cron = written if chosen == _OWN else presets_of(environment_id).get(chosen, "")
        zone = self.form.text("time_zone", max_length=MAX_ZONE_CHARACTERS) or "UTC"
        await self.services.prebuilds.set_schedule(self.me, environment_id, cron, zone)
        self.redirect(f"{self.back}?said=saved#ahead", status=303)

    async def _hook(self, environment_id: str) -> None:
        host = self.form.choice("host", HookHost) or HookHost.GITHUB
        self._show(await self.services.hooks.create(self.me, environment_id, host))

    async def _hook_secret(self, environment_id: str) -> None:
        hooks = self.services.hooks
        self._show(await hooks.replace_secret(self.me, environment_id, self._hook_id()))

    async def _hook_token(self, environment_id: str) -> None:
        token = self.form.text("token", max_length=MAX_TOKEN_CHARACTERS, required=True) or ""
        address = base_of(self.request, self.services)
        await self.services.hooks.set_token(
            self.me, environment_id, self._hook_id(), token, address=address
        )
        self.redirect(f"{self.back}?said=token_kept#ahead", status=303)

    async def _hook_tokenless(self, environment_id: str) -> None:
        await self.services.hooks.remove_token(self.me, environment_id, self._hook_id())
        self.redirect(f"{self.back}?said=token_removed#ahead", status=303)

    async def _hook_delete(self, environment_id: str) -> None:
        await self.services.hooks.delete(self.me, environment_id, self._hook_id())
        self.redirect(f"{self.back}?said=hook_removed#ahead", status=303)

    def _hook_id(self) -> str:
        return self.form.text("hook", max_length=40, required=True) or ""

    def _show(self, made: NewHook) -> None:
        self.render_page(
            "hook.html",
            page_title=_("Webhook"),
            back=self.back,
            host=HOSTS[made.hook.host],
            kind=made.hook.host,
            url=_address(self, made.hook),
            secret=made.secret,
            statuses=self.services.hooks.statuses,
        )
