"""An attacker against a started instance and portal: web pages, run configs, slow clients."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests
from playwright.sync_api import Page, sync_playwright

from taxi_platform.graphql import FINISHED, GraphQLError
from taxi_platform.instance import Instance, free_port

pytestmark = pytest.mark.system

MUTATION = 'mutation { startSchedule(scheduleSelector: {repositoryLocationName: "ingestion", \
repositoryName: "__repository__", scheduleName: "trip_update_schedule"}) { __typename } }'
QUERY = "{ version }"
CROSS_SITE = {
    "sec-fetch-site": "cross-site",
    "sec-fetch-mode": "no-cors",
    "sec-fetch-dest": "image",
}
LINK = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
HALF_OPEN = 500


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """An instance with a portal on an empty data root."""
    base = tmp_path_factory.mktemp("attacked")
    environment = {"TAXI_DATA_ROOT": str(base / "data"), "TLC_SOURCE_URL": str(base / "source")}
    with Instance(
        base / "home", daemon=False, portal_port=free_port(), environment=environment
    ) as instance:
        yield instance


@pytest.fixture
def unchanged(instance: Instance) -> Iterator[None]:
    """Whatever the test sends, the schedule stays stopped and no run begins."""
    before = _state(instance)
    yield
    assert _state(instance) == before


def _state(instance: Instance) -> Any:
    return instance.graphql.ask(
        """{ runsOrError { ... on Runs { results { runId } } }
             scheduleOrError(scheduleSelector: {repositoryLocationName: "ingestion",
               repositoryName: "__repository__", scheduleName: "trip_update_schedule"}) {
               ... on Schedule { scheduleState { status } } } }"""
    )


def _send(instance: Instance, method: str = "POST", **request: Any) -> requests.Response:
    return requests.request(method, f"{instance.url}/graphql", timeout=30, **request)


@pytest.mark.usefixtures("unchanged")
def test_an_image_of_another_site_starts_nothing(instance: Instance) -> None:
    sent = _send(instance, "GET", params={"query": MUTATION}, headers=CROSS_SITE)
    assert sent.status_code == 403


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("headers", [{}, LINK, {"sec-fetch-site": "none"}])
def test_no_get_runs_a_mutation(instance: Instance, headers: dict[str, str]) -> None:
    sent = _send(instance, "GET", params={"query": MUTATION}, headers=headers)
    assert (sent.status_code, sent.headers["allow"]) == (405, "POST")


def test_no_get_evaluates_a_sensor(instance: Instance) -> None:
    query = """{ sensorOrError(sensorSelector: {repositoryLocationName: "adhoc_reports",
        repositoryName: "__repository__", sensorName: "adhoc_request_sensor"}) {
        ... on Sensor { nextTick { evaluationResult { skipReason } } } } }"""
    assert _send(instance, "GET", params={"query": query}).status_code == 405


def test_pages_cannot_be_framed_by_other_sites(instance: Instance) -> None:
    for address, expected in ((instance.url, "SAMEORIGIN"), (f"{instance.portal_url}/", "DENY")):
        assert requests.get(address, timeout=30).headers["x-frame-options"] == expected


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({}, 415),
    ],
)
def test_a_form_starts_nothing(instance: Instance, headers: dict[str, str], status: int) -> None:
    sent = _send(instance, params={"query": MUTATION}, data={"x": "y"}, headers=headers)
    assert sent.status_code == status


@pytest.mark.usefixtures("unchanged")
def test_json_sent_as_plain_text_starts_nothing(instance: Instance) -> None:
    body = json.dumps({"query": MUTATION})
    for headers, status in (({"origin": "http://evil.example"}, 403), ({}, 415)):
        sent = _send(instance, data=body, headers={"content-type": "text/plain", **headers})
        assert sent.status_code == status


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("host", ["evil.example:3000", "127.0.0.1.evil.example", "localhost.evil"])
def test_unknown_host_names_are_refused(instance: Instance, host: str) -> None:
    sent = _send(instance, json={"query": MUTATION}, headers={"host": host})
    assert sent.status_code == 400
    portal = requests.get(f"{instance.portal_url}/", headers={"host": host}, timeout=30)
    assert portal.status_code == 400


def _handshake(instance: Instance, *headers: str) -> str:
    """The status line that a WebSocket's handshake is answered with."""
    host, port = instance.url.removeprefix("http://").split(":")
    lines = (
        *("GET /graphql HTTP/1.1", f"Host: {host}:{port}", "Upgrade: websocket"),
        *("Connection: Upgrade", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
        *("Sec-WebSocket-Version: 13", "Sec-WebSocket-Protocol: graphql-ws", *headers),
    )
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall("\r\n".join((*lines, "", "")).encode())
        return connection.recv(1000).decode().partition("\r\n")[0]


def test_a_websocket_is_opened_for_own_pages_alone(instance: Instance) -> None:
    refused: tuple[tuple[str, ...], ...] = (
        ("Origin: http://evil.example",),
        ("Origin: null",),
        (f"Origin: {instance.url}", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: websocket"),
        ("Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"),
    )
    for headers in refused:
        assert " 403 " in _handshake(instance, *headers)
    allowed = ((f"Origin: {instance.url}",), ("Sec-Fetch-Site: same-origin",), ())
    for headers in allowed:
        assert " 101 " in _handshake(instance, *headers)


def test_command_line_clients_and_links_still_work(instance: Instance) -> None:
    assert _send(instance, json={"query": QUERY}).json()["data"]["version"]
    assert _send(instance, "GET", params={"query": QUERY}).json()["data"]["version"]
    for address in (instance.url, f"{instance.url}/runs", f"{instance.portal_url}/"):
        assert requests.get(address, headers=LINK, timeout=30).status_code == 200
        framed = {**LINK, "sec-fetch-dest": "iframe"}
        assert requests.get(address, headers=framed, timeout=30).status_code == 403


class _EvilSite(BaseHTTPRequestHandler):
    """A page of another site that tries each way a browser has to send something."""

    target = ""

    def do_GET(self) -> None:
        page = f"""<!doctype html><body><iframe name="hidden"></iframe><script>
          const query = {json.dumps(MUTATION)}, url = "{self.target}/graphql";
          const link = url + "?query=" + encodeURIComponent(query);
          new Image().src = link;
          const form = document.createElement("form");
          form.method = "POST"; form.action = link; form.target = "hidden";
          document.body.append(form); form.submit();
          const body = JSON.stringify({{query}});
          const ways = [fetch(link, {{mode: "no-cors"}}),
                        fetch(url, {{method: "POST", mode: "no-cors", body}}),
                        fetch(url, {{method: "POST", body,
                                     headers: {{"content-type": "application/json"}}}})];
          navigator.sendBeacon(url, body);
          const socket = new WebSocket(url.replace("http", "ws"), "graphql-ws");
          const closed = new Promise(done => {{
            socket.onopen = () => done("opened"); socket.onerror = () => done("refused"); }});
          Promise.allSettled(ways).then(() => closed).then(how => {{ document.title = how; }});
        </script>"""
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(page.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def page(chromium: str) -> Iterator[Page]:
    with sync_playwright() as browsers:
        # A name of the attacker's own that leads to this machine, as after DNS rebinding.
        rules = "--host-resolver-rules=MAP *.example 127.0.0.1"
        browser = browsers.chromium.launch(executable_path=chromium, args=["--no-sandbox", rules])
        yield browser.new_page()
        browser.close()


@pytest.mark.browser
@pytest.mark.usefixtures("unchanged")
def test_a_real_browser_on_another_site_starts_nothing(instance: Instance, page: Page) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _EvilSite)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        port = instance.url.rpartition(":")[2]
        for target in (instance.url, f"http://localhost:{port}", f"http://evil.example:{port}"):
            _EvilSite.target = target
            page.goto(f"http://evil.example:{server.server_port}/")
            page.wait_for_function("document.title != ''", timeout=30_000)
            assert page.title() == "refused"
            link = f"{target}/graphql?query={quote(MUTATION)}"
            with page.expect_navigation():
                page.evaluate("address => { window.location = address }", link)
    finally:
        server.shutdown()
        server.server_close()


def _resource_fields(instance: Instance, location: str) -> dict[str, dict[str, str]]:
    """The fields of a location's resources and their types, as any client can query them."""
    found = instance.graphql.ask(
        """query ($selector: RepositorySelector!) {
             allTopLevelResourceDetailsOrError(repositorySelector: $selector) {
               ... on ResourceDetailsList { results {
                 name configFields { name configTypeKey } } } } }""",
        selector={"repositoryLocationName": location, "repositoryName": "__repository__"},
    )["allTopLevelResourceDetailsOrError"]["results"]
    return {
        each["name"]: {field["name"]: field["configTypeKey"] for field in each["configFields"]}
        for each in found
    }


REQUEST = {
    "filename": "a.json",
    "borough": "Manhattan",
    "start_date": "2023-01-01",
    "end_date": "2023-01-08",
}
PARTITION = {"dagster/partition": "2023-01-01"}
# By location: jobs that use all of its resources, and what a run of each needs.
JOBS: dict[str, list[tuple[str, dict[str, str], dict[str, Any]]]] = {
    "ingestion": [("trip_update_job", PARTITION, {})],
    "analytics": [("manhattan_update_job", {}, {}), ("weekly_update_job", PARTITION, {})],
    "adhoc_reports": [
        (
            "adhoc_request_job",
            {"dagster/partition": "a"},
            {"ops": {"adhoc_request": {"config": REQUEST}}},
        ),
    ],
}


@pytest.mark.parametrize("location", JOBS)
def test_run_config_cannot_set_resource_fields(
    instance: Instance, location: str, tmp_path: Path
) -> None:
    found = _resource_fields(instance, location)
    resources = {name: fields for name, fields in found.items() if fields}
    assert {"data_root", "connection_config", "database"} <= set(resources["database"])
    refused = set()
    for job, tags, config in JOBS[location]:
        for name, fields in resources.items():
            evil = {
                field: _evil_value(field, kind, str(tmp_path)) for field, kind in fields.items()
            }
            overridden = {**config, "resources": {name: {"config": evil}}}
            failure = _failure(instance, location, job, tags, overridden)
            if "unexpected config entry" in failure:
                continue  # the job does not use it
            assert all(f"resources.{name}.config.{field}" in failure for field in fields), failure
            refused.add(name)
    assert refused == set(resources)
    assert list(tmp_path.iterdir()) == []


def _failure(
    instance: Instance, location: str, job: str, tags: dict[str, str], config: dict[str, Any]
) -> str:
    """Why a run with a config does not start, or has failed."""
    try:
        run = instance.graphql.launch(location, job, tags=tags, run_config=config)
    except GraphQLError as error:
        return str(error)
    deadline = time.monotonic() + 120
    while (status := instance.graphql.run_status(run)) not in FINISHED:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert status == "FAILURE"
    return str(instance.graphql.run_failure(run))


def _evil_value(field: str, kind: str, folder: str) -> object:
    if field == "connection_config":
        return {"allow_unsigned_extensions": True, "custom_extension_repository": "http://evil"}
    return {"database": "md:x"}.get(field) or (7 if "Int" in kind or "Float" in kind else folder)


def test_a_long_search_is_refused_by_the_portal(instance: Instance) -> None:
    words = "+".join(["january"] * 8_000)
    for path in ("/reports", "/api/reports"):
        answer = requests.get(f"{instance.portal_url}{path}?q={words}", timeout=30)
        assert answer.status_code in (400, 414, 422)
    assert requests.get(f"{instance.portal_url}/healthz", timeout=5).ok


@pytest.mark.parametrize("server", ["webserver", "portal"])
def test_half_open_connections_block_no_client(instance: Instance, server: str) -> None:
    portal = instance.portal_url or ""
    url, path = {"webserver": (instance.url, "/server_info"), "portal": (portal, "/healthz")}[
        server
    ]
    host, port = url.removeprefix("http://").split(":")
    starts = (b"", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ", b"POST / HTTP/1.1\r\nHost: ")
    held = []
    try:
        for number in range(HALF_OPEN):
            connection = socket.create_connection((host, int(port)), timeout=30)
            held.append(connection)
            connection.sendall(starts[number % len(starts)])
        assert requests.get(f"{url}{path}", timeout=10).ok
    finally:
        for connection in held:
            connection.close()


def test_requests_that_never_end_are_ended(instance: Instance) -> None:
    json_body = b"Host: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n"
    held = []
    for url, path in ((instance.url, b"/graphql"), (instance.portal_url or "", b"/api/requests")):
        host, port = url.removeprefix("http://").split(":")
        for start in (
            b"",
            b"GET / HTTP/1.1\r\nHost: ",
            b"POST %s HTTP/1.1\r\n%s" % (path, json_body),
        ):
            held.append(socket.create_connection((host, int(port)), timeout=60))
            held[-1].sendall(start)
    for connection in held:
        with connection, suppress(ConnectionResetError):
            while connection.recv(1000):
                pass
