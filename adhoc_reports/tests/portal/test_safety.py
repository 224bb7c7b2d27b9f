"""What protects the portal and its readers: origins, hosts, headers, sizes, rates, and escaping."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from adhoc_reports.portal.app import Options, create_app
from adhoc_reports.portal.guard import MAX_BODY_BYTES, RateLimit
from taxi_shared.storage import DataRoot
from taxi_shared.web import allowed_hosts

from .support import FORM, QUESTION, Portal, portal_at


def test_pages_of_other_sites_can_send_nothing(local: Portal) -> None:
    for headers in (
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "https://elsewhere"},
        {"origin": "null"},
    ):
        for path in ("/", "/api/requests", "/reports/x/again"):
            assert local.client.post(path, data=FORM, headers=headers).status_code == 403
    assert not local.root.requests.exists()
    for headers in ({"sec-fetch-site": "same-origin"}, {"origin": "http://testserver"}):
        assert local.client.post("/", data=FORM, headers=headers).status_code == 303


def test_api_takes_json_only_which_foreign_forms_cannot_send(local: Portal) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        content, headers = json.dumps(QUESTION), {"content-type": kind}
        sent = local.client.post("/api/requests", content=content, headers=headers)
        assert sent.status_code == 422
    assert not local.root.requests.exists()


def test_unknown_hosts_are_refused(local: Portal) -> None:
    assert local.client.get("/", headers={"host": "elsewhere"}).status_code == 400


def test_health_is_answered_on_the_own_machine_by_any_name(tmp_path: Path) -> None:
    options = Options(hosts=allowed_hosts("reports.example.com, b"))
    app = create_app(DataRoot.at(str(tmp_path)), options)
    for host, status in {"127.0.0.1:8000": 200, "reports.example.com": 200, "other": 400}.items():
        client = TestClient(app, base_url=f"http://{host}")
        assert client.get("/healthz").status_code == status


def test_every_answer_has_security_headers(local: Portal) -> None:
    local.answer("jan")
    for path in ("/", "/reports/jan", "/nothing", "/static/portal.js", "/reports/jan/chart.png"):
        headers = local.client.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"


def test_large_body_is_refused_with_and_without_a_length(local: Portal) -> None:
    large = b"name=" + b"x" * MAX_BODY_BYTES
    assert local.client.post("/", content=large).status_code == 413

    def in_pieces() -> Iterator[bytes]:
        yield from (large[start : start + 1000] for start in range(0, len(large), 1000))

    for path, kind in (("/", "x-www-form-urlencoded"), ("/api/requests", "json")):
        headers = {"content-type": f"application/{kind}"}
        sent = local.client.post(path, content=in_pieces(), headers=headers)
        assert sent.status_code == 413


def test_sender_above_the_write_limit_has_to_wait(tmp_path: Path) -> None:
    now = [0.0]
    limit = RateLimit(burst=3, per_second=0.5, clock=lambda: now[0])
    options = Options(hosts=["testserver"], write_limit=limit)
    with portal_at(DataRoot.at(str(tmp_path)), options) as portal:
        answers = [portal.client.post("/", data=FORM) for _ in range(4)]
        assert [each.status_code for each in answers] == [303, 303, 303, 429]
        assert answers[-1].headers["retry-after"] == "3"
        assert portal.client.get("/").status_code == 200
        now[0] += 2
        assert portal.client.post("/", data=FORM).status_code == 303
        assert portal.client.post("/", data=FORM).status_code == 429


def test_sender_above_the_read_limit_has_to_wait(tmp_path: Path) -> None:
    limit = RateLimit(burst=2, per_second=1, clock=lambda: 0.0)
    options = Options(hosts=["testserver"], read_limit=limit)
    with portal_at(DataRoot.at(str(tmp_path)), options) as portal:
        chart = "/api/reports/x/chart.png"
        assert [portal.client.get(chart).status_code for _ in range(3)] == [404, 404, 429]
        assert portal.client.get("/healthz").status_code == 200


def test_texts_of_people_are_escaped_in_every_page(local: Portal) -> None:
    name = '<b onclick="x">\'&'
    local.put(name)  # is rejected, and shown with the reason
    sent = local.client.post("/", data={**FORM, "area": "Queens/<b>&'\"", "name": "'&"})
    for path in ("/", "/reports", f"/reports?q={name}", sent.headers["location"]):
        page = local.client.get(path)
        assert page.status_code == 200
        assert "<b" not in page.text.replace("<body", "").replace("<button", "")


def test_no_page_loads_from_another_host(local: Portal) -> None:
    local.answer("jan")
    static = ("/static/portal.css", "/static/portal.js")
    for path in ("/", "/reports", "/reports/jan", "/api", *static):
        hosts = set(re.findall(r"(?:https?:)?//([\w.-]+)", local.client.get(path).text))
        assert hosts <= {"testserver", "public", "www.w3.org"}


def test_first_page_is_small(local: Portal) -> None:
    for number in range(6):
        local.answer(f"r{number}")
    local.offer(zones={"Queens": tuple(f"A zone with a rather long name {n}" for n in range(260))})
    files = ("/", "/static/portal.css", "/static/portal.js", "/static/icon.svg")
    assert sum(len(local.client.get(path).content) for path in files) < 100_000


@pytest.mark.parametrize(
    ("module", "others"),
    [
        ("adhoc_reports.portal.__main__", "'dagster', 'pandas', 'matplotlib'"),
        ("adhoc_reports.definitions", "'fastapi', 'starlette', 'uvicorn', 'httpx2'"),
    ],
)
def test_portal_and_definitions_import_separate_frameworks(module: str, others: str) -> None:
    code = f"import sys, {module}\nprint([name for name in ({others}) if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
