"""Checks the conditions, remembers which alerts are on, and tells the destinations."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import aiohttp
from traitlets import Dict, Enum, Float, Int, List, Unicode, default
from traitlets.config import LoggingConfigurable

from jupyterhub_binder.admin.drain import Draining
from jupyterhub_binder.builds.service import QueueState
from jupyterhub_binder.errors import BinderError, ConfigurationError, NotFound
from jupyterhub_binder.maintenance.alerts.certificates import fetch_expiry
from jupyterhub_binder.maintenance.alerts.conditions import (
    AlertFinding,
    AlertLimits,
    Measured,
    Verdict,
    judge,
)
from jupyterhub_binder.maintenance.alerts.destinations import (
    Destination,
    Mail,
    Mailbox,
    Webhook,
)
from jupyterhub_binder.maintenance.alerts.outbox import AlertDelivery, Outbox
from jupyterhub_binder.maintenance.health import Disk
from jupyterhub_binder.model.alerts import Alert, AlertName, Notice, WaitingNotice
from jupyterhub_binder.model.detections import Reports
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.store import Store
from jupyterhub_binder.utils.concurrency import TaskSet
from jupyterhub_binder.utils.time import utc_now

_HOUR_SECONDS = 3600.0
_FORMATS = ("slack", "json")
TITLES = {
    AlertName.DISK: Message("Disk almost full"),
    AlertName.QUEUE: Message("Builds wait too long"),
    AlertName.FAILURES: Message("Most builds fail"),
    AlertName.DETECTOR: Message("Forbidden programs were found"),
    AlertName.BACKUP: Message("No recent backup"),
    AlertName.CERTIFICATE: Message("Certificate expires"),
    AlertName.TOKEN: Message("Token of the service"),
}


class HasQueue(Protocol):
    """The part of `Builds` needed here."""

    def queue(self) -> QueueState:
        """Return unfinished builds."""
        ...


class Alerts(LoggingConfigurable):
    """Tells administrators when something goes wrong: one message when it begins, one when it ends."""

    check_seconds = Float(60, min=1, help="Interval between checks, in seconds. Default: 60.").tag(
        config=True
    )

    queue_minutes = Float(
        30,
        min=0,
        help="""An alert begins if a build has waited for longer than this, in minutes. It ends when no build
        has waited for half of that. Default: 30. Raise it if builds on your hub take an hour.""",
    ).tag(config=True)

    success_percent = Float(
        10,
        min=0,
        max=100,
        help="""An alert begins if fewer builds of the last hour succeeded, in percent, among at
        least `min_builds`. Default: 10, since repositories that cannot be built are normal.""",
    ).tag(config=True)

    min_builds = Int(
        10, min=1, help="Minimum number of builds in an hour for `success_percent`. Default: 10."
    ).tag(config=True)

    backup_hours = Float(
        26,
        min=0,
        help="""An alert begins if the last `jupyterhub-binder db backup` is older, in hours.
        Default: 26, a day and the time that a nightly backup may take longer than the night before.
        0 turns it off. Without any backup of this command there is no alert, because the database
        may be backed up in another way.""",
    ).tag(config=True)

    expiry_days = Float(
        14,
        min=0,
        help="""An alert begins this many days before the certificate of `public_url` or the
        service's token (`token_expires`) expires. Default: 14.""",
    ).tag(config=True)

    token_expires = Unicode(
        help="""The day on which the service's token expires, such as `2027-03-01`. The hub does not
        report it; tokens in the hub's configuration never expire. Default: empty. An alert begins in
        any case when the hub refuses the token.""",
    ).tag(config=True)

    public_url = Unicode(
        help="""The hub's public URL, whose certificate is checked every hour if it begins with
        `https`. Default: `JUPYTERHUB_PUBLIC_HUB_URL`, which the hub sets if its `public_url` is
        configured.""",
    ).tag(config=True)

    webhooks = List(
        Dict(),
        help="""Webhooks that get each message. Each has a `name` and a `url`, and perhaps a
        `format`: `slack`, the default, which Slack, Mattermost, and Zulip's Slack-compatible
        webhook take; or `json`, with the fields `event`, `alert`, `subject`, `text` and `time`.
        Instead of `url`, `url_file` or `url_env` name a file or a variable with the URL, which is a
        secret. Default: none. Example:
        `[{"name": "chat", "url_file": "/run/secrets/binder-webhook"}]`.""",
    ).tag(config=True)

    email_to = List(
        Unicode(), help="Addresses that get each message as e-mail. Default: none."
    ).tag(config=True)
    email_from = Unicode(help="The sender of e-mail. Needed with `email_to`.").tag(config=True)
    smtp_host = Unicode("localhost", help="The mail server. Default: localhost.").tag(config=True)
    smtp_port = Int(587, min=1, max=65535, help="Its port. Default: 587.").tag(config=True)
    smtp_security = Enum(
        ["starttls", "tls", "none"],
        "starttls",
        help="""How the connection to the mail server is encrypted: `starttls`, `tls` from its
        beginning (port 465), or `none`, for a server on this machine. Default: `starttls`.""",
    ).tag(config=True)
    smtp_user = Unicode(help="The user at the mail server. Default: empty, no login.").tag(
        config=True
    )
    smtp_password_file = Unicode(
        help="""A file with the user's password at the mail server. Default: empty, the variable
        `JUPYTERHUB_BINDER_SMTP_PASSWORD`.""",
    ).tag(config=True)

    reminder_hours = Float(
        24, min=1, help="Interval between reminders of an alert, in hours. Default: 24."
    ).tag(config=True)

    retry_seconds = Float(
        5,
        min=0.01,
        help="""The first wait before a failed message is sent again, in seconds; later waits are
        longer. After an hour the message is dropped. Default: 5.""",
    ).tag(config=True)

    @default("public_url")
    def _default_public_url(self) -> str:
        return os.environ.get("JUPYTERHUB_PUBLIC_HUB_URL", "")

    def __init__(
        self,
        *,
        store: Store,
        session: aiohttp.ClientSession,
        builds: HasQueue,
        drain: Draining,
        disk: Callable[[], Disk],
        health: Callable[[], Awaitable[Mapping[str, str | None]]],
        fetch_reports: Callable[[], Awaitable[Reports]],
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._store = store
        self._session = session
        self._builds = builds
        self._drain = drain
        self._disk = disk
        self._health = health
        self._fetch_reports = fetch_reports
        self._tasks = TaskSet(self.log)
        self._loop: asyncio.Task[None] | None = None
        self._certificate: datetime | None = None
        self._certificate_due = float("-inf")
        self._limits = AlertLimits(
            queue_minutes=self.queue_minutes,
            success_percent=self.success_percent,
            min_builds=self.min_builds,
            backup_hours=self.backup_hours,
            expiry_days=self.expiry_days,
        )
        self._token_expires = _read_day(self.token_expires)
        self._host, self._https = _read_address(self.public_url)
        self.on: tuple[Alert, ...] = ()
        """The alerts that are on."""
        self.problem = ""
        """Why the last check failed."""
        self._outbox = Outbox(
            (),
            self.log,
            store=store,
            retry_seconds=self.retry_seconds,
            patience_seconds=_HOUR_SECONDS,
        )

    # --- Start and stop ---------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to check. Raises ConfigurationError."""
        destinations = await asyncio.to_thread(lambda: tuple(self._destinations()))
        self._outbox = Outbox(
            destinations,
            self.log,
            store=self._store,
            retry_seconds=self.retry_seconds,
            patience_seconds=_HOUR_SECONDS,
        )
        self.on = await self._store.list_alerts()
        await self._outbox.start()
        self._loop = self._tasks.spawn(self._keep_checking(), name="alerts")

    async def stop(self) -> None:
        """Stop. Idempotent."""
        await self._tasks.close()
        await self._outbox.stop()

    @property
    def stopped(self) -> bool:
        """Whether the checks have ended, which is a defect while the service runs."""
        return self._loop is not None and self._loop.done()

    @property
    def deliveries(self) -> tuple[AlertDelivery, ...]:
        """The destinations, and what became of the messages to them."""
        return self._outbox.deliveries

    def _destinations(self) -> Iterator[Destination]:
        for number, given in enumerate(self.webhooks):
            yield self._webhook(number, given)
        if self.email_to:
            yield Mail(self._mailbox())

    def _webhook(self, number: int, given: Mapping[str, Any]) -> Webhook:
        here = f"Alerts.webhooks[{number}]"
        if unknown := sorted(given.keys() - {"name", "url", "url_file", "url_env", "format"}):
            raise ConfigurationError(f"{here}: {unknown[0]!r} is not known.")
        url = _secret_of(here, given)
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigurationError(f"{here}: its URL must begin with https:// or http://.")
        form = given.get("format", "slack")
        if form not in _FORMATS:
            raise ConfigurationError(f"{here}: format must be one of {', '.join(_FORMATS)}.")
        name = str(given.get("name") or parts.hostname)
        return Webhook(name, url, form=form, session=self._session)

    def _mailbox(self) -> Mailbox:
        if not self.email_from:
            raise ConfigurationError("Alerts.email_from is missing: the sender of e-mail.")
        password = os.environ.get("JUPYTERHUB_BINDER_SMTP_PASSWORD", "")
        if self.smtp_password_file:
            password = _read_file("Alerts.smtp_password_file", self.smtp_password_file)
        return Mailbox(
            host=self.smtp_host,
            port=self.smtp_port,
            security=self.smtp_security,
            user=self.smtp_user,
            password=password,
            sender=self.email_from,
            receivers=tuple(self.email_to),
        )

    # --- Checking -----------------------------------------------------------------------------

    async def _keep_checking(self) -> None:
        while True:
            try:
                await self.check()
                self.problem = ""
            except BinderError as error:
                self.problem = error.message
                self.log.warning("Alerts could not be checked: %s", error.message)
            except Exception:  # what warns of other defects must survive its own
                self.problem = Message("Unexpected error. See the service's log.")
                self.log.exception("Alerts could not be checked")
            await asyncio.sleep(self.check_seconds)

    async def check(self) -> None:
        """Check all conditions once; begin, remind of and end alerts. Raises BinderError."""
        measured = await self._measure()
        for finding in judge(measured, self._limits):
            await self._apply(finding, measured.now)

    async def _measure(self) -> Measured:
        now = utc_now()
        totals = await self._store.fetch_totals(since=now - timedelta(hours=1), until=now)
        oldest = min((build.created for build in self._builds.queue().waiting), default=now)
        parts = await self._health()
        await self._renew_certificate()
        return Measured(
            now=now,
            disk=self._fetch_disk(),
            oldest_wait_seconds=None if self._drain.state else (now - oldest).total_seconds(),
            built=totals.built,
            failed=totals.failed,
            reports=await self._fetch_reports(),
            last_backup=await self._store.fetch_last_backup(),
            certificate_host=self._host if self._https else "",
            certificate_expires=self._certificate,
            token_expires=self._token_expires,
            token_refused=bool(parts.get("token")),
        )

    def _fetch_disk(self) -> Disk | None:
        try:
            return self._disk()
        except OSError:
            return None

    async def _renew_certificate(self) -> None:
        if time.monotonic() >= self._certificate_due:
            self._certificate_due = time.monotonic() + _HOUR_SECONDS
            self._certificate = await fetch_expiry(self.public_url)

    async def _apply(self, finding: AlertFinding, now: datetime) -> None:
        """Keep the change and what is to be told of it at once: a restart loses and repeats nothing."""
        alert = next((each for each in self.on if each.name is finding.name), None)
        if finding.verdict is Verdict.BAD:
            due = alert is None or now - alert.said >= timedelta(hours=self.reminder_hours)
            if due:
                since = alert.since if alert else now
                notices = self._notices("reminder" if alert else "begins", finding)
                kept = await self._store.put_alert(
                    Alert(finding.name, finding.text, since, now), notices
                )
                self.on = await self._store.list_alerts()
                await self._outbox.put(kept)
        elif alert is not None and finding.verdict in (Verdict.GOOD, Verdict.OFF):
            over = finding.verdict is Verdict.GOOD
            notices = self._notices("ends", finding) if over else ()
            kept = await self._store.delete_alert(finding.name, notices)
            self.on = await self._store.list_alerts()
            await self._outbox.put(kept)

    def _notices(self, event: str, finding: AlertFinding) -> Iterator[WaitingNotice]:
        log = self.log.info if event == "ends" else self.log.warning
        log("Alert %s %s: %s", finding.name, event, finding.text)
        notice = notice_of(event, finding.name, finding.text, self._host)
        return self._outbox.address(notice)

    # --- Testing ------------------------------------------------------------------------------

    async def test(self, name: str = "") -> tuple[AlertDelivery, ...]:
        """Send a test message to one destination or all, once. Raises NotFound.

        Each delivery says what became of it.
        """
        chosen = [each for each in self.deliveries if name in ("", each.destination.name)]
        if not chosen:
            raise NotFound("There is no such destination for alerts. Set Alerts.webhooks.")
        text = "This is a test. Alerts of jupyterhub-binder arrive here."
        notice = notice_of("test", "test", text, self._host)
        await asyncio.gather(*(self._outbox.send(each, notice) for each in chosen))
        return tuple(chosen)


def notice_of(event: str, name: str, text: str, host: str) -> Notice:
    """Return a message; its subject says where it comes from."""
    hub = host or "jupyterhub-binder"
    marks = {"ends": "Resolved: ", "reminder": "Still: "}
    title = TITLES[AlertName(name)] if name in set(AlertName) else "Test message"
    subject = f"[{hub}] {marks.get(event, '')}{title}"
    return Notice(event, name, subject, text, utc_now().isoformat(timespec="seconds"))


def _secret_of(here: str, given: Mapping[str, Any]) -> str:
    if "url_file" in given:
        return _read_file(f"{here}: url_file", str(given["url_file"]))
    if "url_env" in given:
        name = str(given["url_env"])
        if not (url := os.environ.get(name, "").strip()):
            raise ConfigurationError(f"{here}: url_env: the variable {name} is not set.")
        return url
    return str(given.get("url", "")).strip()


def _read_file(here: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{here}: {path} can't be read.") from error


def _read_address(url: str) -> tuple[str, bool]:
    """Return the host, and whether it is reached by https."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise ConfigurationError(f"Alerts.public_url: {url} is not a URL.") from error
    return parts.hostname or "", parts.scheme == "https"


def _read_day(text: str) -> datetime | None:
    if not text:
        return None
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError as error:
        raise ConfigurationError(
            "Alerts.token_expires must be a day such as 2027-03-01."
        ) from error
