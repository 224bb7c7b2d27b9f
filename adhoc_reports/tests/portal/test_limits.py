"""What one client can cost the portal: waiting places, rates, and slow bodies."""

import asyncio
from pathlib import Path

import httpx2
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from adhoc_reports.portal import guard, service
from adhoc_reports.portal.app import Options
from adhoc_reports.portal.guard import Guard, RateLimit, sender_of
from taxi_shared.storage import DataRoot

from .support import FORM, QUESTION, Portal, portal_at, text

# Waiting places


def test_one_sender_cannot_take_all_waiting_places(
    local: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MAX_WAITING_PER_SENDER", 2)
    for name in ("a", "b"):
        assert local.client.post("/", data={**FORM, "name": name}).status_code == 303
    page = local.client.post("/", data={**FORM, "name": "c"})
    answer = local.client.post("/api/requests", json={**QUESTION, "name": "c"})
    for refused in (page, answer):
        assert refused.status_code == 429
        assert refused.headers["retry-after"] == "60"
        assert "You have 2 requests waiting, the most allowed." in refused.text
    assert sorted(local.requests()) == ["a", "b"]
    other = send(local, user="anna", name="c")
    assert other.status_code == 201


def test_all_waiting_places_are_limited(local: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    assert service.MAX_WAITING > 200
    monkeypatch.setattr(service, "MAX_WAITING", 2)
    local.put("by hand")
    assert local.client.post("/", data={**FORM, "name": "a"}).status_code == 303
    refused = local.client.post("/", data={**FORM, "name": "b"})
    assert refused.status_code == 503
    assert "Too many requests are waiting" in text(refused)


@pytest.mark.parametrize("settle", ["answer", "fail"])
def test_settled_requests_free_their_places(
    local: Portal, monkeypatch: pytest.MonkeyPatch, settle: str
) -> None:
    monkeypatch.setattr(service, "MAX_WAITING", 1)
    monkeypatch.setattr(service, "MAX_WAITING_PER_SENDER", 1)
    assert local.client.post("/", data={**FORM, "name": "a"}).status_code == 303
    assert local.client.post("/", data={**FORM, "name": "b"}).status_code == 429
    getattr(local, settle)("a")
    assert local.client.post("/", data={**FORM, "name": "b"}).status_code == 303


def test_trying_again_takes_a_waiting_place(local: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MAX_WAITING_PER_SENDER", 1)
    local.client.post("/", data={**FORM, "name": "a"})
    local.fail("a")
    assert local.client.post("/", data={**FORM, "name": "b"}).status_code == 303
    refused = local.client.post("/reports/a/again")
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "60"


def test_concurrent_requests_share_the_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MAX_WAITING_PER_SENDER", 2)

    async def send_all(portal: Portal) -> list[int]:
        transport = httpx2.ASGITransport(portal.app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://testserver") as client:
            sent = (client.post("/", data={**FORM, "name": f"r{n}"}) for n in range(8))
            return [answer.status_code for answer in await asyncio.gather(*sent)]

    with portal_at(DataRoot.at(str(tmp_path))) as portal:
        assert sorted(asyncio.run(send_all(portal))) == [303] * 2 + [429] * 6


def send(portal: Portal, user: str, name: str) -> httpx2.Response:
    """Send a request as a user whom a trusted proxy has named."""

    async def with_user(scope: Scope, receive: Receive, send: Send) -> None:
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
def test_sender_is_the_user_or_the_network(host: str, user: str, expected: str) -> None:
    assert sender_of({"client": (host, 1), "user_name": user}) == expected


def test_sender_without_address_is_empty() -> None:
    assert sender_of({"client": None}) == ""


def test_many_addresses_do_not_reset_the_rate_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "MAX_CLIENTS", 3)
    limit = RateLimit(burst=1, per_second=1, clock=lambda: 0.0)
    assert limit.seconds_to_wait("a") == 0
    for other in "bcdefg":
        assert limit.seconds_to_wait(other) == 0
        assert limit.seconds_to_wait("a") == 1
    assert limit.seconds_to_wait("e") == 0  # evicted
    assert limit.seconds_to_wait("a") == 1


def test_users_of_one_address_are_limited_by_name(tmp_path: Path) -> None:
    limit = RateLimit(burst=1, per_second=1, clock=lambda: 0.0)
    options = Options(hosts=["testserver"], write_limit=limit)
    with portal_at(DataRoot.at(str(tmp_path)), options) as portal:
        statuses = [send(portal, user, user).status_code for user in ("anna", "ben", "anna")]
    assert statuses == [201, 201, 429]


# Bodies


def test_body_that_trickles_is_refused_and_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "BODY_SECONDS", 0.05)
    status, headers = post_slowly(piece=b"x", pause=0.02)
    assert (status, headers[b"connection"]) == (408, b"close")


def test_body_in_time_may_be_answered_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "BODY_SECONDS", 0.05)
    status, _ = post_slowly(piece=b"", pause=0.0, answer_after=0.1)
    assert status == 200


def post_slowly(
    piece: bytes, pause: float, answer_after: float = 0.0
) -> tuple[int, dict[bytes, bytes]]:
    """Status and headers of the answer to a body that comes in pieces, endless unless empty."""
    sent: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        waiting = asyncio.ensure_future(receive())
        await asyncio.sleep(answer_after)
        assert not waiting.done()
        waiting.cancel()
        await PlainTextResponse("ok")(scope, receive, send)

    messages = iter([{"type": "http.request", "body": b"", "more_body": False}])

    async def receive() -> Message:
        if piece:
            await asyncio.sleep(pause)
            return {"type": "http.request", "body": piece, "more_body": True}
        if message := next(messages, None):
            return message
        return await asyncio.sleep(60, {"type": "http.disconnect"})

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/", "headers": [], "client": ("a", 1)}
    guarded = Guard(app, RateLimit(), RateLimit())
    asyncio.run(guarded(scope, receive, send))
    return sent[0]["status"], dict(sent[0]["headers"])
