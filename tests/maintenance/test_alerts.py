"""Alerts: when they begin and end, and that each message goes out once."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from aiosmtpd.controller import Controller

from jupyterhub_binder.demo.hub import free_ports
from jupyterhub_binder.errors import ConfigurationError, NotFound, UpstreamUnavailable
from jupyterhub_binder.maintenance.alerts import destinations
from jupyterhub_binder.maintenance.alerts import service as alerts_service
from jupyterhub_binder.maintenance.alerts.conditions import AlertLimits, Measured, Verdict, judge
from jupyterhub_binder.maintenance.alerts.destinations import (
    Mail,
    Mailbox,
    body_of,
    message_of,
)
from jupyterhub_binder.maintenance.alerts.service import Alerts
from jupyterhub_binder.maintenance.health import Disk
from jupyterhub_binder.model.alerts import AlertName, Notice
from jupyterhub_binder.model.detections import Detection, Reports
from jupyterhub_binder.store import upkeep
from jupyterhub_binder.utils.http import open_session
from jupyterhub_binder.utils.redact import redactor
from tests.kit.databases import Databases
from tests.kit.waiting import until

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
LIMITS = AlertLimits(
    queue_minutes=30, success_percent=10, min_builds=10, backup_hours=26, expiry_days=14
)
REPORT = Detection("report0000", NOW, NOW, repository="github.com/org/miner")
HOUR = timedelta(hours=1)
SECRET = "T0000/B0000/verysecretpath"


def verdict_of(name: AlertName, **measured: Any) -> Verdict:
    if "certificate_expires" in measured:
        measured["certificate_host"] = "hub.example.org"
    found = {each.name: each for each in judge(Measured(NOW, **measured), LIMITS)}
    assert found.keys() == set(AlertName)
    assert found[name].text or found[name].verdict in (Verdict.BETWEEN, Verdict.OFF)
    return found[name].verdict


# --- The decision ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "measured", "verdict"),
    [
        (AlertName.DISK, {"disk": Disk(1000, 99, 100)}, Verdict.BAD),
        (AlertName.DISK, {"disk": Disk(1000, 105, 100)}, Verdict.BETWEEN),
        (AlertName.DISK, {"disk": Disk(1000, 110, 100)}, Verdict.GOOD),
        (AlertName.DISK, {}, Verdict.BETWEEN),
        (AlertName.DETECTOR, {"reports": Reports(open=(REPORT,))}, Verdict.BAD),
        (AlertName.DETECTOR, {"reports": Reports(banned=(REPORT,))}, Verdict.BAD),
        (AlertName.DETECTOR, {}, Verdict.GOOD),
        (AlertName.QUEUE, {"oldest_wait_seconds": 1801}, Verdict.BAD),
        (AlertName.QUEUE, {"oldest_wait_seconds": 1700}, Verdict.BETWEEN),
        (AlertName.QUEUE, {}, Verdict.GOOD),
        (AlertName.QUEUE, {"oldest_wait_seconds": None}, Verdict.BETWEEN),
        (AlertName.FAILURES, {"built": 0, "failed": 10}, Verdict.BAD),
        (AlertName.FAILURES, {"built": 0, "failed": 9}, Verdict.BETWEEN),
        (AlertName.FAILURES, {"built": 1, "failed": 9}, Verdict.BETWEEN),
        (AlertName.FAILURES, {"built": 2, "failed": 8}, Verdict.GOOD),
        (AlertName.FAILURES, {}, Verdict.GOOD),
        (AlertName.BACKUP, {}, Verdict.BETWEEN),
        (AlertName.BACKUP, {"last_backup": NOW - 25 * HOUR}, Verdict.GOOD),
        (AlertName.BACKUP, {"last_backup": NOW - 27 * HOUR}, Verdict.BAD),
        (AlertName.CERTIFICATE, {}, Verdict.OFF),
        (AlertName.CERTIFICATE, {"certificate_host": "hub"}, Verdict.BETWEEN),
        (AlertName.CERTIFICATE, {"certificate_expires": NOW + 13 * 24 * HOUR}, Verdict.BAD),
        (AlertName.CERTIFICATE, {"certificate_expires": NOW - HOUR}, Verdict.BAD),
        (AlertName.CERTIFICATE, {"certificate_expires": NOW + 15 * 24 * HOUR}, Verdict.GOOD),
        (AlertName.TOKEN, {}, Verdict.GOOD),
        (AlertName.TOKEN, {"token_refused": True}, Verdict.BAD),
        (AlertName.TOKEN, {"token_expires": NOW + 3 * 24 * HOUR}, Verdict.BAD),
    ],
)
def test_conditions_begin_at_their_limit_and_end_beyond_it(
    name: AlertName, measured: dict[str, Any], verdict: Verdict
) -> None:
    assert verdict_of(name, **measured) is verdict


def test_a_message_is_short_whatever_a_process_calls_itself() -> None:
    report = Detection("report0000", NOW, NOW, named="https://evil.example/" + "x" * 1900)
    found = {each.name: each for each in judge(Measured(NOW, reports=Reports((report,))), LIMITS)}
    assert len(found[AlertName.DETECTOR].text) < 200


NOTICE = Notice("begins", "disk", "[hub] Disk\r\nBcc: x@example.org", "<!channel> @all & more", "t")


def test_a_message_mentions_nobody_and_has_no_other_header() -> None:
    assert body_of(NOTICE, "slack")["text"].endswith("&lt;!channel&gt; @\u200ball &amp; more")
    assert body_of(NOTICE, "json")["alert"] == "disk"
    box = Mailbox("localhost", 25, "none", "", "", "hub@example.org", ("ops@example.org",))
    message = message_of(NOTICE, box)
    assert "Bcc" not in message
    assert message["Auto-Submitted"] == "auto-generated"


# --- The service, with a real webhook --------------------------------------------------------


@dataclass
class Receiver:
    """A chat server."""

    url: str = ""
    status: int = 200
    texts: list[str] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        self.texts.append((await request.json())["text"])
        headers = {"Location": "/elsewhere"} if self.status == 302 else {}
        return web.Response(status=self.status, headers=headers)


@pytest_asyncio.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    application = web.Application()
    application.router.add_post("/{path:.*}", receiver.take)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    receiver.url = f"http://127.0.0.1:{port}/{SECRET}"
    yield receiver
    await runner.cleanup()


@dataclass
class World:
    """What the alerts measure."""

    disk: Disk = field(default_factory=lambda: Disk(1000, 50, 100))
    token: str | None = None

    async def health(self) -> dict[str, str | None]:
        return {"token": self.token}

    async def fetch_reports(self) -> Reports:
        return Reports()


Make = Callable[..., Awaitable[Alerts]]


@pytest.fixture
def world() -> World:
    return World()


@pytest_asyncio.fixture
async def make(service: Any, world: World, receiver: Receiver) -> AsyncIterator[Make]:
    """Return a function that starts alerts over the same database."""
    async with open_session() as session:
        started: list[Alerts] = []

        async def make(**traits: Any) -> Alerts:
            given = {"webhooks": [{"name": "chat", "url": receiver.url}], "retry_seconds": 0.01}
            alerts = Alerts(
                store=service.store,
                session=session,
                builds=service.builds,
                drain=service.admin.drain,
                disk=lambda: world.disk,
                health=world.health,
                fetch_reports=world.fetch_reports,
                check_seconds=3600,
                **{**given, **traits},
            )
            started.append(alerts)
            await alerts.start()
            return alerts

        yield make
        for each in started:
            await each.stop()


async def test_one_message_begins_and_one_ends(
    make: Make, world: World, receiver: Receiver
) -> None:
    alerts = await make()
    await until(lambda: len(receiver.texts) == 1)
    assert "Only 50 bytes are free" in receiver.texts[0]
    await alerts.check()
    world.disk = replace(world.disk, free_bytes=105)
    await alerts.check()
    assert [each.name for each in alerts.on] == [AlertName.DISK]
    world.disk = replace(world.disk, free_bytes=500)
    await alerts.check()
    await until(lambda: len(receiver.texts) == 2)
    assert "Resolved: Disk almost full" in receiver.texts[1]
    assert alerts.on == ()


async def test_a_restart_repeats_nothing_and_a_day_later_comes_a_reminder(
    make: Make, world: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    alerts = await make()
    await until(lambda: len(receiver.texts) == 1)
    await alerts.stop()
    again = await make()
    await until(lambda: bool(again.on))
    await again.check()
    later = datetime.now(UTC) + timedelta(hours=25)
    monkeypatch.setattr(alerts_service, "utc_now", lambda: later)
    await again.check()
    await again.check()
    await until(lambda: len(receiver.texts) == 2)
    assert "Still: Disk almost full" in receiver.texts[1]
    (alert,) = again.on
    assert alert.since < later - timedelta(hours=24)
    assert alert.said == later


async def test_what_waits_is_sent_after_a_restart_to_who_is_still_told(
    make: Make, world: World, receiver: Receiver, service: Any
) -> None:
    receiver.status = 503
    gone = {"name": "gone", "url": f"{receiver.url}/gone"}
    first = await make(webhooks=[{"name": "chat", "url": receiver.url}, gone])
    await until(lambda: all(each.problem for each in first.deliveries))
    await first.stop()
    assert len(await service.store.list_alert_notices()) == 2
    receiver.status, receiver.texts = 200, []
    world.disk = replace(world.disk, free_bytes=900)
    again = await make()
    await until(lambda: len(receiver.texts) == 2)
    assert "] Disk almost full" in receiver.texts[0]
    assert "Resolved: Disk almost full" in receiver.texts[1]
    await again.stop()
    assert await service.store.list_alert_notices() == ()


async def test_two_destinations_of_one_name_are_both_told(make: Make, receiver: Receiver) -> None:
    alerts = await make(webhooks=[{"name": "chat", "url": receiver.url}] * 2)
    await until(lambda: all(each.sent for each in alerts.deliveries))
    assert len(receiver.texts) == 2


@pytest.mark.parametrize("status", [302, 404, 503])
async def test_a_destination_that_fails_is_named_without_its_address_and_tried_again(
    make: Make, receiver: Receiver, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.status = status
    alerts = await make()
    (delivery,) = alerts.deliveries
    await until(lambda: len(receiver.texts) >= 2 and bool(delivery.problem))
    assert delivery.problem == f"127.0.0.1 answered with status {status}."
    receiver.status = 200
    await until(lambda: not delivery.problem)
    assert delivery.sent is not None
    assert SECRET not in caplog.text + delivery.destination.shown
    assert SECRET not in redactor.redact(f"POST {receiver.url}")


async def test_a_test_message_says_what_became_of_it(make: Make, world: World) -> None:
    world.disk = replace(world.disk, free_bytes=900)
    alerts = await make()
    (sent,) = await alerts.test("chat")
    assert (sent.problem, sent.sent is not None) == ("", True)
    with pytest.raises(NotFound):
        await alerts.test("nobody")
    alerts = await make(webhooks=[{"name": "gone", "url": "http://127.0.0.1:1/x/y/z"}])
    (failed,) = await alerts.test()
    assert failed.problem == "127.0.0.1 can't be reached: Connection refused."


async def test_a_check_that_fails_by_a_defect_is_said_and_repeated(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Iterator[Any]:
        raise RuntimeError("a defect")

    monkeypatch.setattr(alerts_service, "judge", broken)
    alerts = await make()
    await until(lambda: "service's log" in alerts.problem)
    assert not alerts.stopped


async def test_a_defect_of_one_message_does_not_keep_the_next_back(
    make: Make, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("a defect")

    with monkeypatch.context() as patched:
        patched.setattr(destinations, "body_of", broken)
        alerts = await make()
        (delivery,) = alerts.deliveries
        await until(lambda: "service's log" in delivery.problem)
    await until(lambda: len(receiver.texts) == 1 and not delivery.problem)


async def test_an_alert_whose_condition_is_turned_off_ends_without_a_message(
    make: Make, world: World, receiver: Receiver, service: Any, tmp_path: Path
) -> None:
    world.disk = replace(world.disk, free_bytes=900)
    assert upkeep.note_backup(Databases.url_for(tmp_path), now=NOW)
    alerts = await make()
    await until(lambda: len(receiver.texts) == 1 and bool(alerts.on))
    await alerts.stop()
    again = await make(backup_hours=0)
    await until(lambda: not again.on)
    assert await service.store.list_alerts() == ()
    assert len(receiver.texts) == 1


async def test_a_backup_by_the_command_is_known(service: Any, tmp_path: Path) -> None:
    assert await service.store.fetch_last_backup() is None
    assert upkeep.note_backup(Databases.url_for(tmp_path), now=NOW)
    assert await service.store.fetch_last_backup() == NOW


@pytest.mark.parametrize(
    ("traits", "said"),
    [
        ({"webhooks": [{"url": "ftp://x"}]}, r"webhooks\[0\]: its URL must begin"),
        ({"webhooks": [{"url_file": "/nowhere"}]}, "url_file: /nowhere can't be read"),
        ({"webhooks": [{"uri": "https://x"}]}, "'uri' is not known"),
        (
            {"webhooks": [{"url": "https://x", "format": "xml"}]},
            "format must be one of slack, json",
        ),
        ({"webhooks": [], "email_to": ["a@example.org"]}, "email_from is missing"),
        ({"token_expires": "soon"}, "token_expires must be a day"),
        ({"webhooks": [{"url_env": "NOT_THERE"}]}, "the variable NOT_THERE is not set"),
        ({"public_url": "https://[hub"}, "public_url: .* is not a URL"),
    ],
)
async def test_a_wrong_option_is_named_and_no_address_is(
    make: Make, traits: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        await make(**traits)


async def test_a_url_comes_from_a_file_or_a_variable(
    make: Make, receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hook").write_text(f"{receiver.url}\n")
    monkeypatch.setitem(os.environ, "THE_HOOK", receiver.url)
    hooks = [{"url_file": str(tmp_path / "hook")}, {"url_env": "THE_HOOK"}]
    alerts = await make(webhooks=hooks)
    tested = await alerts.test()
    assert [each.problem for each in tested] == ["", ""]


# --- E-mail, with a real server -----------------------------------------------------------------


class Postbox:
    """Keeps what it is sent; refuses one receiver."""

    def __init__(self) -> None:
        self.messages: list[Any] = []

    async def handle_RCPT(self, *args: Any) -> str:
        address = args[3]
        if address.startswith("nobody@"):
            return "550 no such person"
        args[2].rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        self.messages.append(envelope)
        return "250 OK"


async def test_mail_arrives_and_a_refusal_is_said() -> None:
    postbox = Postbox()
    (port,) = free_ports(1)
    controller = Controller(postbox, hostname="127.0.0.1", port=port)
    await asyncio.to_thread(controller.start)
    try:
        box = Mailbox(
            "127.0.0.1", port, "none", "", "", "hub@example.org", ("a@example.org", "b@example.org")
        )
        await Mail(box).send(NOTICE)
        (envelope,) = postbox.messages
        assert envelope.rcpt_tos == ["a@example.org", "b@example.org"]
        assert b"Subject: [hub] Disk Bcc: x@example.org" in envelope.content
        with pytest.raises(UpstreamUnavailable, match="no such person"):
            await Mail(replace(box, receivers=("nobody@example.org",))).send(NOTICE)
        with pytest.raises(UpstreamUnavailable, match="does not offer STARTTLS"):
            await Mail(replace(box, security="starttls")).send(NOTICE)
        secret = replace(box, user="hub", password="a long password")
        with pytest.raises(UpstreamUnavailable) as caught:
            await Mail(secret).send(NOTICE)
        assert "a long password" not in str(caught.value)
    finally:
        await asyncio.to_thread(controller.stop)
