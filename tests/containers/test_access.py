"""The compose file with deploy/production.yml: TLS, passwords, and what each of them opens."""

import base64
import os
import secrets
import socket
import ssl
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from taxi_platform.instance import free_port
from tests.containers.conftest import Stack, command
from tests.waiting import wait_for

UI_HOST, PORTAL_HOST = "taxi.example.org", "reports.example.org"
SERVICES = ("webserver", "viewer", "portal", "proxy")
FILES = ("docker-compose.yml", "deploy/production.yml")
RELOAD = """mutation { reloadRepositoryLocation(repositoryLocationName: "analytics") {
    __typename } }"""


def bcrypt(user: str) -> str:
    """The hash of a user's password as `htpasswd -B` makes it."""
    salt = secrets.token_hex(11)
    code = "print crypt($ARGV[0], $ARGV[1])"  # Perl is in every image of Debian, htpasswd is not
    perl = ("docker", "run", "--rm", "nginx:1", "perl", "-e", code)
    return command(*perl, f"{user}'s password", f"$2y$05${salt}")


@pytest.fixture(scope="module")
def production(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the UI behind the proxy in front of the platform."""
    folder = tmp_path_factory.mktemp("secrets")
    command(
        *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"),
        *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
        *("-keyout", str(folder / "key.pem"), "-out", str(folder / "certificate.pem")),
    )
    for role, user in (("editors", "ed"), ("viewers", "vi"), ("askers", "as")):
        (folder / role).write_text(f"{user}:{bcrypt(user)}\n")
    for file in folder.iterdir():
        file.chmod(0o400)
        os.chown(file, 10001, 10001)
    port = free_port()
    stack.settings |= {
        "COMPOSE_FILE": ":".join(FILES),
        "TAXI_ADDRESS": "127.0.0.1",
        "TAXI_HTTPS_PORT": str(port),
        "TAXI_PORTAL_HTTPS_PORT": str(free_port()),
        "TAXI_UI_HOSTS": UI_HOST,
        "TAXI_PORTAL_HOSTS": f"127.0.0.1,{PORTAL_HOST}",
        "TAXI_FRONT": f"172.31.{secrets.randbelow(200)}",
        "DAGSTER_PUBLIC_URL": f"https://127.0.0.1:{port}",
        "TAXI_CERTIFICATE": str(folder / "certificate.pem"),
        "TAXI_CERTIFICATE_KEY": str(folder / "key.pem"),
        "TAXI_EDITORS": str(folder / "editors"),
        "TAXI_VIEWERS": str(folder / "viewers"),
        "TAXI_ASKERS": str(folder / "askers"),
    }
    stack.compose("up", "--detach", "--wait", "--no-deps", *SERVICES)
    yield f"https://127.0.0.1:{port}"
    stack.compose("rm", "--stop", "--force", *SERVICES)
    command("docker", "network", "rm", f"{stack.project}_front")
    for name in ("COMPOSE_FILE", "TAXI_UI_HOSTS", "TAXI_PORTAL_HOSTS", "DAGSTER_PUBLIC_URL"):
        del stack.settings[name]
    stack.compose("up", "--detach", "--wait", "--no-deps", "webserver", "portal")


def ask_portal(stack: Stack, path: str, user: str | None, **request: Any) -> requests.Response:
    """What the portal answers behind the proxy, under the name that people know it by."""
    port = stack.settings["TAXI_PORTAL_HTTPS_PORT"]
    return requests.request(
        request.pop("method", "GET"),
        f"https://127.0.0.1:{port}{path}",
        headers={"Host": f"{PORTAL_HOST}:{port}", **request.pop("sent", {})},
        auth=(user, f"{user}'s password") if user else None,
        verify=stack.settings["TAXI_CERTIFICATE"],
        timeout=30,
        **request,
    )


def ask(
    stack: Stack,
    address: str,
    user: str | None,
    query: str = "{ version }",
    path: str = "",
    **headers: str,
) -> requests.Response:
    certificate = stack.settings["TAXI_CERTIFICATE"]
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    if user:
        password = user if ":" in user else f"{user}:{user}'s password"
        headers["Authorization"] = f"Basic {base64.b64encode(password.encode()).decode()}"
    return requests.post(
        f"{address}{path}/graphql",
        json={"query": query},
        headers=headers,
        verify=certificate,
        timeout=30,
    )


@pytest.mark.parametrize("user", [None, "ed:wrong", "nobody:ed's password", "vi"])
def test_ui_requires_the_password_of_an_editor(
    stack: Stack, production: str, user: str | None
) -> None:
    assert ask(stack, production, user).status_code == 401


@pytest.mark.parametrize("user", [None, "vi:wrong", "ed"])
def test_read_only_ui_requires_the_password_of_a_viewer(
    stack: Stack, production: str, user: str | None
) -> None:
    assert ask(stack, production, user, path="/view").status_code == 401


def test_editor_may_change(stack: Stack, production: str) -> None:
    answer = ask(stack, production, "ed", RELOAD).json()
    assert answer["data"]["reloadRepositoryLocation"]["__typename"] == "WorkspaceLocationEntry"


def test_viewer_can_read(stack: Stack, production: str) -> None:
    assert ask(stack, production, "vi", path="/view").json()["data"]["version"]


@pytest.mark.parametrize(
    "mutation",
    [
        'reloadRepositoryLocation(repositoryLocationName: "analytics")',
        'deletePipelineRun(runId: "x")',
        'terminateRun(runId: "x")',
        'launchRun(executionParams: {selector: {repositoryLocationName: "ingestion",'
        ' repositoryName: "__repository__", jobName: "trip_update_job"}})',
        'wipeAssets(assetPartitionRanges: [{assetKey: {path: ["taxi_trips"]}}])',
    ],
)
def test_viewer_cannot_run_mutations(stack: Stack, production: str, mutation: str) -> None:
    query = f"mutation {{ {mutation} {{ __typename }} }}"
    answer = ask(stack, production, "vi", query, path="/view").json()
    ((_, refused),) = answer["data"].items()
    assert refused["__typename"] == "UnauthorizedError"


@pytest.mark.parametrize("user", [None, "ed", "vi"])
@pytest.mark.usefixtures("production")
def test_portal_requires_the_password_of_an_asker(stack: Stack, user: str | None) -> None:
    assert ask_portal(stack, "/", user).status_code == 401


@pytest.mark.usefixtures("production")
def test_asker_may_use_the_portal_and_gets_links_to_the_ui(stack: Stack) -> None:
    assert ask_portal(stack, "/", "as").status_code == 200
    body = {"borough": "Nowhere", "start_date": "2023-01-10", "end_date": "2023-01-25"}
    refused = ask_portal(stack, "/api/requests", "as", method="POST", json=body)
    assert refused.status_code == 422, "for its borough, not for where it comes from"
    (portal,) = stack.inspect(stack.container("portal"))
    assert f"DAGSTER_PUBLIC_URL={stack.settings['DAGSTER_PUBLIC_URL']}" in portal["Config"]["Env"]


def test_plain_http_is_not_served(stack: Stack, production: str) -> None:
    answer = requests.get(production.replace("https", "http"), timeout=30)
    assert answer.status_code == 400


def test_production_has_no_default_for_a_secret() -> None:
    root = Path(__file__).parents[2]
    needed = ("POSTGRES_PASSWORD", "TAXI_ADDRESS", "TAXI_CERTIFICATE", "TAXI_CERTIFICATE_KEY")
    files = ("TAXI_EDITORS", "TAXI_VIEWERS", "TAXI_ASKERS")
    names = ("TAXI_UI_HOSTS", "TAXI_PORTAL_HOSTS", "DAGSTER_PUBLIC_URL")
    settings = dict.fromkeys((*needed, *files, *names), "x")
    for missing in settings:
        given = {**os.environ, **settings, "COMPOSE_FILE": ":".join(FILES)}
        del given[missing]
        tried = subprocess.run(
            ["docker", "compose", "config", "--quiet"],
            check=False,
            cwd=root,
            env=given,
            capture_output=True,
            text=True,
        )
        assert tried.returncode != 0
        assert f"required variable {missing} is missing" in tried.stderr


OTHER_SITE = [
    {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "cors", "Sec_Fetch_Dest": "empty"},
    {"Sec_Fetch_Site": "same-site", "Sec_Fetch_Mode": "cors", "Sec_Fetch_Dest": "empty"},
    # A form that is sent is a navigation too.
    {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
]


@pytest.mark.parametrize("headers", OTHER_SITE)
@pytest.mark.parametrize("user", [None, "ed"])
def test_page_of_another_site_cannot_use_the_password(
    stack: Stack, production: str, user: str | None, headers: dict[str, str]
) -> None:
    """The answer is the same without a password, so it says nothing about one."""
    assert ask(stack, production, user, RELOAD, **headers).status_code == 403
    assert ask(stack, production, user, path="/view", **headers).status_code == 403
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    asked = ask_portal(stack, "/api/requests", "as", method="POST", json={}, sent=sent)
    assert asked.status_code == 403


def test_own_pages_and_links_pass_the_proxy(stack: Stack, production: str) -> None:
    own = {"Sec_Fetch_Site": "same-origin", "Sec_Fetch_Mode": "cors", "Sec_Fetch_Dest": "empty"}
    assert ask(stack, production, "ed", Origin=production, **own).json()["data"]["version"]
    assert ask(stack, production, "ed", Origin=production).json()["data"]["version"]
    assert ask(stack, production, "ed", Origin="http://127.0.0.1").status_code == 403
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    page = ask_portal(stack, "/", "as", sent={**link, "Sec-Fetch-Dest": "document"})
    assert page.status_code == 200
    framed = ask_portal(stack, "/", "as", sent={**link, "Sec-Fetch-Dest": "iframe"})
    assert framed.status_code == 403


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("Origin: https://evil.example", 403),
        ("Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: websocket", 403),
        ("Origin: {production}", 101),
    ],
)
def test_websocket_of_another_site_is_refused(
    stack: Stack, production: str, header: str, status: int
) -> None:
    password = base64.b64encode(b"ed:ed's password").decode()
    port = int(stack.settings["TAXI_HTTPS_PORT"])
    request = (
        f"GET /graphql HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nAuthorization: Basic {password}\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Protocol: graphql-ws\r\n{header.format(production=production)}\r\n\r\n"
    )
    context = ssl.create_default_context(cafile=stack.settings["TAXI_CERTIFICATE"])
    with (
        socket.create_connection(("127.0.0.1", port), 30) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
    ):
        connection.sendall(request.encode())
        assert int(connection.recv(4096).split()[1]) == status


def test_ui_is_served_under_its_own_names_only(stack: Stack, production: str) -> None:
    port = stack.settings["TAXI_HTTPS_PORT"]
    assert ask(stack, production, "ed", Host=f"{UI_HOST}:{port}").status_code == 200
    assert ask(stack, production, "ed", Host=f"rebound.example:{port}").status_code == 400


@pytest.mark.usefixtures("production")
def test_production_publishes_only_the_proxy(stack: Stack) -> None:
    published = {}
    for container in stack.compose("ps", "--quiet").split():
        (found,) = stack.inspect(container)
        ports = [each for each in found["NetworkSettings"]["Ports"].values() if each]
        if ports:
            published[found["Config"]["Labels"]["com.docker.compose.service"]] = len(ports)
    assert published == {"proxy": 2}


@pytest.mark.usefixtures("production")
def test_portal_trusts_only_the_proxy(stack: Stack) -> None:
    (proxy,) = stack.inspect(stack.container("proxy"))
    address = proxy["NetworkSettings"]["Networks"][f"{stack.project}_front"]["IPAddress"]
    trusted = stack.execute("portal", "printenv", "FORWARDED_ALLOW_IPS").strip()
    assert trusted == address


def test_half_open_connections_leave_the_portal_answering(stack: Stack, production: str) -> None:
    port = int(stack.settings["TAXI_PORTAL_HTTPS_PORT"])
    context = ssl.create_default_context(cafile=stack.settings["TAXI_CERTIFICATE"])
    connections: list[socket.socket] = []
    try:
        for number in range(500):
            connection = socket.create_connection(("127.0.0.1", port), 30)
            connections.append(connection)
            if number % 5 == 0:  # the others do not even begin with TLS
                connections[-1] = context.wrap_socket(connection, server_hostname="127.0.0.1")
                connections[-1].sendall(b"POST /api/requests HTTP/1.1\r\nHost: ")
        begin = time.monotonic()
        assert ask_portal(stack, "/", "as").status_code == 200
        assert time.monotonic() - begin < 5
        connections[-1].settimeout(30)
        assert connections[-1].recv(1) == b"", "the proxy closes it"
    finally:
        for connection in connections:
            connection.close()


def test_flood_of_wrong_passwords_costs_no_hashes(stack: Stack, production: str) -> None:
    def guess(_: int) -> int:
        wrong = ("ed", "wrong")
        certificate = stack.settings["TAXI_CERTIFICATE"]
        return requests.get(production, auth=wrong, verify=certificate, timeout=30).status_code

    def mismatches() -> int:
        """How many passwords nginx has compared with a hash in vain: it logs each."""
        return stack.compose("logs", "proxy").count("password mismatch")

    before = mismatches()
    with ThreadPoolExecutor(16) as clients:
        answers = Counter(clients.map(guess, range(1_000)))
    assert answers.keys() == {401, 429}
    assert answers[429] > 100
    wait_for(lambda: mismatches() - before == answers[401], what="the log of each comparison")
    time.sleep(10)  # for the tests that follow
    assert ask(stack, production, "ed").status_code == 200
