"""The compose file with deploy/production.yml: TLS, passwords, and what each of them opens."""

import base64
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from taxi_platform.instance import free_port
from tests.containers.conftest import Stack, command

PORTAL_HOST = "reports.example.org"
FILES = ("docker-compose.yml", "deploy/production.yml")
RELOAD = """mutation { reloadRepositoryLocation(repositoryLocationName: "analytics") {
    __typename } }"""


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
        hashed = command("openssl", "passwd", "-apr1", f"{user}'s password").strip()
        (folder / role).write_text(f"{user}:{hashed}\n")
    for file in folder.iterdir():
        os.chown(file, 10001, 10001)
    port = free_port()
    stack.settings |= {
        "COMPOSE_FILE": ":".join(FILES),
        "POSTGRES_PASSWORD": "on-this-machine-only",
        "TAXI_ADDRESS": "127.0.0.1",
        "TAXI_HTTPS_PORT": str(port),
        "TAXI_PORTAL_HTTPS_PORT": str(free_port()),
        "TAXI_PORTAL_HOSTS": f"127.0.0.1,{PORTAL_HOST}",
        "DAGSTER_PUBLIC_URL": f"https://127.0.0.1:{port}",
        "TAXI_CERTIFICATE": str(folder / "certificate.pem"),
        "TAXI_CERTIFICATE_KEY": str(folder / "key.pem"),
        "TAXI_EDITORS": str(folder / "editors"),
        "TAXI_VIEWERS": str(folder / "viewers"),
        "TAXI_ASKERS": str(folder / "askers"),
    }
    stack.compose("up", "--detach", "--wait", "--no-deps", "proxy", "viewer", "portal")
    yield f"https://127.0.0.1:{port}"
    stack.compose("rm", "--stop", "--force", "proxy", "viewer")
    for name in ("COMPOSE_FILE", "POSTGRES_PASSWORD", "TAXI_PORTAL_HOSTS", "DAGSTER_PUBLIC_URL"):
        del stack.settings[name]
    stack.compose("up", "--detach", "--wait", "--no-deps", "portal")


def ask_portal(stack: Stack, path: str, user: str | None, **request: Any) -> requests.Response:
    """What the portal answers behind the proxy, under the name that people know it by."""
    port = stack.settings["TAXI_PORTAL_HTTPS_PORT"]
    return requests.request(
        request.pop("method", "GET"),
        f"https://127.0.0.1:{port}{path}",
        headers={"Host": f"{PORTAL_HOST}:{port}"},
        auth=(user, f"{user}'s password") if user else None,
        verify=stack.settings["TAXI_CERTIFICATE"],
        timeout=30,
        **request,
    )


def ask(
    stack: Stack, address: str, user: str | None, query: str = "{ version }", path: str = ""
) -> requests.Response:
    certificate = stack.settings["TAXI_CERTIFICATE"]
    headers = {}
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
def test_the_ui_is_refused_without_an_editors_password(
    stack: Stack, production: str, user: str | None
):
    assert ask(stack, production, user).status_code == 401


@pytest.mark.parametrize("user", [None, "vi:wrong", "ed"])
def test_the_view_is_refused_without_a_viewers_password(
    stack: Stack, production: str, user: str | None
):
    assert ask(stack, production, user, path="/view").status_code == 401


def test_an_editor_may_act(stack: Stack, production: str):
    answer = ask(stack, production, "ed", RELOAD).json()
    assert answer["data"]["reloadRepositoryLocation"]["__typename"] == "WorkspaceLocationEntry"


def test_a_viewer_may_look_and_not_act(stack: Stack, production: str):
    assert ask(stack, production, "vi", path="/view").json()["data"]["version"]
    answer = ask(stack, production, "vi", RELOAD, path="/view").json()
    assert "UnauthorizedError" in str(answer) or "permission" in str(answer).lower()


@pytest.mark.parametrize("user", [None, "ed", "vi"])
@pytest.mark.usefixtures("production")
def test_the_portal_is_refused_without_an_askers_password(stack: Stack, user: str | None):
    assert ask_portal(stack, "/", user).status_code == 401


@pytest.mark.usefixtures("production")
def test_an_asker_has_the_portal_and_is_sent_on_to_the_ui_of_people(stack: Stack):
    assert ask_portal(stack, "/", "as").status_code == 200
    body = {"borough": "Nowhere", "start_date": "2023-01-10", "end_date": "2023-01-25"}
    refused = ask_portal(stack, "/api/requests", "as", method="POST", json=body)
    assert refused.status_code == 422, "for its borough, not for where it comes from"
    (portal,) = stack.inspect(stack.container("portal"))
    assert f"DAGSTER_PUBLIC_URL={stack.settings['DAGSTER_PUBLIC_URL']}" in portal["Config"]["Env"]


def test_plain_http_is_not_served(stack: Stack, production: str):
    answer = requests.get(production.replace("https", "http"), timeout=30)
    assert answer.status_code == 400


def test_production_has_no_default_for_a_secret():
    root = Path(__file__).parents[2]
    needed = ("POSTGRES_PASSWORD", "TAXI_ADDRESS", "TAXI_CERTIFICATE", "TAXI_CERTIFICATE_KEY")
    files = ("TAXI_EDITORS", "TAXI_VIEWERS", "TAXI_ASKERS")
    settings = dict.fromkeys((*needed, *files, "TAXI_PORTAL_HOSTS", "DAGSTER_PUBLIC_URL"), "x")
    for missing in settings:
        given = {**os.environ, **settings, "COMPOSE_FILE": ":".join(FILES)}
        del given[missing]
        tried = subprocess.run(
            ["docker", "compose", "config", "--quiet"],
            cwd=root,
            env=given,
            capture_output=True,
            text=True,
        )
        assert tried.returncode != 0
        assert f"required variable {missing} is missing" in tried.stderr
