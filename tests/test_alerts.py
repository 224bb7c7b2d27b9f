"""Alerts of failures in any location, received by a real HTTP endpoint and SMTP server."""

import io
import json
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default as policy
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from rich.console import Console

from taxi_platform.alerts.channels import DeliveryError, Email, Webhook, configured
from taxi_platform.alerts.message import MAX_PROBLEMS, Message
from taxi_platform.alerts.watcher import QUIET_SECONDS, State, Watcher
from taxi_platform.graphql import GraphQL
from taxi_platform.instance import Instance, free_port
from taxi_platform.problems import Problem
from taxi_platform.status import show
from taxi_platform.workspace import Location
from tests.waiting import wait_for, wait_for_status

FAILING = """
from pathlib import Path
import dagster as dg

WHERE = Path(__file__).parent.name
DUBIOUS = dg.AssetKey([WHERE, "dubious"])

@dg.asset(key_prefix=WHERE)
def unlucky() -> None:
    raise ValueError("the moon is in the wrong house")

@dg.asset(key=DUBIOUS, check_specs=[
    dg.AssetCheckSpec("must_hold", asset=DUBIOUS, blocking=True),
    dg.AssetCheckSpec("should_hold", asset=DUBIOUS),
    dg.AssetCheckSpec("holds", asset=DUBIOUS)])
def dubious():
    yield dg.MaterializeResult(asset_key=DUBIOUS)
    for name, passed, severity in (("must_hold", False, dg.AssetCheckSeverity.ERROR),
                                   ("should_hold", False, dg.AssetCheckSeverity.WARN),
                                   ("holds", True, dg.AssetCheckSeverity.ERROR)):
        yield dg.AssetCheckResult(asset_key=DUBIOUS, check_name=name, passed=passed,
                                  severity=severity, description=f"{name}: 7 of 9")

@dg.sensor(target=[unlucky], minimum_interval_seconds=1,
           default_status=dg.DefaultSensorStatus.RUNNING)
def broken_sensor():
    raise RuntimeError("the door stays closed")

@dg.schedule(target=[dubious], cron_schedule="* * * * *",
             default_status=dg.DefaultScheduleStatus.RUNNING)
def broken_schedule():
    raise RuntimeError("the clock has stopped")

class Broken(dg.AutomationCondition[dg.AssetKey]):
    def evaluate(self, context):
        raise RuntimeError("the condition cannot tell")

@dg.asset(key_prefix=WHERE, automation_condition=Broken())
def automated() -> None: ...

defs = dg.Definitions(
    assets=[unlucky, dubious, automated],
    jobs=[dg.define_asset_job("unlucky_job", [unlucky]),
          dg.define_asset_job("dubious_job", [dubious])],
    sensors=[broken_sensor, dg.AutomationConditionSensorDefinition(
        "broken_automation", target=[automated], minimum_interval_seconds=1,
        default_status=dg.DefaultSensorStatus.RUNNING, use_user_code_server=True)],
    schedules=[broken_schedule],
    executor=dg.in_process_executor,
)
"""


@dataclass
class Receiver:
    """A webhook: what it was sent, and the status that it answers."""

    address: str
    status: int = 200
    received: list[dict[str, Any]] = field(default_factory=list)
    refused: int = 0
    authorizations: list[str | None] = field(default_factory=list)

    @property
    def problems(self) -> list[dict[str, Any]]:
        return [problem for message in self.received for problem in message["problems"]]

    @property
    def subjects(self) -> set[tuple[str, str, str]]:
        """Kind, location and text of each problem, without its count."""
        return {(p["kind"], p["location"], p["what"].split(",")[0]) for p in self.problems}


@pytest.fixture
def webhook() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.authorizations.append(self.headers.get("Authorization"))
            if receiver.status == 200:
                receiver.received.append(json.loads(body))
            else:
                receiver.refused += 1
            self.send_response(receiver.status)
            if receiver.status == 307:
                self.send_header("Location", "/moved")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver = Receiver(f"http://127.0.0.1:{server.server_port}/services/T0KEN")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield receiver
    server.shutdown()
    server.server_close()


@dataclass
class Mailbox:
    """An SMTP server's mail."""

    port: int
    mails: list[EmailMessage] = field(default_factory=list)
    receivers: list[list[str]] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "\n".join(str(mail.get_content()) for mail in self.mails)

    async def handle_DATA(  # noqa: N802 - aiosmtpd calls this name
        self, server: object, session: object, envelope: Any
    ) -> str:
        self.mails.append(message_from_bytes(envelope.content, EmailMessage, policy=policy))
        self.receivers.append(envelope.rcpt_tos)
        return "250 OK"


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    box = Mailbox(free_port())
    controller = Controller(box, hostname="127.0.0.1", port=box.port)
    controller.start()
    yield box
    controller.stop()


def problem(key: str, first: float = 1_000.0, last: float | None = None, **values: Any) -> Problem:
    values = {"kind": "run", "severity": "error", "location": "adhoc_reports"} | values
    return Problem(
        key=key,
        what=f"{key} failed",
        reason="because",
        path=f"/runs/{key}",
        first=first,
        last=first if last is None else last,
        **values,
    )


# Kind, location and text of each problem that two locations of FAILING report.
EXPECTED = {
    (kind, where, f"{kind} {name} failed")
    for where in ("north", "south")
    for kind, name in (
        ("sensor", "broken_sensor"),
        ("sensor", "broken_automation"),
        ("schedule", "broken_schedule"),
    )
} | {
    ("run", "north", "unlucky_job failed"),
    ("run", "south", "unlucky_job failed"),
    ("run", "south", "dubious_job failed"),  # by its blocking check
    ("check", "south", "check must_hold of south/dubious did not pass"),
    ("check", "south", "check should_hold of south/dubious did not pass"),
}


@pytest.fixture
def served(tmp_path: Path) -> list[Location]:
    """Two locations in which everything fails."""
    found = []
    for name in ("north", "south"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "failing.py").write_text(FAILING)
        found.append(Location(name, "failing", folder, Path(sys.executable)))
    return found


def wait_for_polls(home: Path) -> None:
    """Wait for two polls of the watcher, each of which may find new problems."""
    for _ in range(2):
        polled = State.load(home / "alerts.json", time.time()).polled_at
        wait_for(partial(polled_after, home, polled), "a poll of the watcher")


def polled_after(home: Path, moment: float) -> bool:
    return State.load(home / "alerts.json", time.time()).polled_at > moment


@pytest.mark.system
def test_each_failure_is_sent_once_by_webhook_and_email(
    tmp_path: Path, webhook: Receiver, mailbox: Mailbox, served: list[Location]
) -> None:
    environment = {
        "TAXI_ALERTS": "webhook, email",
        "TAXI_ALERT_WEBHOOK": webhook.address,
        "TAXI_ALERT_SMTP": f"smtp://127.0.0.1:{mailbox.port}",
        "TAXI_ALERT_EMAIL": "night@example.org, day@example.org",
        "TAXI_UI_URL": "https://dagster.example.org/",
    }
    webhook.status = 503  # the receiver is down at first
    home = tmp_path / "home"
    with Instance(home, environment=environment, served=served) as instance:
        graphql = instance.graphql
        runs = [graphql.launch(where, "unlucky_job") for where in ("north", "south")]
        runs.append(graphql.launch("south", "dubious_job"))
        for run_id in runs:
            wait_for_status(graphql, run_id)
        wait_for(lambda: webhook.refused, "a try to send")
        webhook.status = 200
        # A schedule is due once a minute; the other problems are sent before it.
        wait_for(
            lambda: webhook.subjects >= EXPECTED,
            lambda: f"sending {EXPECTED - webhook.subjects} after {webhook.subjects}",
        )
        wait_for_polls(home)  # sensors that fail every few seconds are not sent again
        assert webhook.subjects == EXPECTED
        assert len(webhook.problems) == len(EXPECTED)
        check_fields(webhook, runs[0])
        # The mail server was there from the start: its messages come at other times.
        wait_for(lambda: all(text in mailbox.text for _, _, text in EXPECTED), "mail")
        assert mailbox.text.count(runs[0]) == 1
        assert mailbox.receivers[0] == ["night@example.org", "day@example.org"]
        assert "T0KEN" not in instance.log("alerts").read_text()

        console = Console(record=True, width=200, file=io.StringIO())
        assert not show(graphql, console)
        text = console.export_text()
        assert "✗ check must_hold of south/dubious did not pass in south" in text
        assert "! check should_hold of south/dubious did not pass in south" in text

    sent, mails = len(webhook.problems), len(mailbox.mails)
    state = State.load(home / "alerts.json", time.time())
    assert {key for key in state.reported if key.startswith("run")} == {
        f"run {run}" for run in runs
    }
    assert not any(state.outbox.values())

    # The next start finds the same failed runs and checks, and ticks that go on failing: nothing
    # is sent again.
    with Instance(home, environment=environment, served=served):
        wait_for_polls(home)
        wait_for(lambda: not any(State.load(home / "alerts.json", 0).outbox.values()), "sending")
    assert webhook.problems[sent:] == []
    assert mailbox.mails[mails:] == []


def check_fields(webhook: Receiver, run_id: str) -> None:
    """Check the fields of the problems that a webhook has received."""
    found = {(p["location"], p["what"].split(",")[0]): p for p in webhook.problems}
    run = found["north", "unlucky_job failed"]
    assert run["link"] == f"https://dagster.example.org/runs/{run_id}"
    assert "the moon is in the wrong house" in run["reason"]
    assert run["team"] == "north"
    assert run["since"].endswith("+00:00")
    error = found["south", "check must_hold of south/dubious did not pass"]
    assert error["severity"] == "error"
    warning = found["south", "check should_hold of south/dubious did not pass"]
    assert (warning["severity"], warning["reason"]) == ("warning", "should_hold: 7 of 9")
    assert "the door stays closed" in found["north", "sensor broken_sensor failed"]["reason"]
    assert "cannot tell" in found["south", "sensor broken_automation failed"]["reason"]


class Unreliable:
    """A channel that fails while it is down."""

    name = "unreliable"

    def __init__(self) -> None:
        self.down = True
        self.sent: list[Message] = []

    def send(self, message: Message) -> None:
        if self.down:
            raise DeliveryError("no connection")
        self.sent.append(message)


def test_unsent_problems_survive_a_restart_and_are_sent_once(tmp_path: Path) -> None:
    channel = Unreliable()
    path = tmp_path / "alerts.json"
    graphql = GraphQL("http://127.0.0.1:9")
    watcher = Watcher(graphql, [channel], path, "http://ui")
    watcher.state.add([problem("run 1"), problem("run 2", 1_001)], ["unreliable"], 1_002)
    watcher.state.save(path)
    watcher.send()
    watcher.poll()  # nothing answers: it stays as it was

    channel.down = False
    again = Watcher(graphql, [channel], path, "http://ui")
    again.send()
    again.send()
    (message,) = channel.sent
    assert [p.key for p in message.problems] == ["run 1", "run 2"]
    assert Watcher(graphql, [channel], path, "http://ui").state.outbox == {"unreliable": []}


def test_failing_channel_does_not_delay_others(tmp_path: Path) -> None:
    broken, working = Unreliable(), Unreliable()
    working.name, working.down = "working", False
    watcher = Watcher(
        GraphQL("http://127.0.0.1:9"), [broken, working], tmp_path / "a.json", "http://ui"
    )
    watcher.state.add([problem("run 1")], ["unreliable", "working"], 1_002)
    watcher.send()
    assert [len(message.problems) for message in working.sent] == [1]
    assert len(watcher.state.outbox["unreliable"]) == 1


def test_failing_sensor_is_reported_again_after_a_quiet_hour() -> None:
    state = State(polled_at=0)
    for now in range(1_000, 5_000, 15):  # fails at every look for more than an hour
        ticks = problem("sensor x", now - 10, now - 5, kind="sensor")
        state.add([ticks], ["webhook"], now)
    assert len(state.outbox["webhook"]) == 1
    later = 5_000 + QUIET_SECONDS
    state.add([problem("sensor x", later - 5, kind="sensor")], ["webhook"], later)
    assert len(state.outbox["webhook"]) == 2


def test_location_that_does_not_load_is_reported_once() -> None:
    state = State(polled_at=0)
    for now in range(1_000, 9_000, 15):
        state.add([problem("location x", 0, 0, kind="location")], ["webhook"], now)
    (reported,) = state.outbox["webhook"]
    assert reported.first == 1_000


def test_many_problems_are_one_message_of_limited_length() -> None:
    message = Message([problem(f"run {n}") for n in range(500)], "http://ui")
    assert len(message.json["problems"]) == MAX_PROBLEMS
    assert message.json["left_out"] == 500 - MAX_PROBLEMS
    assert "and 450 more: http://ui" in message.text
    assert message.title == "[adhoc_reports] error: run 0 failed and 499 more"


def test_without_a_setting_there_are_no_alerts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TAXI_ALERTS", raising=False)
    assert configured() == []


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"TAXI_ALERTS": "pager"}, "TAXI_ALERTS has 'pager'; expected webhook, email or log"),
        ({"TAXI_ALERTS": "webhook"}, "TAXI_ALERT_WEBHOOK must be its https://"),
        (
            {"TAXI_ALERTS": "webhook", "TAXI_ALERT_WEBHOOK": "http://hooks.example.org/T0KEN"},
            "TAXI_ALERT_WEBHOOK must be its https:// address",
        ),
        ({"TAXI_ALERTS": "email"}, "TAXI_ALERT_SMTP is '', expected a mail server such as smtp:"),
        (
            {"TAXI_ALERTS": "email", "TAXI_ALERT_SMTP": "smtp://x", "TAXI_ALERT_EMAIL": "me"},
            "TAXI_ALERT_EMAIL is 'me', expected addresses",
        ),
        (
            {
                "TAXI_ALERTS": "email",
                "TAXI_ALERT_SMTP": "smtp://x",
                "TAXI_ALERT_EMAIL": "a@x",
                "TAXI_ALERT_SENDER": "b@x\nBcc: c@x",
            },
            "expected addresses without line breaks",
        ),
    ],
)
def test_incomplete_settings_name_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], reason: str
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=reason.replace("(", "\\(")) as refused:
        configured()
    assert "T0KEN" not in str(refused.value)


def test_unencrypted_mail_is_sent_to_this_machine_only(
    mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = Message([problem("run 1")], "http://ui")
    email = Email(f"smtp://127.0.0.1:{mailbox.port}", "a@example.org", "b@example.org")
    email.send(message)
    assert len(mailbox.mails) == 1
    monkeypatch.setattr("taxi_platform.alerts.channels.is_loopback", lambda host: False)
    with pytest.raises(
        DeliveryError, match=r"not offer STARTTLS.* set TAXI_ALERT_SMTP to smtps://127"
    ):
        email.send(message)
    assert len(mailbox.mails) == 1


def test_password_in_the_mail_server_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAXI_ALERTS", "email")
    monkeypatch.setenv("TAXI_ALERT_SMTP", "http://me:hunter2@mail.example.org")
    with pytest.raises(ValueError, match=r"is 'http://mail\.example\.org', expected"):
        configured()


def test_line_break_in_a_name_adds_no_mail_header(mailbox: Mailbox) -> None:
    message = Message([problem("run 1\r\nBcc: c@example.org")], "http://ui")
    Email(f"smtp://127.0.0.1:{mailbox.port}", "a@example.org", "b@example.org").send(message)
    (mail,) = mailbox.mails
    assert mail["Bcc"] is None
    assert "run 1 Bcc: c@example.org failed" in mail["Subject"]


def test_text_for_chats_shows_markup_as_written() -> None:
    name = "<!channel> & <http://evil|click>"
    checked = replace(problem(name), reason=name, path="/assets/a?view=checks&checkDetail=b")
    message = Message([checked], "http://ui")
    text = message.json["text"]
    assert "<" not in text
    assert ">" not in text
    assert text.count("&lt;!channel&gt; &amp; &lt;http://evil|click&gt;") == 3
    assert "link: http://ui/assets/a?view=checks&checkDetail=b" in text
    assert message.json["problems"][0]["reason"] == name
    assert f"why: {name}\n" in message.text  # of the mail


def test_webhook_gets_no_netrc_and_no_redirect(
    webhook: Receiver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "netrc").write_text("default login stray password stray\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("TAXI_ALERT_WEBHOOK", webhook.address)
    Webhook().send(Message([problem("run 1")], "http://ui"))
    assert webhook.authorizations == [None]
    webhook.status = 307
    with pytest.raises(DeliveryError, match="HTTP 307"):
        Webhook().send(Message([problem("run 1")], "http://ui"))
    assert len(webhook.authorizations) == 2


def test_state_of_an_earlier_release_is_read(tmp_path: Path) -> None:
    path = tmp_path / "alerts.json"
    outbox = {"webhook": [asdict(problem("run 1"))]}
    path.write_text(json.dumps({"looked": 5.0, "told": {"run 1": 4.0}, "outbox": outbox}))
    assert State.load(path, 9) == State(5.0, {"run 1": 4.0}, {"webhook": [problem("run 1")]})


def test_state_of_a_clock_that_was_ahead_counts_as_now(tmp_path: Path) -> None:
    path = tmp_path / "alerts.json"
    State(polled_at=900.0, reported={"sensor a": 900.0, "run 1": 4.0}).save(path)
    assert State.load(path, 9.0) == State(9.0, {"sensor a": 9.0, "run 1": 4.0})


def test_only_its_owner_can_read_the_state_of_alerts(tmp_path: Path) -> None:
    path = tmp_path / "alerts.json"
    path.write_text("{}")
    State(polled_at=0).save(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert State.load(path, 1).polled_at == 0


def test_password_of_the_webserver_is_not_logged_or_linked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = "http://me:hunter2@127.0.0.1:9"
    watcher = Watcher(GraphQL(url), [], tmp_path / "alerts.json", url)
    watcher.poll()
    assert watcher.ui == "http://127.0.0.1:9"
    assert "Could not query http://127.0.0.1:9" in caplog.text
    assert "hunter2" not in caplog.text
