"""What a detector of forbidden programs reports, and what becomes of it.

A message names what was killed: a server, an environment or a repository. It is kept as a report.
The repository is banned at once only if the configuration says so, and never more than one.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from traitlets import Bool, Enum, Integer, Unicode
from traitlets.config import LoggingConfigurable

from jupyterhub_binder.admin.audit import Audit
from jupyterhub_binder.admin.rules import Rules
from jupyterhub_binder.builds.service import Builds
from jupyterhub_binder.errors import (
    BinderError,
    ConfigurationError,
    InvalidInput,
    LimitReached,
    NotFound,
    NotUnderstood,
    UpstreamUnavailable,
    WrongSignature,
)
from jupyterhub_binder.hub import HubClient, HubServer
from jupyterhub_binder.model import Environment, Spec, User
from jupyterhub_binder.model.admin import SERVICE, Action
from jupyterhub_binder.model.detections import Detection, DetectionState, Reports
from jupyterhub_binder.model.featured import HUB_OWNER
from jupyterhub_binder.repositories.providers.registry import Providers
from jupyterhub_binder.store import Store
from jupyterhub_binder.utils.concurrency import TaskSet
from jupyterhub_binder.utils.names import is_id, new_id
from jupyterhub_binder.utils.redact import redactor
from jupyterhub_binder.utils.retry import Backoff
from jupyterhub_binder.utils.time import utc_now
from jupyterhub_binder.utils.validation import (
    MAX_ADDRESS_CHARACTERS,
    MAX_PERSON_CHARACTERS,
    MAX_SERVER_CHARACTERS,
    one_line,
)
from jupyterhub_binder.utils.webhooks import Sender, SignatureCheck, is_signing_secret, new_secret

SECRET_VARIABLE = "JUPYTERHUB_BINDER_DETECTOR_SECRET"  # noqa: S105 - the name of a variable
_MINUTE_SECONDS = 60.0
_MAX_PROGRAM_CHARACTERS = 200
_RECENT = timedelta(hours=1)
_HUB_PATIENCE_SECONDS = 300.0
"""How long a hub that does not answer is asked again what a server runs."""
_ENVIRONMENT_PAGE = re.compile(r"(?:.*/environments/)?([^/?#]+)[^/]*")


@dataclass(frozen=True, slots=True)
class _Source:
    """Where a program came from, as far as that is known."""

    spec: Spec | None
    confirmed: bool = False
    """Whether the hub says so."""
    mixed: bool = False
    """Whether files of another repository may be to blame."""


class Detections(LoggingConfigurable):
    """Takes the reports of a detector of forbidden programs, such as one that kills miners."""

    secret_file = Unicode(
        help="""
        A file with the secret with which the detector signs its messages (Standard Webhooks). It
        begins with `whsec_`. Default: empty, the variable `JUPYTERHUB_BINDER_DETECTOR_SECRET`.
        Without a secret, no message is accepted.
        """,
    ).tag(config=True)

    ban = Enum(
        ["never", "confirmed", "always"],
        "never",
        help="""
        When a report bans its repository at once. ``never``, the default: an administrator decides.

        ``confirmed``: if the message names a server, and the hub says that this server runs an
        environment of the repository. ``always``: also if the message only names an environment, or
        a repository that was built here. A process can choose its own variables, so such a name may
        be wrong.
        """,
    ).tag(config=True)

    ban_reason = Unicode(
        "A forbidden program was found in it",
        help="The reason of such a ban. Default: `A forbidden program was found in it`.",
    ).tag(config=True)

    ban_shows_reason = Bool(
        True, help="Whether people who are refused see this reason. Default: True."
    ).tag(config=True)

    max_per_minute = Integer(
        60,
        min=1,
        help="Maximum number of messages per minute. The others get status 429. Default: 60.",
    ).tag(config=True)

    def __init__(
        self,
        *,
        store: Store,
        rules: Rules,
        builds: Builds,
        providers: Providers,
        hub: HubClient,
        audit: Audit,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._store = store
        self._rules = rules
        self._builds = builds
        self._providers = providers
        self._hub = hub
        self._audit = audit
        self._secret = ""
        self._stranger = new_secret()
        self._tasks = TaskSet(self.log)
        self._minute = 0.0
        self._received = 0
        self._retry_seconds = 1.0

    async def start(self) -> None:
        """Read the secret, and look into what a stop has left. Raises ConfigurationError."""
        self._secret = self._read_secret()
        if not self._secret:
            return
        redactor.add([self._secret])
        since = utc_now() - timedelta(seconds=_HUB_PATIENCE_SECONDS)
        for report in await self._store.list_detections(DetectionState.OPEN):
            if not report.repository and report.last >= since:
                self._begin_look(report)

    async def stop(self) -> None:
        """Stop looking; the next start goes on. Idempotent."""
        await self._tasks.close()

    def _read_secret(self) -> str:
        secret, where = os.environ.get(SECRET_VARIABLE, "").strip(), SECRET_VARIABLE
        if self.secret_file:
            where = "Detections.secret_file"
            try:
                secret = Path(self.secret_file).read_text(encoding="utf-8").strip()
            except (OSError, ValueError) as error:
                raise ConfigurationError(f"{where}: {self.secret_file} can't be read.") from error
        if (secret or self.secret_file) and not is_signing_secret(secret):
            raise ConfigurationError(
                f"{where}: this is not a secret of Standard Webhooks. Write whsec_, and then 24 to 64 "
                "bytes in Base64."
            )
        return secret

    # --- Receiving ----------------------------------------------------------------------------

    @property
    def on(self) -> bool:
        """Whether there is a secret."""
        return bool(self._secret)

    def check(self, headers: Mapping[str, str]) -> SignatureCheck:
        """Begin to check a message. Without a secret, the same work leads to nothing."""
        return SignatureCheck(Sender.STANDARD, headers, self._secret or self._stranger)

    async def receive(self, check: SignatureCheck, body: bytes) -> bool:
        """Keep a report whose body was read; say whether it is new.

        Raises NotFound, WrongSignature, LimitReached and InvalidInput.
        """
        valid = check.is_valid()
        if not self.on:
            raise NotFound("No detector is configured.")
        if not valid:
            raise WrongSignature(
                "The signature is wrong. Check that the detector and the service have the same secret."
            )
        self._count()
        keeping = self._keep(read_report(body), check.delivery_id)
        return await asyncio.shield(self._tasks.spawn(keeping, name="report"))

    async def _keep(self, report: Detection, delivery: str) -> bool:
        """Keep a report and look what it is about, even if the caller is cancelled."""
        kept = await self._store.note_detection(report, delivery)
        if kept is None:
            return False
        # What this message names may be found, even if it counts with one that named less.
        self._begin_look(replace(report, id=kept.id, times=kept.times))
        return True

    def _begin_look(self, report: Detection) -> None:
        self._tasks.spawn(self._look(report), name=f"report {report.id}")

    def _count(self) -> None:
        now = time.monotonic()
        if now >= self._minute + _MINUTE_SECONDS:
            self._minute, self._received = now, 0
        self._received += 1
        if self._received > self.max_per_minute:
            raise LimitReached(
                "The detector sends too many messages. Send this one again later.",
                detail={"retry_after_seconds": _MINUTE_SECONDS},
            )

    # --- Finding out what it is about ---------------------------------------------------------

    async def _look(self, report: Detection) -> None:
        source = await self._find(report)
        spec, confirmed = source.spec, source.confirmed
        repository = self._rules.repository_of(spec) if spec else ""
        found = replace(report, repository=repository, confirmed=confirmed)
        banned = not source.mixed and await self._ban(found, spec)
        first = await self._store.settle_detection(
            report.id, repository=repository, confirmed=confirmed, banned=banned
        )
        if first and report.times == 1:
            self._audit.note(
                SERVICE,
                Action.DETECTION_REPORT,
                found.title,
                person=report.user,
                server=report.server_name,
                environment=report.environment_id,
                program=report.program,
                confirmed=confirmed,
                banned=banned,
            )

    async def _ban(self, found: Detection, spec: Spec | None) -> bool:
        wanted = self.ban == "always" or (self.ban == "confirmed" and found.confirmed)
        if not wanted or spec is None or self._rules.is_banned(found.repository):
            return False
        if not await self._store.has_built(spec) or await self._is_featured(found.repository):
            return False
        rule = await self._rules.ban_repository(
            spec, self.ban_reason, shows_reason=self.ban_shows_reason
        )
        if rule is None:
            return False
        await self._builds.cancel_matched(rule, user=User(HUB_OWNER, admin=True))
        return True

    async def _is_featured(self, repository: str) -> bool:
        """Say whether administrators chose a repository, so that they decide about it, too."""
        for each in await self._store.list_featured():
            environment = await self._store.fetch_environment(each.environment_id)
            if environment and self._rules.repository_of(environment.spec) == repository:
                return True
        return False

    async def _find(self, report: Detection) -> _Source:
        environment = await self._find_running(report)
        confirmed = environment is not None
        if environment is None and report.environment_id:
            environment = await self._store.fetch_environment(report.environment_id)
        if environment is None:
            return _Source(await self._find_named(report.named) if report.named else None)
        mixed = bool(environment.content_url)
        return _Source(environment.spec, confirmed and not mixed, mixed)

    async def _find_running(self, report: Detection) -> Environment | None:
        if not report.user:
            return None
        servers = await self._fetch_servers(report)
        server = next((each for each in servers if each.name == report.server_name), None)
        if server is None or not server.environment_id or not is_id(server.environment_id):
            return None
        if server.started is not None and server.started > report.last:
            return None  # another one by now, which may run something else
        return await self._store.fetch_environment(server.environment_id)

    async def _fetch_servers(self, report: Detection) -> tuple[HubServer, ...]:
        """Return the person's servers; none if the hub refuses, or does not answer for long."""
        backoff = Backoff(
            self._retry_seconds, max_seconds=30, patience_seconds=_HUB_PATIENCE_SECONDS
        )
        while True:
            try:
                return await self._hub.fetch_servers(self._hub.api_token, report.user)
            except BinderError as error:
                passes = isinstance(error, UpstreamUnavailable)
                if not passes or not await backoff.wait():
                    why = error.message
                    self.log.warning("Report %s: the hub can't be asked: %s", report.id, why)
                    return ()

    async def _find_named(self, url: str) -> Spec | None:
        """Return a repository that was built here; never an owner or a host."""
        try:
            spec = self._providers.understand(url).spec
        except (NotUnderstood, InvalidInput):
            return None
        return spec if await self._store.has_built(spec) else None

    # --- Deciding -----------------------------------------------------------------------------

    async def list_open(self) -> tuple[Detection, ...]:
        """Return the reports that wait for an administrator, newest first.

        A ban of the repository or the person decides, too.
        """
        found = await self._store.list_detections(DetectionState.OPEN)
        return tuple(
            each for each in found if not self._rules.is_banned(each.repository, each.user)
        )

    async def summarize(self) -> Reports:
        """Return what an alert says."""
        since = utc_now() - _RECENT
        banned = await self._store.list_detections(DetectionState.BANNED)
        recent = tuple(each for each in banned if each.last >= since)
        return Reports(await self.list_open(), recent)

    async def dismiss(self, user: User, detection_id: str) -> Detection:
        """Dismiss a report. Raises NotFound."""
        report = await self._store.dismiss_detection(detection_id)
        if report is None:
            raise NotFound("There is no such report. Another administrator may have dismissed it.")
        await self._audit.record(
            user.name, Action.DETECTION_DISMISS, report.title, person=report.user
        )
        return report


def read_report(body: bytes) -> Detection:
    """Read a message. Raises InvalidInput."""
    try:
        message = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidInput("The message is not JSON.") from error
    data = message.get("data") if isinstance(message, dict) else None
    if not isinstance(data, dict):
        raise InvalidInput(
            "The message must be an object with the field 'data'.", detail={"field": "data"}
        )
    now = utc_now()
    user = _text(data, "user", MAX_PERSON_CHARACTERS)
    report = Detection(
        id=new_id(),
        time=now,
        last=now,
        user=user,
        server_name=_text(data, "server", MAX_SERVER_CHARACTERS) if user else "",
        environment_id=_environment_of(_text(data, "environment", MAX_ADDRESS_CHARACTERS)),
        named=_text(data, "repository", MAX_ADDRESS_CHARACTERS),
        program=_text(data, "program", MAX_ADDRESS_CHARACTERS)[:_MAX_PROGRAM_CHARACTERS],
    )
    if not (report.user or report.environment_id or report.named):
        raise InvalidInput(
            "The message must name a user, an environment or a repository.",
            detail={"field": "data"},
        )
    return report


def _text(data: Mapping[str, Any], name: str, most: int) -> str:
    value = data.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > most:
        raise InvalidInput(
            "'%(name)s' must be text of at most %(most)s characters.",
            name=name,
            most=most,
            detail={"field": name},
        )
    return one_line(value)


def _environment_of(text: str) -> str:
    """Return the id in an id, or in the address of an environment's page."""
    if not text:
        return ""
    found = _ENVIRONMENT_PAGE.fullmatch(text)
    if found is None or not is_id(found[1]):
        raise InvalidInput(
            "'environment' must be an environment's id or the address of its page.",
            detail={"field": "environment"},
        )
    return found[1]
