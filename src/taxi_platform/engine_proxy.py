"""A proxy for the Docker Engine's socket that starts, inspects and stops runs, and nothing else.

Access to the socket is root on the machine. Runs share the instance's database and can put any
container context on a queued run, so a list of paths is not enough: the daemon would create what
the database says. This proxy reads what is created and compares it with the run template, the
container context of the locations. The engine gets a body that is built from the template.

`python -m taxi_platform.engine_proxy` reads TAXI_RUN_CONTAINER (the container context, JSON),
TAXI_IMAGES (the images' prefix), DOCKER_SOCKET and ENGINE_PROXY_ADDRESS (host:port). It starts as
root to read the socket's group and then runs as a user who has that group and no capabilities.

Requests: https://docs.docker.com/reference/api/engine/version/v1.45/. Standard library only.
"""

import io
import json
import os
import re
import signal
import socket
import stat
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer
from typing import Any, NoReturn

RUN_LABEL = "taxi.run"  # its value is the compose project
PROXY_USER = 10001
MAX_HEADER_BYTES, MAX_BODY_BYTES = 64 * 1024, 1024 * 1024
MAX_CONNECTIONS = 32  # further connections wait
MAX_SHOWN = 120  # characters of a value in an error
REQUEST_SECONDS = 30  # to send a request, or the next one on an open connection
ENGINE_SECONDS = 120  # for the engine to answer, or to go on answering
# Before it, the engine fills in weaker defaults: the host's control groups, shareable memory.
MIN_API_VERSION = 41

# Arguments of docker-py that the template may have, and what docker-py sends for them.
FIXED = {
    "auto_remove": "AutoRemove",
    "init": "Init",
    "read_only": "ReadonlyRootfs",
    "cap_drop": "CapDrop",
    "security_opt": "SecurityOpt",
    "log_config": "LogConfig",
    "volumes": "Binds",
}
LIMITS = {"mem_limit": "Memory", "nano_cpus": "NanoCpus", "pids_limit": "PidsLimit"}
NOT_SENT = {"labels", "stop_timeout"}  # not part of HostConfig
BYTES = {"b": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}
VOLUME = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9_.-]*:)?(/[^:]*)(?::ro|:rw)?")
# An empty list would unmask /proc and /sys, so absence is the only safe value.
NEVER = {"MaskedPaths", "ReadonlyPaths"}

TARGET = re.compile(
    r"(?P<version>/v1\.(?P<minor>[0-9]{1,3}))?/"
    r"(?:(?P<plain>version|_ping|containers/create)"
    r"|containers/(?P<container>[A-Za-z0-9][A-Za-z0-9_.-]*)/(?P<action>json|logs|start|stop))"
    r"(?:\?(?P<query>.*))?"
)
FLAG, TIME = r"[01]", r"[0-9]+(?:\.[0-9]+)?"
LOGS = dict.fromkeys(("stdout", "stderr", "timestamps", "follow"), FLAG)
# The method and the query parameters of each allowed action. No `name` for a new container: on the
# network it would answer to that name, say postgres. No checkpoint, no signal.
ACTIONS: dict[str, tuple[str, dict[str, str]]] = {
    "version": ("GET", {}),
    "_ping": ("GET", {}),
    "containers/create": ("POST", {}),
    "start": ("POST", {}),
    "stop": ("POST", {"t": r"[0-9]{1,3}"}),
    "json": ("GET", {}),
    "logs": ("GET", LOGS | {"tail": r"all|[0-9]+", "since": TIME, "until": TIME}),
}


class RequestRefused(Exception):
    """A request that is not passed on to the engine, with the HTTP status of the answer."""

    def __init__(self, reason: str, status: int = 403) -> None:
        super().__init__(reason)
        self.status = status


class EngineError(Exception):
    """An error of the engine about a container, such as 404, passed on unchanged."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class InvalidTemplate(Exception):
    """TAXI_RUN_CONTAINER is not valid; the text names the key and what is expected."""


@dataclass(frozen=True)
class RunTemplate:
    """The template of a run's container: its images, labels, and fixed and limited HostConfig."""

    images: str
    labels: Mapping[str, str]
    fixed: Mapping[str, Any]
    limits: Mapping[str, int]
    paths: frozenset[str]  # of the volumes, in the container

    @classmethod
    def parse(cls, text: str, images: str) -> "RunTemplate":
        """Read a container context of Dagster. Raises InvalidTemplate."""
        try:
            context = json.loads(text)["docker"]
            network, kwargs = context["networks"][0], context["container_kwargs"]
            values = {key: kwargs[name] for name, key in FIXED.items() if name in kwargs}
            limits = {key: _bytes(kwargs[name]) for name, key in LIMITS.items() if name in kwargs}
            volumes = [VOLUME.fullmatch(volume) for volume in kwargs["volumes"]]
            log_config = {key.capitalize(): value for key, value in kwargs["log_config"].items()}
            project = kwargs["labels"][RUN_LABEL]
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise InvalidTemplate(f"not the container context of runs: {error!r}") from error
        if unknown := kwargs.keys() - FIXED.keys() - LIMITS.keys() - NOT_SENT:
            known = ", ".join(sorted(FIXED.keys() | LIMITS.keys() | NOT_SENT))
            raise InvalidTemplate(f"container_kwargs has {sorted(unknown)}; allowed are {known}")
        required = {
            "networks: one of the project's": network not in ("", "host", "bridge", "none")
            and ":" not in network,
            "read_only: true": values.get("ReadonlyRootfs") is True,
            'cap_drop: ["ALL"]': values.get("CapDrop") == ["ALL"],
            'security_opt: ["no-new-privileges:true"]': values.get("SecurityOpt")
            == ["no-new-privileges:true"],
            "mem_limit: above 0": limits.get("Memory", 0) > 0,
            "volumes: named ones, and no path of the machine": all(volumes),
            f"labels: {RUN_LABEL}": bool(project),
        }
        if missing := [what for what, met in required.items() if not met]:
            raise InvalidTemplate(f"container_kwargs must have {'; '.join(missing)}")
        fixed = values | {"NetworkMode": network, "LogConfig": log_config}
        paths = frozenset(volume[1] for volume in volumes if volume)
        return cls(images, kwargs["labels"], fixed, limits, paths)

    @property
    def project(self) -> str:
        """The compose project."""
        return self.labels[RUN_LABEL]

    def container(self, body: bytes) -> dict[str, Any]:
        """The body of `containers/create` for the engine. Raises RequestRefused."""
        try:
            given = json.loads(
                body.decode("utf-8"), object_pairs_hook=_unique_keys, parse_constant=_no_constant
            )
        except (ValueError, RecursionError) as error:
            raise RequestRefused(f"The body is not valid JSON: {_shorten(error)}", 400) from error
        allowed = {"Image", "Labels", "Env", "Cmd", "Entrypoint", "Volumes"}
        given = _fields(given, "", allowed | {"HostConfig", "NetworkingConfig"})
        # docker-py repeats the network here, as {"<network>": null}: no addresses, no aliases.
        network = _fields(
            given.pop("NetworkingConfig", {}), "NetworkingConfig.", {"EndpointsConfig"}
        )
        _fields(network.get("EndpointsConfig"), "NetworkingConfig.EndpointsConfig.", set())
        created = {"HostConfig": self._host_config(given.pop("HostConfig", {}))}
        for key in ("Image", "Labels"):
            if key not in given:
                raise RequestRefused(f"{key} is missing.")
        image = re.escape(self.images) + r"-(?!host:|s3:)[a-z0-9_]+:[A-Za-z0-9_][A-Za-z0-9_.-]*"
        if not isinstance(given["Image"], str) or not re.fullmatch(image, given["Image"]):
            expected = f"{self.images}-<location>:<tag>"
            raise RequestRefused(f"Image is {_shorten(given['Image'])}; expected {expected}.")
        _check_strings("Labels", given["Labels"], dict)
        for label, value in given["Labels"].items():
            if label not in self.labels and not label.startswith("dagster/"):
                raise RequestRefused(
                    f"Labels has {_shorten(label)}, which is not in the run template."
                )
            if value != self.labels.get(label, value):
                raise RequestRefused(f"Labels has {label}={value}; expected {self.labels[label]}.")
        if absent := self.labels.keys() - given["Labels"].keys():
            raise RequestRefused(f"Labels lacks {', '.join(sorted(absent))}.")
        for key in given.keys() & {"Env", "Cmd", "Entrypoint"}:
            if not isinstance(given[key], str) or key == "Env":
                _check_strings(key, given[key], list)
        volumes = given.pop("Volumes", {})
        if (
            not isinstance(volumes, dict)
            or not volumes.keys() <= self.paths
            or any(volumes.values())
        ):
            raise RequestRefused(f"Volumes is {_shorten(volumes)}; expected {sorted(self.paths)}.")
        return created | given | {"Volumes": {path: {} for path in volumes}}

    def _host_config(self, given: Any) -> dict[str, Any]:
        given = _fields(given, "HostConfig.", self.fixed.keys() | self.limits.keys())
        for key, expected in (*self.fixed.items(), *self.limits.items()):
            value = given.get(key)
            if key in self.limits:
                right = type(value) is int and 0 < value <= expected
            else:
                right = bool(value == expected or not (value or expected))
            if not right:
                at_most = "at most " if key in self.limits else ""
                shown = f"is {_shorten(value)}" if key in given else "is missing"
                raise RequestRefused(
                    f"HostConfig.{key} {shown}; expected {at_most}{_shorten(expected)}."
                )
        return {**self.fixed, **{key: given[key] for key in self.limits}}


def _bytes(size: int | str) -> int:
    """A size as docker-py reads it, such as 2g or 512mb."""
    if isinstance(size, int):
        return size
    match = re.fullmatch(r"([0-9.]+)([bkmgt]?)b?", size.strip().lower())
    if not match:
        raise ValueError(f"{size!r} is not a size; expected one such as 2g")
    return int(float(match[1]) * BYTES[match[2] or "b"])


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse an object with a repeated key: parsers disagree on which value counts."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r} is repeated")
        found[key] = value
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _fields(given: Any, where: str, allowed: set[str]) -> dict[str, Any]:
    """The non-empty fields of an object. Raises RequestRefused for a wrong field or spelling.

    The engine reads keys without regard to case, so `privileged` is `Privileged` to it.
    """
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise RequestRefused(f"{where or 'The body '}is {_shorten(given)}; expected an object.")
    spelling = {name.casefold(): name for name in allowed | NEVER}
    for key, value in given.items():
        if (known := spelling.get(key.casefold(), key)) != key:
            raise RequestRefused(f"{where}{_show_key(key)} must be spelt {known}.")
        if (value and key not in allowed) or (key in NEVER and value is not None):
            raise RequestRefused(f"{where}{_show_key(key)} is not in the run template.")
    return {key: value for key, value in given.items() if value}


def _check_strings(key: str, given: Any, kind: type) -> None:
    values = given.values() if isinstance(given, dict) else given
    if not isinstance(given, kind) or not all(isinstance(value, str) for value in values):
        raise RequestRefused(
            f"{key} is not {'an object' if kind is dict else 'a list'} of strings."
        )


def _show_key(key: str) -> str:
    return key if key.isascii() and key.isidentifier() else _shorten(key)


def _shorten(value: object) -> str:
    text = ascii(str(value) if isinstance(value, Exception) else value)
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."


class EngineConnection(HTTPConnection):
    """One connection to the engine's socket, for one request."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("engine", timeout=timeout)
        self.path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class RequestReader(io.RawIOBase):
    """Reads from a client, within the time and size limits of one request."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.start_request()

    def start_request(self) -> None:
        """Reset the limits for the next request on the connection."""
        self.deadline = time.monotonic() + REQUEST_SECONDS
        self.bytes_left = MAX_HEADER_BYTES + MAX_BODY_BYTES

    def readable(self) -> bool:
        """Declare the stream readable, for `io.BufferedReader`."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Receive bytes. Raises TimeoutError when a limit is reached."""
        seconds = self.deadline - time.monotonic()
        if seconds <= 0 or self.bytes_left <= 0:
            raise TimeoutError("the request takes too long or is too large")
        self.connection.settimeout(seconds)
        size = self.connection.recv_into(buffer)
        self.bytes_left -= size
        return size


class ProxyHandler(BaseHTTPRequestHandler):
    """Serves one client. Only what is matched here reaches the engine."""

    server: "EngineProxy"
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        """Read through the limits of RequestReader."""
        super().setup()
        self.reader = RequestReader(self.connection)
        self.rfile = io.BufferedReader(self.reader)

    def handle_one_request(self) -> None:
        """Serve the next request on the connection."""
        self.reader.start_request()
        super().handle_one_request()

    def handle_method(self) -> None:
        """Check a request, pass it on to the engine, and forward the answer."""
        engine: EngineConnection | None = None
        try:
            method, target, seconds, body = self._check()
            engine = EngineConnection(self.server.socket_path, ENGINE_SECONDS + seconds)
            headers = {"Content-Type": "application/json"} if body is not None else {}
            engine.request(method, target, body, headers)
            answer = engine.getresponse()
        except RequestRefused as refused:
            self.send_error(refused.status, str(refused))
        except EngineError as error:
            self._reply(error.status, str(error))
        except (OSError, HTTPException) as error:
            if isinstance(error, TimeoutError) and engine is None:
                raise  # the client's: the base class closes the connection
            self.send_error(502, f"The Docker Engine does not answer: {error}.")
        else:
            self._forward(answer)
        finally:
            if engine:
                engine.close()

    # http.server calls these names.
    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = handle_method  # noqa: N815

    def _check(self) -> tuple[str, str, int, bytes | None]:
        """Method, target, extra seconds and body for the engine. Raises RequestRefused."""
        match self.requestline.split(" "):  # self.path has lost double slashes
            case [_, path, _]:
                target = TARGET.fullmatch(path)
            case _:
                target = None
        action = target and (target["plain"] or target["action"])
        if not target or not action or self.command != ACTIONS[action][0]:
            raise RequestRefused("Only requests that start, inspect and stop runs are allowed.")
        if target["minor"] and int(target["minor"]) < MIN_API_VERSION:
            raise RequestRefused(
                f"API version 1.{target['minor']} is too old; use 1.{MIN_API_VERSION} or later."
            )
        query = _query(target["query"], ACTIONS[action][1])
        body = self._read_body(action == "containers/create")
        path = f"{target['version'] or ''}/"
        if not target["container"]:
            path += action
        else:
            path += f"containers/{self._run_id(path, target['container'])}/{action}"
        created = (
            None if body is None else json.dumps(self.server.template.container(body)).encode()
        )
        suffix = "?" + "&".join(f"{name}={value}" for name, value in query.items()) if query else ""
        return self.command, path + suffix, int(query.get("t", 0)), created

    def _read_body(self, expected: bool) -> bytes | None:
        invalid = [name for name in self.headers if not re.fullmatch(r"[A-Za-z0-9_-]+", name)]
        if self.headers.defects or invalid:
            raise RequestRefused("The header is malformed.", 400)
        if "Transfer-Encoding" in self.headers:
            raise RequestRefused("Transfer-Encoding is not supported; send Content-Length.", 400)
        lengths = self.headers.get_all("Content-Length", ["0"])
        if len(lengths) != 1 or not re.fullmatch(r"[0-9]{1,10}", lengths[0]):
            raise RequestRefused("Content-Length must be one number.", 400)
        length = int(lengths[0])
        if length > MAX_BODY_BYTES:
            raise RequestRefused(
                f"The body has {length} bytes; at most {MAX_BODY_BYTES} are allowed.", 413
            )
        if not expected:
            if length:
                raise RequestRefused("This request must not have a body.")
            return None
        body = self.rfile.read(length)
        if len(body) < length:
            raise RequestRefused("The body is shorter than its Content-Length.", 400)
        return body

    def _run_id(self, version: str, container: str) -> str:
        """The id of a run's container; any other container is reported as not found."""
        engine = EngineConnection(self.server.socket_path, ENGINE_SECONDS)
        try:
            engine.request("GET", f"{version}containers/{container}/json")
            answer = engine.getresponse()
            found = json.loads(answer.read())
        except (OSError, ValueError) as error:
            raise HTTPException(f"container {container}: {error}") from error
        finally:
            engine.close()
        if answer.status != HTTPStatus.OK:
            raise EngineError(found.get("message", answer.reason), answer.status)
        project = self.server.template.project
        if (found["Config"]["Labels"] or {}).get(RUN_LABEL) != project:
            reason = f"it has no label {RUN_LABEL}={project}, so it is not a run"
            raise RequestRefused(f"No such container: {container} ({reason}).", 404)
        return str(found["Id"])

    def _forward(self, answer: HTTPResponse) -> None:
        self.connection.settimeout(ENGINE_SECONDS)
        self.send_response(answer.status, answer.reason)
        for name in ("Content-Type", "Api-Version"):
            if value := answer.getheader(name):
                self.send_header(name, value)
        chunked = answer.length is None and self.request_version != "HTTP/1.0"
        if answer.length is None:
            self.send_header(
                *(("Transfer-Encoding", "chunked") if chunked else ("Connection", "close"))
            )
        elif answer.status not in (204, 304):
            self.send_header("Content-Length", str(answer.length))
        self.end_headers()
        try:
            while part := answer.read1(64 * 1024):
                self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part) if chunked else part)
            if chunked:
                self.wfile.write(b"0\r\n\r\n")
        except (OSError, HTTPException) as error:  # the client sees that the end is missing
            self.server.log(f"{self.command} {_shorten(self.path)} ended early: {error}")
            self.close_connection = True

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Log and answer a refusal."""
        self.server.log(f"refused {_shorten(self.requestline)}: {code} {message}")
        self._reply(code, f"engine proxy: {message}")

    def _reply(self, code: int, message: str) -> None:
        """Answer as Docker does, and end the connection: an unread body may follow."""
        body = json.dumps({"message": message}).encode()
        self.connection.settimeout(ENGINE_SECONDS)
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Log neither allowed requests nor idle connections."""


class EngineProxy(ThreadingHTTPServer):
    """The server, with a limited number of connections; further ones wait."""

    request_queue_size = 128

    def __init__(self, address: tuple[str, int], template: RunTemplate, socket_path: str) -> None:
        super().__init__(address, ProxyHandler)
        self.template, self.socket_path = template, socket_path
        self.connections = threading.BoundedSemaphore(MAX_CONNECTIONS)

    def server_bind(self) -> None:
        """Bind without the DNS lookup that HTTPServer makes."""
        TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Wait for a free connection, then serve the client in a thread."""
        self.connections.acquire()
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a client and free its connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.connections.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log the error of a connection."""
        self.log(f"connection of {client_address[0]} failed: {sys.exc_info()[1]!r}")

    def log(self, line: str) -> None:
        """Write a line to standard error."""
        print(line, file=sys.stderr, flush=True)  # noqa: T201 - this is the container's log


def _query(text: str | None, allowed: Mapping[str, str]) -> dict[str, str]:
    """Parse query parameters. Raises RequestRefused for one that is repeated or not allowed."""
    query: dict[str, str] = {}
    for name, _, value in (pair.partition("=") for pair in (text or "").split("&") if pair):
        if name in query or name not in allowed or not re.fullmatch(allowed[name], value):
            raise RequestRefused(
                f"The query parameter {_shorten(name)} is not allowed, or its value is not."
            )
        query[name] = value
    return query


def drop_privileges(socket_path: str) -> str:
    """If root, become a user with access to the socket only; returns a description for the log.

    The user is PROXY_USER with the socket's group, or the socket's owner if its group cannot write.
    """
    if os.getuid() != 0:
        return f"user {os.getuid()}, as it was started"
    found = Path(socket_path).stat()
    user = PROXY_USER if found.st_mode & stat.S_IWGRP else found.st_uid
    if user == 0:
        return f"root, because only root may write to {socket_path}: let a group write to it"
    os.setgroups([])
    os.setgid(found.st_gid)
    os.setuid(user)
    try:
        os.setuid(0)
    except PermissionError:
        return f"user {user}, group {found.st_gid}"
    raise RuntimeError("root could be regained after setuid")


def main() -> None:
    """Run the proxy with the settings of the environment."""
    socket_path = os.environ.get("DOCKER_SOCKET", "/run/docker.sock")
    host, _, port = os.environ.get("ENGINE_PROXY_ADDRESS", "0.0.0.0:2375").rpartition(":")
    try:
        template = RunTemplate.parse(os.environ["TAXI_RUN_CONTAINER"], os.environ["TAXI_IMAGES"])
    except KeyError as error:
        sys.exit(f"{error} is not set; see the service `engine` in docker-compose.yml.")
    except InvalidTemplate as error:
        sys.exit(f"TAXI_RUN_CONTAINER: {error}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    user = drop_privileges(socket_path)
    with EngineProxy((host, int(port)), template, socket_path) as proxy:
        proxy.log(f"listening on {host}:{proxy.server_address[1]} as {user}")
        proxy.serve_forever()


if __name__ == "__main__":
    main()
