"""Stands for webhooks and schedules: one environment has them, with every outcome."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from jupyterhub_binder.environments.hooks import NewHook
from jupyterhub_binder.model.prebuild import (
    CommitReport,
    CommitState,
    Delivery,
    Hook,
    HookHost,
    Outcome,
    Prebuild,
)
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.utils.time import utc_now

NOW = utc_now()
WITH_ALL = "e000000001"
_SET = NOW - timedelta(days=3)
_HOOKS = tuple(
    Hook(f"{number}" * 40, WITH_ALL, host, "", NOW - timedelta(days=20), "alice", token, at)
    for number, (host, token, at) in enumerate(
        zip(HookHost, ("sealed", "sealed", None), (_SET, _SET, None), strict=True)
    )
)
_REPORT = CommitReport(
    _HOOKS[0].id, "0f1e2d3" * 6, 7, "course", CommitState.SUCCESS, NOW, done=True
)
_REFUSED = Message(
    "%(host)s refused the token (401). It may have expired. Give a new one.", host="gitlab.com"
)


class CannedHooks:
    """Hooks of each host; the first has received everything, the last one nothing."""

    max_per_environment = 5
    statuses = True

    async def reports(self, user: Any, environment_id: str) -> tuple[CommitReport, ...]:
        return (_REPORT, replace(_REPORT, hook_id=_HOOKS[1].id, message=_REFUSED))

    async def list(self, user: Any, environment_id: str) -> tuple[Hook, ...]:
        return _HOOKS if environment_id == WITH_ALL else ()

    async def deliveries(self, user: Any, environment_id: str) -> tuple[Delivery, ...]:
        if environment_id != WITH_ALL:
            return ()
        first = Delivery(_HOOKS[0].id, NOW, "push", Outcome.ACCEPTED)
        refused = Message.verbatim("<b>The repository</b> is not allowed here. " * 4)
        return (
            *(replace(first, outcome=each, number=7) for each in Outcome),
            replace(first, event="<b>x</b>" * 5, outcome=Outcome.NOT_BUILT, message=refused),
            replace(first, hook_id=_HOOKS[1].id, outcome=Outcome.REFUSED),
        )

    async def create(self, user: Any, environment_id: str, host: HookHost) -> NewHook:
        return NewHook(replace(_HOOKS[0], host=host), "whsec_" + "c2VjcmV0" * 5)


class CannedPrebuilds:
    """A schedule, and a look that built something."""

    async def fetch(self, user: Any, environment_id: str) -> Prebuild:
        if environment_id != WITH_ALL:
            return Prebuild(environment_id)
        return Prebuild(
            environment_id,
            "30 4 * * 1",
            "Europe/Berlin",
            last=NOW,
            outcome=Outcome.BUILDING,
            number=7,
        )
