"""Channels for alerts: a webhook, e-mail and the log, each active if it is configured."""

import logging
import smtplib
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import EmailMessage
from http import HTTPStatus
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

import requests

from taxi_platform.alerts.message import Message, problem_fields
from taxi_shared import settings
from taxi_shared.addresses import is_confidential, is_loopback, without_secrets
from taxi_shared.http import Credentials, Session, UnsafeCredentials
from taxi_shared.json_logs import write_line
from taxi_shared.secrets import secret

log = logging.getLogger("taxi_platform.alerts")

TIMEOUT_SECONDS = 20
SMTP_PORT, SMTPS_PORT = 587, 465


class DeliveryError(Exception):
    """A message did not reach its receiver. The text never contains a secret address."""


class Channel(Protocol):
    """A channel that sends messages to people."""

    @property
    def name(self) -> str:
        """The name in TAXI_ALERTS."""

    def send(self, message: Message) -> None:
        """Send a message. Raises DeliveryError, or SecretError where a password is missing."""


@dataclass(frozen=True)
class Webhook:
    """A POST of JSON. The address is a secret: with it, anyone can post there."""

    name: str = "webhook"

    def send(self, message: Message) -> None:
        """Post a message as JSON. Raises DeliveryError or SecretError."""
        try:
            address = _webhook_address()
        except ValueError as error:
            raise DeliveryError(str(error)) from None
        where = f"webhook at {urlsplit(address).hostname}"
        try:
            # A redirect is a failure: message and secret are meant for this address only.
            with (
                Session(Credentials.in_address(address)) as session,
                session.post(
                    address,
                    json=message.json,
                    timeout=TIMEOUT_SECONDS,
                    allow_redirects=False,
                    stream=True,  # the body of the response is not read
                ) as response,
            ):
                status = response.status_code
        except (requests.RequestException, UnsafeCredentials) as error:
            # The error's text contains the address.
            raise DeliveryError(f"{where}: {type(error).__name__}") from None
        if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            raise DeliveryError(f"{where}: HTTP {status}")


@dataclass(frozen=True)
class Email:
    """E-mail by a server such as smtp://user@mail.example.org:587 (STARTTLS) or smtps://… (TLS).

    Only a server on this machine may be unencrypted.
    """

    server: str
    sender: str
    receivers: str
    name: str = "email"

    def send(self, message: Message) -> None:
        """Send a message to all receivers. Raises DeliveryError or SecretError."""
        server = urlsplit(self.server)
        where = f"e-mail by {server.hostname}"
        try:
            with self._connect() as smtp:
                if server.username:
                    smtp.login(unquote(server.username), secret("alert_smtp_password"))
                refused = smtp.send_message(self._mail(message))
        except (OSError, smtplib.SMTPException) as error:
            raise DeliveryError(f"{where}: {error}") from None
        if refused:
            log.error("%s: refused for %s", where, ", ".join(refused))

    def _connect(self) -> smtplib.SMTP:
        server = urlsplit(self.server)
        host, tls = server.hostname or "", ssl.create_default_context()
        if server.scheme == "smtps":
            return smtplib.SMTP_SSL(
                host, server.port or SMTPS_PORT, timeout=TIMEOUT_SECONDS, context=tls
            )
        smtp = smtplib.SMTP(host, server.port or SMTP_PORT, timeout=TIMEOUT_SECONDS)
        smtp.ehlo()
        if smtp.has_extn("starttls") or server.username or not is_loopback(host):
            try:
                smtp.starttls(context=tls)
            except smtplib.SMTPNotSupportedError:
                smtp.close()
                raise DeliveryError(
                    f"e-mail by {host}: the server does not offer STARTTLS, without which others "
                    f"could read the mail; set TAXI_ALERT_SMTP to smtps://{host}, or to a "
                    "server that offers it"
                ) from None
        return smtp

    def _mail(self, message: Message) -> EmailMessage:
        mail = EmailMessage()
        mail["Subject"] = " ".join(message.title.split())
        mail["From"], mail["To"] = self.sender, self.receivers
        mail["Message-ID"] = f"<{message.id}@{self.sender.rpartition('@')[2].strip('> ')}>"
        mail.set_content(message.text)
        return mail


@dataclass(frozen=True)
class Log:
    """A line of JSON per problem on standard output, for the agent that collects logs.

    metrics: add CloudWatch's metric `failures`
    """

    metrics: bool
    name: str = "log"

    def send(self, message: Message) -> None:
        """Write the problems. Raises DeliveryError where standard output is closed."""
        try:
            for problem in message.problems:
                write_line(_log_fields(problem_fields(problem, message.ui)), self.metrics)
        except OSError as error:
            raise DeliveryError(f"log on standard output: {error}") from None


def configured() -> list[Channel]:
    """The channels that TAXI_ALERTS names. Raises ValueError if a setting of one is missing."""
    names = settings.load().alerts
    return [_channel(name) for name in names]


def _webhook_address() -> str:
    """The address, which is a secret. Raises ValueError, whose text does not contain it."""
    address = secret("alert_webhook").strip()
    if urlsplit(address).scheme not in ("http", "https") or not is_confidential(address):
        raise ValueError(
            "TAXI_ALERTS has webhook; TAXI_ALERT_WEBHOOK must be its https:// address "
            "(http:// only for a receiver on this machine, as others could read the address)"
        )
    return address


def _log_fields(problem: Mapping[str, str]) -> dict[str, Any]:
    """A problem with the fields that the lines of runs have."""
    return {
        "severity": problem["severity"].upper(),
        "message": problem["what"],
        "kind": "alert",
        "problem": problem["kind"],
        "location": problem["location"],
        "error": problem["reason"],
        "since": problem["since"],
        "link": problem["link"],
        "failures": 1,
    }


def _channel(name: str) -> Channel:
    if name == "log":
        return Log(settings.load().log_format == "emf")
    if name == "webhook":
        _webhook_address()
        return Webhook()
    if name == "email":
        server, receivers = settings.load().alert_smtp, settings.load().alert_email
        if urlsplit(server).scheme not in ("smtp", "smtps") or not urlsplit(server).hostname:
            raise ValueError(
                f"TAXI_ALERTS has email; TAXI_ALERT_SMTP is "
                f"{without_secrets(server)!r}, expected a "
                "mail server such as smtp://user@mail.example.org:587"
            )
        if "@" not in receivers:
            raise ValueError(
                f"TAXI_ALERTS has email; TAXI_ALERT_EMAIL is {receivers!r}, expected "
                "addresses, separated by commas"
            )
        sender = settings.load().alert_sender or receivers.split(",")[0].strip()
        for setting, value in (("TAXI_ALERT_EMAIL", receivers), ("TAXI_ALERT_SENDER", sender)):
            if len(value.splitlines()) > 1:
                raise ValueError(f"{setting} is {value!r}; expected addresses without line breaks")
        return Email(server, sender, receivers)
    raise ValueError(f"TAXI_ALERTS has {name!r}; expected webhook, email or log")
