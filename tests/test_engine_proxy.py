"""The proxy in front of the Docker Engine, against an engine that records what reaches it."""

import copy
import http.client
import json
import os
import socket
import socketserver
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, ClassVar

import pytest

from taxi_platform import engine_proxy
from taxi_platform.engine_proxy import EngineProxy, InvalidTemplate, RunTemplate

CONTEXT: dict[str, Any] = {
    "docker": {
        "networks": ["taxi_platform"],
        "env_vars": ["TAXI_DATA_ROOT"],
        "container_kwargs": {
            "auto_remove": True,
            "init": True,
            "read_only": True,
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges:true"],
            "mem_limit": "2g",
            "labels": {"taxi.run": "taxi"},
            "log_config": {"type": "json-file", "config": {"max-size": "10m", "max-file": "3"}},
            "volumes": ["taxi_data:/data", "taxi_logs:/logs", "/tmp"],
        },
    }
}
# What docker-py 7.2 sends for it.
BODY: dict[str, Any] = {
    "Tty": False,
    "OpenStdin": False,
    "StdinOnce": False,
    "AttachStdin": False,
    "AttachStdout": False,
    "AttachStderr": False,
    "Env": ["TAXI_DATA_ROOT=/data"],
    "Cmd": ["dagster", "api", "execute_run", "{}"],
    "Image": "taxi-ingestion:dev",
    "Volumes": {"/data": {}, "/logs": {}, "/tmp": {}},
    "NetworkDisabled": False,
    "HostConfig": {
        "Memory": 2 * 1024**3,
        "ReadonlyRootfs": True,
        "NetworkMode": "taxi_platform",
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges:true"],
        "Binds": ["taxi_data:/data", "taxi_logs:/logs", "/tmp"],
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}},
        "AutoRemove": True,
        "Init": True,
    },
    "NetworkingConfig": {"taxi_platform": None},
    "Labels": {"taxi.run": "taxi", "dagster/run_id": "1", "dagster/job_name": "load"},
}
CONTAINERS = {
    "run": {"Id": "a" * 64, "Config": {"Labels": {"taxi.run": "taxi"}}},
    "other-run": {"Id": "b" * 64, "Config": {"Labels": {"taxi.run": "other"}}},
    "postgres": {"Id": "c" * 64, "Config": {"Labels": None}},
}


@dataclass
class Engine:
    """What reached the engine, and how to send it something through the proxy."""

    port: int
    requests: list[tuple[str, str, bytes]] = field(default_factory=list)

    def send(self, method: str, path: str, body: Any = None) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection.request(method, path, data)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, json.loads(text)["message"] if answer.status >= 400 else text

    def create(self, body: Any) -> tuple[int, str]:
        return self.send("POST", "/v1.45/containers/create", body)

    def send_raw(self, data: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as client:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: client.recv(65536), b""))


class FakeEngine(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    seen: ClassVar[list[tuple[str, str, bytes]]]

    def handle_method(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.seen.append((self.command, self.path, body))
        _, _, action = self.path.partition("?")[0].rpartition("/")
        name = self.path.split("/containers/")[-1].split("/")[0]
        found = {c["Id"]: c for c in CONTAINERS.values()} | CONTAINERS
        if action == "logs":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")
        elif action == "json" and name not in found:
            self.answer(404, {"message": f"No such container: {name}"})
        elif action in ("start", "stop"):
            self.send_response(204)
            self.end_headers()
        elif action == "create":
            self.answer(201, {"Id": "a" * 64})
        else:
            self.answer(200, found[name] if action == "json" else "OK")

    do_GET = do_POST = handle_method  # noqa: N815 - http.server calls these names

    def answer(self, status: int, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None: ...

    def address_string(self) -> str:
        return "unix"


class UnixServer(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    path = str(tmp_path / "engine.sock")
    template = RunTemplate.parse(json.dumps(CONTEXT), "taxi")

    class Handler(FakeEngine):
        seen: ClassVar[list[tuple[str, str, bytes]]] = []

    with UnixServer(path, Handler) as fake, EngineProxy(("127.0.0.1", 0), template, path) as proxy:
        for server in (fake, proxy):
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield Engine(int(proxy.server_address[1]), Handler.seen)
        proxy.shutdown()
        fake.shutdown()


def changed(where: str, key: str, value: Any) -> dict[str, Any]:
    body = copy.deepcopy(BODY)
    (body[where] if where else body)[key] = value
    return body


def test_template_container_is_created(engine: Engine) -> None:
    assert engine.create(BODY) == (201, json.dumps({"Id": "a" * 64}))
    ((method, path, body),) = engine.requests
    assert (method, path) == ("POST", "/v1.45/containers/create")
    kept = ("HostConfig", "Image", "Labels", "Env", "Cmd", "Volumes")
    assert json.loads(body) == {key: BODY[key] for key in kept}


def test_run_may_have_less_memory(engine: Engine) -> None:
    assert engine.create(changed("HostConfig", "Memory", 1024**3))[0] == 201
    assert json.loads(engine.requests[0][2])["HostConfig"]["Memory"] == 1024**3


def test_values_come_from_the_template(engine: Engine) -> None:
    assert engine.create(changed("HostConfig", "Init", 1))[0] == 201
    assert json.loads(engine.requests[0][2])["HostConfig"]["Init"] is True


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("Privileged", True),
        ("Binds", ["/:/data"]),
        ("Binds", ["taxi_data:/data", "taxi_logs:/logs", "/var/run/docker.sock:/tmp"]),
        ("Binds", ["taxi_postgres:/data", "taxi_logs:/logs", "/tmp"]),
        ("Mounts", [{"Type": "bind", "Source": "/", "Target": "/host"}]),
        ("CapAdd", ["SYS_ADMIN"]),
        ("CapDrop", []),
        ("CapDrop", ["NET_RAW"]),
        ("Devices", [{"PathOnHost": "/dev/sda", "PathInContainer": "/dev/sda"}]),
        ("DeviceRequests", [{"Count": -1}]),
        ("DeviceCgroupRules", ["a *:* rwm"]),
        ("PidMode", "host"),
        ("PidMode", "container:postgres"),
        ("IpcMode", "host"),
        ("UTSMode", "host"),
        ("UsernsMode", "host"),
        ("CgroupnsMode", "host"),
        ("Cgroup", "container:postgres"),
        ("NetworkMode", "host"),
        ("NetworkMode", "container:postgres"),
        ("NetworkMode", ""),
        ("SecurityOpt", ["seccomp=unconfined"]),
        ("SecurityOpt", ["no-new-privileges:true", "apparmor=unconfined"]),
        ("SecurityOpt", None),
        ("ReadonlyRootfs", False),
        ("Memory", 0),
        ("Memory", -1),
        ("Memory", True),
        ("Memory", 2.0**30),
        ("Memory", 3 * 1024**3),
        ("MemorySwap", -1),
        ("OomKillDisable", True),
        ("Sysctls", {"net.ipv4.ip_forward": "1"}),
        ("Runtime", "runc-other"),
        ("VolumesFrom", ["postgres"]),
        ("VolumeDriver", "other"),
        ("Links", ["postgres:db"]),
        ("PortBindings", {"80/tcp": [{"HostPort": "80"}]}),
        ("PublishAllPorts", True),
        ("ExtraHosts", ["postgres:203.0.113.7"]),
        ("Dns", ["203.0.113.7"]),
        ("CgroupParent", "/"),
        ("OomScoreAdj", -1000),
        ("ShmSize", 2**40),
        ("Ulimits", [{"Name": "nofile", "Soft": 1, "Hard": 1}]),
        ("StorageOpt", {"size": "1T"}),
        ("Tmpfs", {"/app": ""}),
        ("MaskedPaths", []),
        ("ReadonlyPaths", []),
        ("GroupAdd", ["0"]),
        ("RestartPolicy", {"Name": "always"}),
        ("LogConfig", {"Type": "syslog", "Config": {"syslog-address": "tcp://203.0.113.7"}}),
        ("AutoRemove", False),
        ("Isolation", "process"),
        ("ContainerIDFile", "/etc/cron.d/x"),
        ("LaterField", "x"),
    ],
)
def test_host_config_beside_the_template_is_refused(engine: Engine, key: str, value: Any) -> None:
    status, message = engine.create(changed("HostConfig", key, value))
    assert status == 403
    assert f"HostConfig.{key}" in message
    assert engine.requests == []


@pytest.mark.parametrize("key", list(BODY["HostConfig"]))
def test_absent_template_value_is_refused(engine: Engine, key: str) -> None:
    body = copy.deepcopy(BODY)
    del body["HostConfig"][key]
    assert engine.create(body)[0] == 403
    assert engine.requests == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("Image", "postgres:16"),
        ("Image", "taxi-host:current"),
        ("Image", "taxi-ingestion"),
        ("Image", "taxi-other-ingestion:dev"),
        ("Image", "example.com/taxi-ingestion:dev"),
        ("Image", "taxi-ingestion:dev\n"),
        ("Image", ["taxi-ingestion:dev"]),
        ("Image", None),
        ("Labels", {}),
        ("Labels", {"taxi.run": "other"}),
        ("Labels", {"dagster/run_id": "1"}),
        ("Labels", {"taxi.run": "taxi", "com.docker.compose.project": "taxi"}),
        ("Labels", ["taxi.run"]),
        ("User", "0"),
        ("User", "root"),
        ("Env", "A=1"),
        ("Env", [{"A": "1"}]),
        ("Cmd", [1]),
        ("Entrypoint", {"x": "y"}),
        ("Volumes", {"/app": {}}),
        ("Volumes", {"/data": {"x": 1}}),
        ("Volumes", ["/data"]),
        ("ExposedPorts", {"80/tcp": {}}),
        ("Healthcheck", {"Test": ["CMD", "true"]}),
        ("Hostname", "postgres"),
        ("MacAddress", "02:42:ac:11:00:02"),
        ("WorkingDir", "/"),
        ("Tty", True),
        ("OnBuild", ["RUN true"]),
        (
            "NetworkingConfig",
            {"other": {}, "EndpointsConfig": {"other": {"Aliases": ["postgres"]}}},
        ),
        ("NetworkingConfig", {"EndpointsConfig": {"taxi_platform": {"Aliases": ["postgres"]}}}),
        ("NetworkingConfig", {"taxi_platform": {"Aliases": ["postgres"]}}),
        ("NetworkingConfig", "x"),
        ("HostConfig", None),
        ("HostConfig", []),
        ("HostConfig", "x"),
    ],
)
def test_other_fields_beside_the_template_are_refused(engine: Engine, key: str, value: Any) -> None:
    status, message = engine.create(changed("", key, value))
    assert status == 403
    assert key in message
    assert engine.requests == []


@pytest.mark.parametrize("where", ["", "HostConfig", "NetworkingConfig"])
def test_empty_fields_are_left_out(engine: Engine, where: str) -> None:
    values: tuple[Any, ...] = (None, False, 0, "", [], {})
    for number, empty in enumerate(values):
        assert engine.create(changed(where, f"Field{number}", empty))[0] == 201
    assert not any(b"Field" in body for _, _, body in engine.requests)


@pytest.mark.parametrize(
    ("where", "key", "value"),
    [
        ("HostConfig", "privileged", True),
        ("HostConfig", "PRIVILEGED", True),
        ("HostConfig", "binds", ["/:/host"]),
        ("HostConfig", "memory", 1),
        ("HostConfig", "masKedpaths", []),
        ("HostConfig", "mas\u212aedpaths", []),
        ("", "hostconfig", {"Privileged": True}),
        ("", "Ho\u017ftConfig", {"Privileged": True}),
        ("", "image", "postgres:16"),
        ("NetworkingConfig", "endpointsconfig", {"x": {}}),
    ],
)
def test_other_spellings_are_refused(engine: Engine, where: str, key: str, value: Any) -> None:
    assert engine.create(changed(where, key, value))[0] == 403
    assert engine.requests == []


TEXT = json.dumps(BODY)


@pytest.mark.parametrize(
    "body",
    [
        TEXT.replace('"Memory":', '"Privileged": true, "Privileged": false, "Memory":'),
        TEXT.replace('"Image":', '"Image": "postgres:16", "Image":'),
        TEXT.replace('"taxi.run":', '"taxi.run": "x", "taxi\\u002erun":'),
        TEXT + TEXT,
        TEXT.replace("2147483648", "NaN"),
        "[" * 100_000,
        "",
        "{",
        "\ufeff" + TEXT,
        TEXT.encode("utf-16"),
        TEXT.encode() + b"\xff",
    ],
)
def test_ambiguous_json_is_refused(engine: Engine, body: str | bytes) -> None:
    status, message = engine.create(body.encode() if isinstance(body, str) else body)
    assert status == 400
    assert "JSON" in message
    assert engine.requests == []


@pytest.mark.parametrize("body", [b"[]", b"1", b'"x"', b"null"])
def test_body_that_is_no_object_is_refused(engine: Engine, body: bytes) -> None:
    assert engine.create(body)[0] == 403
    assert engine.requests == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/info"),
        ("HEAD", "/_ping"),
        ("POST", "/_ping"),
        ("GET", "/containers/json"),
        ("GET", "/containers/create"),
        ("DELETE", "/containers/run"),
        ("PUT", "/containers/run/archive?path=/"),
        ("OPTIONS", "/version"),
        ("POST", "/containers/run/exec"),
        ("POST", "/containers/run/kill"),
        ("POST", "/containers/run/update"),
        ("GET", "/containers/run/start"),
        ("POST", "/containers/run/json"),
        ("GET", "/containers/.hidden/json"),
        ("GET", "/containers/../json"),
        ("GET", "/containers/run/../json"),
        ("GET", "/containers/run/json/../../json"),
        ("GET", "/containers/run%2fjson"),
        ("GET", "/containers/%2e%2e/json"),
        ("GET", "//version"),
        ("GET", "/containers//json"),
        ("GET", "/containers/run//json"),
        ("GET", "/version/"),
        ("GET", "/version#x"),
        ("GET", "/version;x"),
        ("GET", "http://engine/version"),
        ("GET", "/v1.24/version"),
        ("GET", "/v1.45.1/version"),
        ("GET", "/v1.45/v1.45/version"),
        ("GET", "/v2.0/version"),
        ("GET", "/version?x=1"),
        ("GET", "/containers/run/json?size=1"),
        ("POST", "/containers/create?name=postgres"),
        ("POST", "/containers/create?platform=linux/arm64"),
        ("POST", "/containers/run/start?checkpoint=x"),
        ("POST", "/containers/run/stop?signal=KILL"),
        ("POST", "/containers/run/stop?t=1&t=2"),
        ("POST", "/containers/run/stop?t=-1"),
        ("GET", "/containers/run/logs?tail=all%20x"),
    ],
)
def test_other_requests_are_refused(engine: Engine, method: str, path: str) -> None:
    head = f"{method} {path} HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n\r\n"
    assert b"HTTP/1.1 403 " in engine.send_raw(head.encode())
    assert engine.requests == []


CREATE = b"POST /v1.45/containers/create HTTP/1.1\r\nHost: x\r\n"
INNER = b"POST /containers/create HTTP/1.1\r\n\r\n"


@pytest.mark.parametrize(
    ("status", "request_"),
    [
        (400, CREATE + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + INNER),
        (400, CREATE + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"),
        (400, CREATE + b"Transfer-Encoding: identity\r\nContent-Length: 2\r\n\r\n{}" + INNER),
        (400, CREATE + b"Content-Length: 2\r\nContent-Length: 40\r\n\r\n{}" + INNER),
        (400, CREATE + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}" + INNER),
        (400, CREATE + b"Content-Length: 2, 2\r\n\r\n{}" + INNER),
        (400, CREATE + b"Content-Length: +2\r\n\r\n{}" + INNER),
        (400, CREATE + b"Content-Length : 2\r\n\r\n{}" + INNER),
        (400, CREATE + b"Content-Length: 2\r\n 0\r\n\r\n{}" + INNER),
        (400, CREATE + b"no colon\r\nContent-Length: 2\r\n\r\n{}" + INNER),
        (400, CREATE + b"Content-Length: 10\r\n\r\n{}"),
        (413, CREATE + b"Content-Length: 1048577\r\n\r\n"),
        (403, b"GET /version HTTP/1.1\r\nContent-Length: 36\r\n\r\n" + INNER),
        (403, b"POST /containers/run/start HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}"),
        (403, b"GET  /version HTTP/1.1\r\n\r\n"),
        (400, b"GET /version x HTTP/1.1\r\n\r\n"),
    ],
)
def test_smuggled_requests_are_refused(engine: Engine, status: int, request_: bytes) -> None:
    answer = engine.send_raw(request_)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert answer.count(b"HTTP/1.1 4") == 1
    assert engine.requests == []


def test_client_headers_do_not_reach_the_engine(engine: Engine) -> None:
    answer = engine.send_raw(b"GET /_ping HTTP/1.1\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert [request[:2] for request in engine.requests] == [("GET", "/_ping")]


def test_runs_are_started_stopped_and_read(engine: Engine) -> None:
    assert engine.send("POST", "/v1.45/containers/run/start") == (204, "")
    assert engine.send("POST", "/v1.45/containers/run/stop?t=10") == (204, "")
    assert json.loads(engine.send("GET", "/containers/run/json")[1]) == CONTAINERS["run"]
    logs = "logs?stderr=1&stdout=1&timestamps=0&follow=0&tail=all"
    assert engine.send("GET", f"/containers/run/{logs}") == (200, "onetwo")
    sent = [path for _, path, _ in engine.requests]
    by_id = "/containers/" + "a" * 64
    assert sent[1] == f"/v1.45{by_id}/start"
    assert sent[3] == f"/v1.45{by_id}/stop?t=10"
    assert sent[-1] == f"{by_id}/{logs}"


@pytest.mark.parametrize("name", ["postgres", "other-run"])
@pytest.mark.parametrize("action", ["start", "stop", "json", "logs"])
def test_other_containers_do_not_exist(engine: Engine, name: str, action: str) -> None:
    method = "POST" if action in ("start", "stop") else "GET"
    status, message = engine.send(method, f"/containers/{name}/{action}")
    assert status == 404
    assert "no label taxi.run=taxi" in message
    assert [path for _, path, _ in engine.requests] == [f"/containers/{name}/json"]


def test_unknown_container_stays_a_404(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    expected = (404, "No such container: gone")
    assert engine.send("GET", "/v1.45/containers/gone/json") == expected
    assert engine.send("POST", "/v1.45/containers/gone/stop") == expected
    assert capsys.readouterr().err == ""


def test_connection_is_kept_for_further_requests(engine: Engine) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", engine.port, timeout=10)
    for path in ("/_ping", "/version", "/containers/run/logs", "/_ping"):
        connection.request("GET", path)
        used = connection.sock
        assert connection.getresponse().read()
        assert connection.sock is used
    connection.close()


def test_only_refusals_are_logged(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    engine.send("GET", "/_ping")
    engine.create(BODY)
    engine.create(changed("HostConfig", "Privileged", True))
    (line,) = capsys.readouterr().err.splitlines()
    assert "POST /v1.45/containers/create" in line
    assert "HostConfig.Privileged" in line


def test_absent_engine_is_reported(tmp_path: Path) -> None:
    template = RunTemplate.parse(json.dumps(CONTEXT), "taxi")
    with EngineProxy(("127.0.0.1", 0), template, str(tmp_path / "absent")) as proxy:
        threading.Thread(target=proxy.serve_forever, args=(0.02,), daemon=True).start()
        engine = Engine(int(proxy.server_address[1]))
        for method, path in (("GET", "/_ping"), ("POST", "/containers/run/stop")):
            status, message = engine.send(method, path)
            assert status == 502
            assert "does not answer" in message
        proxy.shutdown()


def test_slow_request_is_cut_off(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_proxy, "REQUEST_SECONDS", 0.3)
    with socket.create_connection(("127.0.0.1", engine.port), timeout=10) as client:
        client.sendall(CREATE + b"Content-Length: 10\r\n\r\n{")
        assert client.recv(100) == b""
    assert engine.requests == []


def test_connections_beyond_the_limit_wait(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_proxy, "REQUEST_SECONDS", 0.5)
    clients = [
        socket.create_connection(("127.0.0.1", engine.port), timeout=10)
        for _ in range(engine_proxy.MAX_CONNECTIONS)
    ]
    assert engine.send("GET", "/_ping")[0] == 200  # once the idle ones have timed out
    for client in clients:
        assert client.recv(1) == b""
        client.close()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("privileged", True),
        ("cap_add", ["SYS_ADMIN"]),
        ("read_only", False),
        ("cap_drop", []),
        ("security_opt", ["seccomp=unconfined"]),
        ("mem_limit", 0),
        ("mem_limit", "much"),
        ("labels", {}),
        ("volumes", ["/:/host"]),
        ("volumes", ["taxi_data:/data", "/var/run/docker.sock:/tmp/docker.sock:rw"]),
    ],
)
def test_unsafe_template_is_invalid(key: str, value: Any) -> None:
    context = copy.deepcopy(CONTEXT)
    context["docker"]["container_kwargs"][key] = value
    with pytest.raises(InvalidTemplate):
        RunTemplate.parse(json.dumps(context), "taxi")


@pytest.mark.parametrize("network", ["host", "none", "container:postgres"])
def test_template_needs_a_network_of_its_own(network: str) -> None:
    context = copy.deepcopy(CONTEXT)
    context["docker"]["networks"] = [network]
    with pytest.raises(InvalidTemplate):
        RunTemplate.parse(json.dumps(context), "taxi")


@pytest.mark.parametrize("size", ["2g", "2G", "2gb", "2048m", "2147483648", 2147483648])
def test_memory_is_read_as_docker_reads_it(size: int | str) -> None:
    context = copy.deepcopy(CONTEXT)
    context["docker"]["container_kwargs"]["mem_limit"] = size
    assert RunTemplate.parse(json.dumps(context), "taxi").limits["Memory"] == 2 * 1024**3


def test_images_may_come_from_a_registry() -> None:
    template = RunTemplate.parse(json.dumps(CONTEXT), "registry.example.com/taxi")
    image = "registry.example.com/taxi-ingestion:1"
    body = json.dumps(changed("", "Image", image)).encode()
    assert template.container(body)["Image"] == image


@pytest.mark.parametrize(
    ("mode", "owner", "group", "expected", "user"),
    [
        (
            0o140660,
            0,
            0,
            [("setgroups", []), ("setgid", 0), ("setuid", 10001)],
            "user 10001, group 0",
        ),
        (0o140660, 0, 998, [("setgroups", []), ("setgid", 998), ("setuid", 10001)], "group 998"),
        (
            0o140600,
            1000,
            1000,
            [("setgroups", []), ("setgid", 1000), ("setuid", 1000)],
            "user 1000",
        ),
        (0o140600, 0, 0, [], "root, because only root may write"),
    ],
)
def test_proxy_gives_up_root_for_the_socket_group(
    monkeypatch: pytest.MonkeyPatch,
    mode: int,
    owner: int,
    group: int,
    expected: list[tuple[str, object]],
    user: str,
) -> None:
    calls: list[tuple[str, object]] = []

    def setuid(uid: int) -> None:
        if uid == 0:
            raise PermissionError
        calls.append(("setuid", uid))

    found = os.stat_result((mode, 0, 0, 1, owner, group, 0, 0, 0, 0))
    monkeypatch.setattr(os, "getuid", lambda: 0)
    monkeypatch.setattr(os, "stat", lambda path, **_: found)
    monkeypatch.setattr(os, "setgroups", lambda groups: calls.append(("setgroups", groups)))
    monkeypatch.setattr(os, "setgid", lambda gid: calls.append(("setgid", gid)))
    monkeypatch.setattr(os, "setuid", setuid)
    assert user in engine_proxy.drop_privileges("/run/docker.sock")
    assert calls == expected


def test_proxy_keeps_a_user_that_is_not_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 1001)
    monkeypatch.setattr(os, "setuid", lambda uid: pytest.fail("the user changed"))
    assert engine_proxy.drop_privileges("/absent") == "user 1001, as it was started"
