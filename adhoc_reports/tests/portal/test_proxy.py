"""The portal behind proxies: below a path, under another Host, and asked with HEAD."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import pytest

from adhoc_reports.portal.address import base_path
from adhoc_reports.portal.app import Options
from taxi_shared.storage import DataRoot
from taxi_shared.web import allowed_hosts

from .support import FORM, QUESTION, Portal, new_portal

PUBLIC = "https://intranet.example.com"


def portal_behind(root: DataRoot, hosts: str, path: str, address: str) -> Portal:
    """A portal with settings, and a client that reaches it by an address."""
    options = Options(hosts=allowed_hosts(hosts), base_path=base_path(path))
    return new_portal(root, options, address)


@pytest.fixture
def root(tmp_path: Path) -> DataRoot:
    """A data root in a folder."""
    return DataRoot.at(str(tmp_path))


@pytest.fixture
def below(root: DataRoot) -> Iterator[Portal]:
    """A portal at https://intranet.example.com/taxi/, whose proxy keeps Host and path."""
    portal = portal_behind(root, "intranet.example.com", "/taxi/", PUBLIC)
    with portal.client:
        yield portal


@pytest.fixture
def rewritten(root: DataRoot) -> Iterator[Portal]:
    """The same, whose proxy removes the path and calls the portal by another name."""
    portal = portal_behind(root, f"portal, {PUBLIC}", "/taxi", "http://portal:8000")
    with portal.client:
        yield portal


def addresses(page: str) -> set[str]:
    """The addresses that a page links to or loads."""
    return set(re.findall(r'(?:href|src|action|data-follow)="(/[^"#?]*)', page))


def test_every_address_of_a_page_is_below_the_path(below: Portal) -> None:
    below.answer("jan")
    below.client.post("/taxi/", data={**FORM, "name": "waits"})
    for page in ("", "reports", "reports/jan", "reports/waits", "api", "nothing"):
        found = addresses(below.client.get(f"/taxi/{page}").text)
        assert found
        assert all(address.startswith("/taxi/") for address in found)
        for address in found - {"/taxi/reports/jan/again"}:
            assert below.client.get(address).status_code == 200


def test_form_leads_to_the_report_below_the_path(below: Portal) -> None:
    sent = below.client.post("/taxi/", data={**FORM, "name": "jan"}, headers={"origin": PUBLIC})
    assert (sent.status_code, sent.headers["location"]) == (303, "/taxi/reports/jan")
    page = below.client.get(sent.headers["location"]).text
    assert 'data-follow="/taxi/api/reports/jan"' in page
    assert f'<a href="{PUBLIC}/taxi/reports/jan">' in page
    assert f"curl {PUBLIC}/taxi/api/requests" in below.client.get("/taxi/api").text


def test_api_gives_addresses_below_the_path(below: Portal) -> None:
    below.answer("feb")
    sent = below.client.post("/taxi/api/requests", json={**QUESTION, "name": "jan"})
    assert (sent.status_code, sent.headers["location"]) == (201, "/taxi/api/reports/jan")
    done = below.client.get("/taxi/api/reports/feb").json()
    assert done["page"] == "/taxi/reports/feb"
    assert below.client.get(done["chart"]).content == b"\x89PNG"
    assert below.client.get(done["numbers"]).status_code == 200
    assert below.client.get("/taxi/api/openapi.json").json()["servers"] == [{"url": "/taxi"}]
    assert below.client.get("/taxi/api/nothing").json()["reason"] == "There is no such report."


def test_redirects_of_slashes_stay_below_the_path(below: Portal, rewritten: Portal) -> None:
    for portal, path in ((below, "/taxi/reports/"), (rewritten, "/reports/")):
        sent = portal.client.get(path)
        assert (sent.status_code, sent.headers["location"]) == (307, f"{PUBLIC}/taxi/reports")


def test_path_alone_is_the_first_page(below: Portal) -> None:
    for path in ("/taxi", "/taxi/"):
        assert "<h1>How do people" in below.client.get(path).text


def test_health_is_answered_with_and_without_the_path(below: Portal) -> None:
    for path in ("/healthz", "/taxi/healthz"):
        assert below.client.get(path).text == "ok"


def test_proxy_may_change_host_and_remove_the_path(rewritten: Portal) -> None:
    for headers in ({"origin": PUBLIC}, {"origin": PUBLIC, "sec-fetch-site": "same-origin"}):
        sent = rewritten.client.post("/", data={**FORM, "name": "jan"}, headers=headers)
        assert (sent.status_code, sent.headers["location"]) == (303, "/taxi/reports/jan")
    page = rewritten.client.get("/reports/jan").text
    assert f'<a href="{PUBLIC}/taxi/reports/jan">' in page
    assert urlsplit(urljoin(PUBLIC, min(addresses(page)))).netloc == "intranet.example.com"


@pytest.mark.parametrize(
    ("hosts", "host", "headers", "status"),
    [
        (
            "reports.example.com",
            "reports.example.com",
            {"origin": "https://reports.example.com"},
            303,
        ),
        ("reports.example.com:8443", "reports.example.com:8443", {}, 303),
        # The proxy changes Host, and no setting says so.
        ("portal", "portal:8000", {"origin": PUBLIC}, 403),
        (f"portal,{PUBLIC}", "portal:8000", {"origin": PUBLIC}, 303),
        (f"portal,{PUBLIC}/", "portal:8000", {"origin": PUBLIC}, 303),
        (f"portal,{PUBLIC}:443", "portal:8000", {"origin": PUBLIC}, 303),
        (PUBLIC, "intranet.example.com", {"origin": PUBLIC}, 303),
        (f"portal,{PUBLIC}", "portal:8000", {"origin": "http://intranet.example.com"}, 403),
        (f"portal,{PUBLIC}", "portal:8000", {"origin": f"{PUBLIC}:8443"}, 403),
        (f"portal,{PUBLIC}", "portal:8000", {"origin": f"{PUBLIC}.evil.example"}, 403),
        (f"portal,{PUBLIC}", "portal:8000", {"origin": "https://evil.example"}, 403),
        (f"portal,{PUBLIC}", "portal:8000", {"origin": "null"}, 403),
        (
            f"portal,{PUBLIC}",
            "portal:8000",
            {"origin": PUBLIC, "sec-fetch-site": "cross-site"},
            403,
        ),
        (f"portal,{PUBLIC}", "evil.example", {"origin": PUBLIC}, 400),
        # Headers of a client change nothing.
        ("portal", "portal", {"origin": PUBLIC, "x-forwarded-host": "intranet.example.com"}, 403),
        ("portal", "evil.example", {"x-forwarded-host": "portal"}, 400),
    ],
)
def test_origin_and_host_must_be_those_of_the_settings(
    root: DataRoot, hosts: str, host: str, headers: dict[str, str], status: int
) -> None:
    portal = portal_behind(root, hosts, "", f"http://{host}")
    with portal.client:
        assert portal.client.post("/", data=FORM, headers=headers).status_code == status


def test_forwarded_prefix_of_a_client_changes_no_address(root: DataRoot) -> None:
    portal = portal_behind(root, "portal", "", "http://portal")
    with portal.client:
        page = portal.client.get("/", headers={"x-forwarded-prefix": "/evil"}).text
        assert "evil" not in page


@pytest.mark.parametrize(
    ("setting", "path"), [("", ""), ("/", ""), ("/taxi", "/taxi"), ("/a/b_c-1/", "/a/b_c-1")]
)
def test_base_path_has_no_trailing_slash(setting: str, path: str) -> None:
    assert base_path(setting) == path


@pytest.mark.parametrize(
    "setting", ["taxi", "//taxi", "/a//b", "/../x", '/"x', "/é", "/reports", "/api/x", "/static/"]
)
def test_invalid_base_path_is_named(setting: str) -> None:
    with pytest.raises(ValueError, match=f"TAXI_PORTAL_PATH is {re.escape(repr(setting))}"):
        base_path(setting)


@pytest.mark.parametrize(
    "path",
    [
        "/healthz",
        "/",
        "/reports",
        "/reports/jan",
        "/reports/jan/chart.png",
        "/reports/jan/numbers.csv",
        "/api",
        "/api/reports",
        "/api/reports/jan",
        "/api/reports/jan/chart.png",
        "/api/reports/jan/numbers.csv",
        "/api/available",
        "/api/openapi.json",
        "/static/portal.css",
        "/nothing",
    ],
)
def test_head_is_answered_as_get_without_a_body(root: DataRoot, path: str) -> None:
    portal = portal_behind(root, "", "", "http://localhost")
    portal.answer("jan")
    with portal.client:
        head, get = portal.client.head(path), portal.client.get(path)
    assert head.status_code == get.status_code
    assert head.content == b""
    for name in ("content-type", "content-length", "content-security-policy"):
        assert head.headers[name] == get.headers[name]


def test_head_sends_no_request(root: DataRoot) -> None:
    portal = portal_behind(root, "", "", "http://localhost")
    with portal.client:
        assert portal.client.head("/api/requests").status_code == 405
        assert portal.client.head("/reports/jan/again").status_code in (404, 405)
    assert not root.requests.exists()
