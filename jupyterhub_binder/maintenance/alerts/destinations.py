"""Where alerts are sent: webhooks and e-mail. Their addresses are secrets and never shown."""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from jupyterhub_binder.errors import UpstreamUnavailable
from jupyterhub_binder.model.alerts import Notice
from jupyterhub_binder.utils.http import environment_proxy, why_unanswered
from jupyterhub_binder.utils.redact import redactor
from jupyterhub_binder.utils.validation import one_line

TIMEOUT_SECONDS = 15.0
_MAX_TEXT = 2000


class Destination(ABC):
    """One place that messages are sent to."""

    def __init__(self, name: str, shown: str) -> None:
        self.name = name
        self.shown = shown
        """What people may see of its address."""

    @abstractmethod
    async def send(self, notice: Notice) -> None:
        """Send once. Raises UpstreamUnavailable, with the address left out."""


class Webhook(Destination):
    """Posts JSON: Slack's ``{"text": ...}``, which Mattermost and Zulip take, or all fields."""

    def __init__(self, name: str, url: str, *, form: str, session: aiohttp.ClientSession) -> None:
        parts = urlsplit(url)
        super().__init__(name, parts.hostname or "")
        redactor.add([url, parts.path, parts.query])
        self._url = URL(url, encoded=True)
        self._form = form
        self._session = session

    async def send(self, notice: Notice) -> None:
        """Post the message; a redirect is not followed."""
        try:
            async with self._session.post(
                self._url,
                json=body_of(notice, self._form),
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS),
                proxy=environment_proxy(self._url),
            ) as response:
                status = response.status
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            why = redactor.redact(why_unanswered(error))
            raise UpstreamUnavailable(
                "%(host)s can't be reached: %(why)s.", host=self.shown, why=why
            ) from None
        if not 200 <= status < 300:
            raise UpstreamUnavailable(
                "%(host)s answered with status %(status)s.", host=self.shown, status=status
            )


def body_of(notice: Notice, form: str) -> Mapping[str, Any]:
    """Return the JSON of a message."""
    if form == "slack":
        return {"text": f"{_plain(notice.subject)}\n{_plain(notice.text)}"}
    return {
        "event": notice.event,
        "alert": notice.alert,
        "subject": notice.subject,
        "text": notice.text,
        "time": notice.time,
    }


def _plain(text: str) -> str:
    """Escape what Slack reads as markup, so that no name mentions everybody."""
    text = text[:_MAX_TEXT].replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return text.replace("@", "@\u200b")


@dataclass(frozen=True, slots=True)
class Mailbox:
    """How e-mail is sent."""

    host: str
    port: int
    security: str
    """``starttls``, ``tls`` or ``none``."""
    user: str
    password: str
    sender: str
    receivers: tuple[str, ...]


class Mail(Destination):
    """Sends e-mail in a thread, because `smtplib` blocks."""

    def __init__(self, mailbox: Mailbox) -> None:
        super().__init__("email", ", ".join(mailbox.receivers))
        redactor.add([mailbox.password] if mailbox.password else [])
        self._mailbox = mailbox

    async def send(self, notice: Notice) -> None:
        """Send the message to all receivers."""
        try:
            await asyncio.to_thread(self._send, message_of(notice, self._mailbox))
        except (OSError, smtplib.SMTPException, ValueError) as error:
            why = redactor.redact(one_line(str(error)))[:200]
            host = self._mailbox.host
            raise UpstreamUnavailable(
                "%(host)s did not accept the message: %(why)s", host=host, why=why
            ) from None

    def _send(self, message: EmailMessage) -> None:
        box = self._mailbox
        context = ssl.create_default_context()
        if box.security == "tls":
            client: smtplib.SMTP = smtplib.SMTP_SSL(
                box.host, box.port, timeout=TIMEOUT_SECONDS, context=context
            )
        else:
            client = smtplib.SMTP(box.host, box.port, timeout=TIMEOUT_SECONDS)
        with client:
            if box.security == "starttls":
                client.ehlo_or_helo_if_needed()
                if not client.has_extn("starttls"):
                    raise UpstreamUnavailable(
                        "%(host)s does not offer STARTTLS on port %(port)s. Check Alerts.smtp_port "
                        "and Alerts.smtp_security.",
                        host=box.host,
                        port=box.port,
                    )
                client.starttls(context=context)
            if box.user:
                client.login(box.user, box.password)
            client.send_message(message)


def message_of(notice: Notice, mailbox: Mailbox) -> EmailMessage:
    """Return an e-mail that no machine answers."""
    message = EmailMessage()
    message["Subject"] = one_line(notice.subject)[:200]
    message["From"] = mailbox.sender
    message["To"] = ", ".join(mailbox.receivers)
    message["Date"] = formatdate()
    message["Message-ID"] = make_msgid(domain=mailbox.sender.rpartition("@")[2] or None)
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(notice.text)
    return message
