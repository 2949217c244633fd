"""Alerts and TLS: mail with a login, and when a certificate expires."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from ssl import SSLContext
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

from jupyterhub_binder.demo.hub import free_ports
from jupyterhub_binder.errors import UpstreamUnavailable
from jupyterhub_binder.maintenance.alerts.certificates import fetch_expiry
from jupyterhub_binder.maintenance.alerts.destinations import Mail, Mailbox
from jupyterhub_binder.model.alerts import Notice
from tests.kit.certificates import make_certificate


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SSLContext]:
    folder = tmp_path_factory.mktemp("tls")
    return folder / "cert.pem", make_certificate(folder)


@dataclass
class Postbox:
    """A mail server that wants a login, and that only after STARTTLS."""

    port: int
    subjects: list[bytes] = field(default_factory=list)

    def log_in(self, _server: Any, _session: Any, _env: Any, _how: str, data: Any) -> AuthResult:
        wanted = LoginPassword(b"hub", b"a long password")
        return AuthResult(success=data == wanted, handled=False)

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        self.subjects += [line for line in envelope.content.splitlines() if b"Subject" in line]
        return "250 OK"


@pytest.fixture
def postbox(secured: tuple[Path, SSLContext], monkeypatch: pytest.MonkeyPatch) -> Iterator[Postbox]:
    certificate, context = secured
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    (port,) = free_ports(1)
    box = Postbox(port)
    controller = Controller(
        box,
        hostname="127.0.0.1",
        port=port,
        tls_context=context,
        require_starttls=True,
        authenticator=box.log_in,
        auth_required=True,
    )
    controller.start()
    yield box
    controller.stop()


async def test_mail_logs_in_only_behind_tls(
    postbox: Postbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    notice = Notice("begins", "disk", "Disk", "It is full.", "now")
    box = Mailbox(
        "127.0.0.1",
        postbox.port,
        "starttls",
        "hub",
        "a long password",
        "hub@example.org",
        ("a@b.c",),
    )
    await Mail(box).send(notice)
    assert postbox.subjects == [b"Subject: Disk"]
    with pytest.raises(UpstreamUnavailable, match="did not accept the message"):
        await Mail(replace(box, password="wrong")).send(notice)
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(UpstreamUnavailable, match="certificate verify failed"):
        await Mail(box).send(notice)
    assert len(postbox.subjects) == 1


async def test_the_expiry_of_a_certificate_that_nobody_vouches_for_is_read(
    secured: tuple[Path, SSLContext],
) -> None:
    server = await asyncio.start_server(
        lambda _reader, writer: writer.close(), "127.0.0.1", 0, ssl=secured[1]
    )
    async with server:
        port = server.sockets[0].getsockname()[1]
        expires = await fetch_expiry(f"https://127.0.0.1:{port}/hub/")
    assert expires is not None
    assert timedelta(days=1) < expires - datetime.now(UTC) < timedelta(days=2)
    assert await fetch_expiry(f"https://127.0.0.1:{port}/hub/") is None
    assert await fetch_expiry("http://127.0.0.1/hub/") is None
