"""Alerts of what goes wrong in any location, received by a real HTTP endpoint and SMTP server."""

import io
import json
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from email import message_from_bytes
from email.message import Message as Mail
from email.policy import default as policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from rich.console import Console
from taxi_platform.alerts.watch import QUIET_SECONDS, State, Watch

from taxi_platform.alerts.channels import Email, NotSent, Webhook, configured
from taxi_platform.alerts.message import MOST_PROBLEMS, Message
from taxi_platform.graphql import FINISHED, GraphQL
from taxi_platform.instance import Instance, free_port
from taxi_platform.problems import Problem
from taxi_platform.status import show
from taxi_platform.workspace import Location

SECONDS = 90
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
    raise RuntimeError("nobody answers the door")

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
    mails: list[Mail] = field(default_factory=list)
    receivers: list[list[str]] = field(default_factory=list)

    async def handle_DATA(self, server: object, session: object, envelope: Any) -> str:
        self.mails.append(message_from_bytes(envelope.content, policy=policy))
        self.receivers.append(envelope.rcpt_tos)
        return "250 OK"


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    box = Mailbox(free_port())
    controller = Controller(box, hostname="127.0.0.1", port=box.port)
    controller.start()
    yield box
    controller.stop()


def wait_for(condition, what):
    deadline = time.monotonic() + SECONDS
    while not (found := condition()):
        assert time.monotonic() < deadline, (
            f"not in {SECONDS} s: {what if isinstance(what, str) else what()}"
        )
        time.sleep(0.2)
    return found


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


@pytest.mark.system
def test_what_fails_in_any_location_is_told_once_by_webhook_and_by_mail(tmp_path, webhook, mailbox):
    served = []
    for name in ("north", "south"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "failing.py").write_text(FAILING)
        served.append(Location(name, "failing", folder, Path(sys.executable)))
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
        checked = graphql.launch("south", "dubious_job")
        for run_id in [*runs, checked]:
            wait_for(lambda run_id=run_id: graphql.run_status(run_id) in FINISHED, "a run's end")
        wait_for(lambda: webhook.refused, "a try to send")
        webhook.status = 200

        def told() -> set[tuple[str, str, str]]:
            return {(p["kind"], p["location"], p["what"].split(",")[0]) for p in webhook.problems}

        expected = {
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
        # A schedule is due once a minute; what came first was told without it.
        wait_for(
            lambda: told() >= expected, lambda: f"telling {expected - told()}, told is {told()}"
        )
        time.sleep(35)  # two more looks, at sensors that fail every few seconds
        assert told() == expected
        assert len(webhook.problems) == len(expected)

        by_what = {(p["location"], p["what"].split(",")[0]): p for p in webhook.problems}
        run = by_what["north", "unlucky_job failed"]
        assert run["link"] == f"https://dagster.example.org/runs/{runs[0]}"
        assert "the moon is in the wrong house" in run["reason"]
        assert run["team"] == "north"
        assert run["since"].endswith("+00:00")
        assert (
            by_what["south", "check must_hold of south/dubious did not pass"]["severity"] == "error"
        )
        warning = by_what["south", "check should_hold of south/dubious did not pass"]
        assert warning["severity"] == "warning"
        assert warning["reason"] == "should_hold: 7 of 9"
        assert (
            "nobody answers the door" in by_what["north", "sensor broken_sensor failed"]["reason"]
        )
        assert "cannot tell" in by_what["south", "sensor broken_automation failed"]["reason"]

        def mailed() -> str:
            return "\n".join(str(mail.get_content()) for mail in mailbox.mails)

        # The mail server was there from the start: its messages come at other times.
        wait_for(lambda: all(text in mailed() for _, _, text in expected), mailed)
        assert mailed().count(runs[0]) == 1
        assert mailbox.receivers[0] == ["night@example.org", "day@example.org"]
        assert "T0KEN" not in instance.log("alerts").read_text()

        console = Console(record=True, width=200, file=io.StringIO())
        assert not show(graphql, console)
        text = console.export_text()
        assert "✗ check must_hold of south/dubious did not pass in south" in text
        assert "! check should_hold of south/dubious did not pass in south" in text

    count = len(webhook.problems)
    mails = len(mailbox.mails)
    state = State.load(home / "alerts.json", time.time())
    assert {key for key in state.told if key.startswith("run")} == {
        f"run {run}" for run in [*runs, checked]
    }
    assert not any(state.outbox.values())

    # Nobody is told again by the next start, at which the same runs and checks have failed. (The
    # daemon's ticks go on failing meanwhile: of those nobody is told before a quiet hour.)
    begin = time.time()
    with Instance(home, environment=environment, served=served):
        for _ in range(2):
            looked = State.load(home / "alerts.json", 0).looked
            wait_for(
                lambda looked=looked: State.load(home / "alerts.json", 0).looked > looked, "a look"
            )
        assert State.load(home / "alerts.json", 0).looked > begin
        wait_for(lambda: not any(State.load(home / "alerts.json", 0).outbox.values()), "sending")
    assert webhook.problems[count:] == []
    assert mailbox.mails[mails:] == []


class Unreliable:
    """A channel that fails when told to."""

    name = "unreliable"

    def __init__(self) -> None:
        self.down = True
        self.sent: list[Message] = []

    def send(self, message: Message) -> None:
        if self.down:
            raise NotSent("nobody there")
        self.sent.append(message)


def test_what_could_not_be_sent_is_kept_over_a_restart_and_sent_once(tmp_path):
    channel = Unreliable()
    path = tmp_path / "alerts.json"
    graphql = GraphQL("http://127.0.0.1:9")
    watch = Watch(graphql, [channel], path, "http://ui")
    watch.state.take([problem("run 1"), problem("run 2", 1_001)], ["unreliable"], 1_002)
    watch.state.save(path)
    watch.send()
    watch.look()  # nothing answers: it stays as it was

    channel.down = False
    again = Watch(graphql, [channel], path, "http://ui")
    again.send()
    again.send()
    (message,) = channel.sent
    assert [p.key for p in message.problems] == ["run 1", "run 2"]
    assert Watch(graphql, [channel], path, "http://ui").state.outbox == {"unreliable": []}


def test_one_channel_that_is_down_holds_up_no_other(tmp_path):
    broken, working = Unreliable(), Unreliable()
    working.name, working.down = "working", False
    watch = Watch(
        GraphQL("http://127.0.0.1:9"), [broken, working], tmp_path / "a.json", "http://ui"
    )
    watch.state.take([problem("run 1")], ["unreliable", "working"], 1_002)
    watch.send()
    assert [len(message.problems) for message in working.sent] == [1]
    assert len(watch.state.outbox["unreliable"]) == 1


def test_a_sensor_that_goes_on_failing_is_told_once_and_again_after_a_quiet_hour():
    state = State(looked=0)
    for now in range(1_000, 5_000, 15):  # fails at every look for more than an hour
        ticks = problem("sensor x", now - 10, now - 5, kind="sensor")
        state.take([ticks], ["webhook"], now)
    assert len(state.outbox["webhook"]) == 1
    later = 5_000 + QUIET_SECONDS
    state.take([problem("sensor x", later - 5, kind="sensor")], ["webhook"], later)
    assert len(state.outbox["webhook"]) == 2


def test_a_location_that_does_not_load_is_told_once_while_it_lasts():
    state = State(looked=0)
    for now in range(1_000, 9_000, 15):
        state.take([problem("location x", 0, 0, kind="location")], ["webhook"], now)
    (told,) = state.outbox["webhook"]
    assert told.first == 1_000


def test_a_storm_is_one_message_of_bounded_length():
    message = Message([problem(f"run {n}") for n in range(500)], "http://ui")
    assert len(message.json["problems"]) == MOST_PROBLEMS
    assert message.json["left_out"] == 500 - MOST_PROBLEMS
    assert "and 450 more: http://ui" in message.text
    assert message.title == "[adhoc_reports] error: run 0 failed and 499 more"


def test_without_a_setting_there_are_no_alerts(monkeypatch):
    monkeypatch.delenv("TAXI_ALERTS", raising=False)
    assert configured() == []


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"TAXI_ALERTS": "pager"}, "TAXI_ALERTS has 'pager'; expected webhook, email or both"),
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
def test_half_a_configuration_is_refused_with_what_is_missing(monkeypatch, settings, reason):
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=reason.replace("(", "\\(")) as refused:
        configured()
    assert "T0KEN" not in str(refused.value)


def test_mail_in_clear_is_sent_to_this_machine_only(mailbox, monkeypatch):
    message = Message([problem("run 1")], "http://ui")
    email = Email(f"smtp://127.0.0.1:{mailbox.port}", "a@example.org", "b@example.org")
    email.send(message)
    assert len(mailbox.mails) == 1
    monkeypatch.setattr("taxi_platform.alerts.channels.is_loopback", lambda host: False)
    with pytest.raises(NotSent, match=r"not offer STARTTLS.* set TAXI_ALERT_SMTP to smtps://127"):
        email.send(message)
    assert len(mailbox.mails) == 1


def test_password_in_the_mail_server_is_not_shown(monkeypatch):
    monkeypatch.setenv("TAXI_ALERTS", "email")
    monkeypatch.setenv("TAXI_ALERT_SMTP", "http://me:hunter2@mail.example.org")
    with pytest.raises(ValueError, match=r"is 'http://mail\.example\.org', expected"):
        configured()


def test_line_break_in_a_name_adds_no_mail_header(mailbox):
    message = Message([problem("run 1\r\nBcc: c@example.org")], "http://ui")
    Email(f"smtp://127.0.0.1:{mailbox.port}", "a@example.org", "b@example.org").send(message)
    (mail,) = mailbox.mails
    assert mail["Bcc"] is None
    assert "run 1 Bcc: c@example.org failed" in mail["Subject"]


def test_text_for_chats_shows_markup_as_written():
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


def test_webhook_gets_no_netrc_and_no_redirect(webhook, monkeypatch, tmp_path):
    (tmp_path / "netrc").write_text("default login stray password stray\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("TAXI_ALERT_WEBHOOK", webhook.address)
    Webhook().send(Message([problem("run 1")], "http://ui"))
    assert webhook.authorizations == [None]
    webhook.status = 307
    with pytest.raises(NotSent, match="HTTP 307"):
        Webhook().send(Message([problem("run 1")], "http://ui"))
    assert len(webhook.authorizations) == 2


def test_state_of_alerts_is_for_its_owner_alone(tmp_path):
    path = tmp_path / "alerts.json"
    path.write_text("{}")
    State(looked=0).save(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert State.load(path, 1).looked == 0


def test_password_of_the_webserver_is_not_logged_or_linked(tmp_path, caplog):
    url = "http://me:hunter2@127.0.0.1:9"
    watch = Watch(GraphQL(url), [], tmp_path / "alerts.json", url)
    watch.look()
    assert watch.ui == "http://127.0.0.1:9"
    assert "http://127.0.0.1:9 does not tell" in caplog.text
    assert "hunter2" not in caplog.text
