"""Ways to tell people: a webhook and e-mail, each on where it is configured."""

import logging
import smtplib
import ssl
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Protocol
from urllib.parse import unquote, urlsplit

import requests

from taxi_platform.alerts.message import Message
from taxi_shared import settings
from taxi_shared.secrets import secret

log = logging.getLogger("taxi_platform.alerts")

SECONDS = 20
SMTP_PORT, SMTPS_PORT = 587, 465


class NotSent(Exception):
    """A message did not reach its receiver. Says nothing of addresses that hold a secret."""


class Channel(Protocol):
    """A way to tell people."""

    @property
    def name(self) -> str: ...

    def send(self, message: Message) -> None:
        """Raises NotSent, and what `secret` raises."""


@dataclass(frozen=True)
class Webhook:
    """A POST of JSON. The address is a secret: whoever knows it may write there."""

    name: str = "webhook"

    def send(self, message: Message) -> None:
        address = secret(settings.ALERT_WEBHOOK)
        where = f"webhook at {urlsplit(address).hostname}"
        try:
            response = requests.post(address, json=message.json, timeout=SECONDS)
        except requests.RequestException as error:  # whose text has the address
            raise NotSent(f"{where}: {type(error).__name__}") from None
        if not response.ok:
            raise NotSent(f"{where}: HTTP {response.status_code}")


@dataclass(frozen=True)
class Email:
    """Mail by a server such as smtp://user@mail.example.org:587 (STARTTLS), smtps://… (TLS)."""

    server: str
    sender: str
    receivers: str
    name: str = "email"

    def send(self, message: Message) -> None:
        server = urlsplit(self.server)
        where = f"e-mail by {server.hostname}"
        try:
            with self._connect() as smtp:
                if server.username:
                    smtp.login(unquote(server.username), secret(settings.ALERT_SMTP_PASSWORD))
                refused = smtp.send_message(self._mail(message))
        except (OSError, smtplib.SMTPException) as error:
            raise NotSent(f"{where}: {error}") from None
        if refused:
            log.error("%s: refused for %s", where, ", ".join(refused))

    def _connect(self) -> smtplib.SMTP:
        server = urlsplit(self.server)
        host, tls = server.hostname or "", ssl.create_default_context()
        if server.scheme == "smtps":
            return smtplib.SMTP_SSL(host, server.port or SMTPS_PORT, timeout=SECONDS, context=tls)
        smtp = smtplib.SMTP(host, server.port or SMTP_PORT, timeout=SECONDS)
        smtp.ehlo()
        if server.username or smtp.has_extn("starttls"):  # no password goes in the clear
            smtp.starttls(context=tls)
        return smtp

    def _mail(self, message: Message) -> EmailMessage:
        mail = EmailMessage()
        mail["Subject"] = " ".join(message.title.split())
        mail["From"], mail["To"] = self.sender, self.receivers
        mail["Message-ID"] = f"<{message.id}@{self.sender.rpartition('@')[2].strip('> ')}>"
        mail.set_content(message.text)
        return mail


def configured() -> list[Channel]:
    """The channels that TAXI_ALERTS names. Raises ValueError where one's settings are missing."""
    names = [name.strip() for name in settings.get(settings.ALERTS).split(",") if name.strip()]
    return [_channel(name) for name in names]


def _channel(name: str) -> Channel:
    if name == "webhook":
        if urlsplit(secret(settings.ALERT_WEBHOOK)).scheme not in ("http", "https"):
            raise ValueError(
                f"{settings.ALERTS} has webhook; {settings.ALERT_WEBHOOK} must be its http(s) "
                "address"
            )
        return Webhook()
    if name == "email":
        server, receivers = settings.get(settings.ALERT_SMTP), settings.get(settings.ALERT_EMAIL)
        if urlsplit(server).scheme not in ("smtp", "smtps") or not urlsplit(server).hostname:
            raise ValueError(
                f"{settings.ALERTS} has email; {settings.ALERT_SMTP} is {server!r}, expected a "
                "mail server such as smtp://user@mail.example.org:587"
            )
        if "@" not in receivers:
            raise ValueError(
                f"{settings.ALERTS} has email; {settings.ALERT_EMAIL} is {receivers!r}, expected "
                "addresses, separated by commas"
            )
        sender = settings.get(settings.ALERT_SENDER) or receivers.split(",")[0].strip()
        return Email(server, sender, receivers)
    raise ValueError(f"{settings.ALERTS} has {name!r}; expected webhook, email or both")
