"""What one client can cost the portal: search, waiting places, rates, bodies, and file sizes."""

import asyncio
import json
import os
import time
from pathlib import Path

import httpx2
import pytest
from starlette.responses import PlainTextResponse

from adhoc_reports.lib import available, intake, outputs
from adhoc_reports.lib.available import Available
from adhoc_reports.lib.intake import Postponed
from adhoc_reports.portal import api, archive, guard, office
from adhoc_reports.portal.archive import Entry
from adhoc_reports.portal.guard import Guard, RateLimit, sender_of
from taxi_shared import storage
from taxi_shared.storage import DataRoot

from .portal import FORM, QUESTION, Portal, portal_at


@pytest.fixture
def portal(tmp_path):
    with portal_at(DataRoot.at(str(tmp_path))) as portal:
        yield portal


def look_again() -> None:
    time.sleep(1.1)


# Search


@pytest.mark.parametrize("path", ["/reports", "/api/reports"])
def test_search_longer_than_the_limit_is_refused(portal, path):
    longest = "m" * api.MAX_SEARCH_CHARACTERS
    assert portal.client.get(path, params={"q": longest}).status_code == 200
    refused = portal.client.get(path, params={"q": f"{longest}m"})
    assert refused.status_code == 422
    assert "Search for at most 200 characters." in refused.text


def test_search_text_is_computed_once_per_entry(portal, monkeypatch):
    for name in ("a", "b", "c"):
        portal.answer(name)
    computed = []
    compute = Entry.text.func
    monkeypatch.setattr(Entry.text, "func", lambda entry: computed.append(entry) or compute(entry))
    for _ in range(2):
        found = portal.client.get("/api/reports", params={"q": "manhattan 2023-01 json"}).json()
        assert found["total"] == 3
        look_again()
    assert len(computed) == 3


def test_unchanged_entries_survive_a_look(portal):
    portal.put("a", json.dumps(QUESTION))
    portal.put("b", json.dumps(QUESTION))
    reports = portal.app.state.office.archive
    before = reports.look().entries
    portal.answer("b")
    after = reports.look().entries
    assert after["a"] is before["a"]
    assert not before["b"].is_answered
    assert after["b"].is_answered


def test_long_names_in_a_url_are_refused_by_length(portal):
    for path in ("/reports/{}", "/reports/{}/chart.png", "/api/reports/{}/numbers.csv"):
        assert portal.client.get(path.format("x" * 20_000)).status_code == 404


# Waiting places


def test_one_sender_cannot_take_all_waiting_places(portal, monkeypatch):
    monkeypatch.setattr(office, "MAX_WAITING_PER_SENDER", 2)
    for name in ("a", "b"):
        assert portal.client.post("/", data={**FORM, "name": name}).status_code == 303
    page = portal.client.post("/", data={**FORM, "name": "c"})
    answer = portal.client.post("/api/requests", json={**QUESTION, "name": "c"})
    for refused in (page, answer):
        assert refused.status_code == 429
        assert refused.headers["retry-after"] == "60"
        assert "You have 2 requests waiting, the most allowed." in refused.text
    assert sorted(portal.requests()) == ["a", "b"]
    other = send(portal, user="anna", name="c")
    assert other.status_code == 201


def test_answered_requests_free_the_sender_s_places(portal, monkeypatch):
    monkeypatch.setattr(office, "MAX_WAITING_PER_SENDER", 1)
    assert portal.client.post("/", data={**FORM, "name": "a"}).status_code == 303
    assert portal.client.post("/", data={**FORM, "name": "b"}).status_code == 429
    portal.answer("a")
    look_again()
    portal.client.get("/")
    assert portal.client.post("/", data={**FORM, "name": "b"}).status_code == 303


def test_trying_again_takes_a_waiting_place(portal, monkeypatch):
    monkeypatch.setattr(office, "MAX_WAITING_PER_SENDER", 1)
    portal.client.post("/", data={**FORM, "name": "a"})
    portal.dagster.add(portal.run_key("a"), "FAILURE")
    outputs_path = outputs.failure_path(portal.root, "a")
    failure = {"request": "a.json", "reason": "x", "details": "", "run_id": "r"}
    storage.write_text(outputs_path, json.dumps({**failure, "run_key": portal.run_key("a")}))
    look_again()
    portal.client.get("/")
    assert portal.client.post("/", data={**FORM, "name": "b"}).status_code == 303
    refused = portal.client.post("/reports/a/again")
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "60"


def test_requests_sent_at_once_share_the_places(portal, monkeypatch):
    monkeypatch.setattr(office, "MAX_WAITING_PER_SENDER", 2)

    async def story() -> list[int]:
        transport = httpx2.ASGITransport(portal.app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://testserver") as client:
            sent = (client.post("/", data={**FORM, "name": f"r{n}"}) for n in range(8))
            return [answer.status_code for answer in await asyncio.gather(*sent)]

    with portal_at(portal.root) as fresh:
        portal.app = fresh.app
        assert sorted(asyncio.run(story())) == [303] * 2 + [429] * 6


def send(portal: Portal, user: str, name: str) -> httpx2.Response:
    """Send a request as a user whom a trusted proxy has named."""

    async def with_user(scope, receive, send):
        await portal.app({**scope, "user_name": user}, receive, send)

    async def story() -> httpx2.Response:
        transport = httpx2.ASGITransport(with_user)
        async with httpx2.AsyncClient(transport=transport, base_url="http://testserver") as client:
            return await client.post("/api/requests", json={**QUESTION, "name": name})

    return asyncio.run(story())


# Senders and rates


@pytest.mark.parametrize(
    ("host", "user", "expected"),
    [
        ("192.0.2.1", "", "192.0.2.1"),
        ("192.0.2.1", "anna", "user anna"),
        ("2001:db8:1:2:3:4:5:6", "", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", "", "192.0.2.1"),
        ("fe80::1%eth0", "", "fe80::/64"),
        ("testclient", "", "testclient"),
    ],
)
def test_sender_is_the_user_or_the_network(host, user, expected):
    assert sender_of({"client": (host, 1), "user_name": user}) == expected


def test_sender_without_address_is_empty():
    assert sender_of({"client": None}) == ""


def test_many_addresses_do_not_reset_the_rate_limit(monkeypatch):
    monkeypatch.setattr(guard, "MAX_CLIENTS", 3)
    limit = RateLimit(burst=1, per_second=1, clock=lambda: 0.0)
    assert limit.seconds_to_wait("a") == 0
    for other in "bcdefg":
        assert limit.seconds_to_wait(other) == 0
        assert limit.seconds_to_wait("a") == 1
    assert limit.seconds_to_wait("e") == 0  # evicted
    assert limit.seconds_to_wait("a") == 1


def test_users_of_one_address_are_limited_by_name(tmp_path):
    limit = RateLimit(burst=1, per_second=1, clock=lambda: 0.0)
    with portal_at(DataRoot.at(str(tmp_path)), limit) as portal:
        statuses = [send(portal, user, user).status_code for user in ("anna", "ben", "anna")]
    assert statuses == [201, 201, 429]


# Bodies


def test_body_that_trickles_is_refused_and_closed(monkeypatch):
    monkeypatch.setattr(guard, "BODY_SECONDS", 0.05)
    status, headers = post_slowly(piece=b"x", pause=0.02)
    assert (status, headers[b"connection"]) == (408, b"close")


def test_body_in_time_may_be_answered_late(monkeypatch):
    monkeypatch.setattr(guard, "BODY_SECONDS", 0.05)
    status, _ = post_slowly(piece=b"", pause=0.0, answer_after=0.1)
    assert status == 200


def post_slowly(piece: bytes, pause: float, answer_after: float = 0.0):
    """Status and headers of the answer to a body that comes in pieces, endless unless empty."""
    sent = []

    async def app(scope, receive, send):
        while (await receive()).get("more_body"):
            pass
        waiting = asyncio.create_task(receive())
        await asyncio.sleep(answer_after)
        assert not waiting.done()
        waiting.cancel()
        await PlainTextResponse("ok")(scope, receive, send)

    messages = iter([{"type": "http.request", "body": b"", "more_body": False}])

    async def receive():
        if piece:
            await asyncio.sleep(pause)
            return {"type": "http.request", "body": piece, "more_body": True}
        if message := next(messages, None):
            return message
        return await asyncio.sleep(60, {"type": "http.disconnect"})

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/", "headers": [], "client": ("a", 1)}
    guarded = Guard(app, RateLimit(), RateLimit())
    asyncio.run(guarded(scope, receive, send))
    return sent[0]["status"], dict(sent[0]["headers"])


# Files


@pytest.fixture
def secret(tmp_path) -> Path:
    """A file outside of the folders of requests and outputs."""
    path = tmp_path / "secret"
    path.write_text(json.dumps(QUESTION))
    return path


def test_bounded_reads_take_regular_files_only(tmp_path, secret):
    folder = storage.at(str(tmp_path))
    (tmp_path / "link").symlink_to(secret)
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    assert storage.read_bounded(folder / "secret", 1000) == secret.read_bytes()
    for name in ("link", "folder", "pipe"):
        with pytest.raises(storage.UnsafeFile, match=name):
            storage.read_bounded(folder / name, 1000)
    with pytest.raises(storage.UnsafeFile, match="at most 5 bytes"):
        storage.read_bounded(folder / "secret", 5)


def test_linked_request_is_rejected_and_not_shown(portal, secret):
    portal.root.requests.mkdir()
    (portal.root.requests / "x.json").symlink_to(secret)
    look_again()
    found = portal.client.get("/api/reports/x").json()
    assert (found["state"], found["question"]) == ("rejected", None)
    assert "x.json is a symbolic link; expected a file" in found["reason"]
    assert portal.client.post("/", data={**FORM, "name": "x"}).status_code == 409


def test_link_made_after_the_listing_is_not_followed(tmp_path, secret):
    folder = storage.at(str(tmp_path))
    (tmp_path / "x.json").write_text(json.dumps(QUESTION))
    files = intake.list_requests(folder)
    (tmp_path / "x.json").unlink()
    (tmp_path / "x.json").symlink_to(secret)
    (outcome,) = intake.read(folder, files)
    assert isinstance(outcome, Postponed)


def test_linked_outputs_are_neither_read_nor_served(portal, secret):
    portal.answer("jan")
    for path in map(Path, map(str, portal.root.outputs.iterdir())):
        path.rename(secret.with_name(path.name))
        path.symlink_to(secret.with_name(path.name))
    for path in ("/reports/jan/chart.png", "/api/reports/jan/numbers.csv", "/api/reports/jan"):
        assert portal.client.get(path).status_code == 404
    assert available.told(portal.root) == Available()


def test_outputs_larger_than_the_limit_are_not_read(portal, monkeypatch):
    portal.answer("jan")
    monkeypatch.setattr(api, "MAX_FILE_BYTES", 3)
    monkeypatch.setattr(archive, "MAX_REPORT_BYTES", 3)
    monkeypatch.setattr(available, "MAX_BYTES", 3)
    for path in ("/reports/jan/chart.png", "/api/reports/jan"):
        assert portal.client.get(path).status_code == 404
    assert available.told(portal.root) == Available()


@pytest.mark.parametrize("by_hour", [[], [[1] * 7], [[1]] * 24, [[-1] * 7] * 24])
def test_report_of_another_shape_breaks_no_page(portal, by_hour):
    report = portal.answer("jan").model_dump(mode="json")
    storage.write_text(
        outputs.report_path(portal.root, "jan"), json.dumps({**report, "by_hour": by_hour})
    )
    answer = portal.client.get("/api/reports")
    assert (answer.status_code, answer.json()["total"]) == (200, 0)


@pytest.mark.parametrize("seconds", [1e12, -1e10])
def test_file_of_any_time_breaks_no_page(portal, seconds):
    portal.put("jan", json.dumps(QUESTION))
    os.utime(str(portal.root.requests / "jan.json"), (seconds, seconds))
    for path in ("/", "/reports", "/reports/jan", "/api/reports"):
        assert portal.client.get(path).status_code == 200
