"""Azure Blob Storage on this machine: Azurite, Microsoft's emulator, from npm.

`deltalake` lists the commits that follow one by `startFrom`, which Azurite ignores. A server in
front of it leaves the others out.
"""

import re
import shutil
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from xml.sax.saxutils import unescape

from taxi_testing.front import Front, free_port, run, serve, wait_for_port

# The account of every Azurite, which its documentation publishes.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


_BLOB = re.compile(r"<Blob><Name>([^<]*)</Name>.*?</Blob>", re.DOTALL)


@dataclass(frozen=True)
class AzureServer:
    """A server on this machine: its address and its key."""

    endpoint: str

    @property
    def environment(self) -> Mapping[str, str]:
        """Azure's variable, by which the platform finds the server."""
        parts = {
            "DefaultEndpointsProtocol": "http",
            "AccountName": ACCOUNT,
            "AccountKey": KEY,
            "BlobEndpoint": f"{self.endpoint}/{ACCOUNT}",
        }
        connection = "".join(f"{name}={value};" for name, value in parts.items())
        return {"AZURE_STORAGE_CONNECTION_STRING": connection}

    def new_bucket(self) -> str:
        """Create a container and return its address, `az://…`."""
        from azure.storage.blob import BlobServiceClient

        name = f"tests-{uuid.uuid4().hex[:12]}"
        connection = self.environment["AZURE_STORAGE_CONNECTION_STRING"]
        with BlobServiceClient.from_connection_string(connection) as client:
            client.create_container(name)
        return f"az://{name}"


def azure_program() -> str | None:
    """Return the path of Azurite; None where it is missing."""
    return shutil.which("azurite-blob")


@contextmanager
def azure_server(folder: Path) -> Iterator[AzureServer]:
    """Start Azurite, with its files in memory, on a free port of 127.0.0.1.

    folder: for its log. Raises RuntimeError where it is not installed or does not answer within
    a minute.
    """
    program = azure_program()
    if program is None:
        raise RuntimeError("Azurite is not installed")
    port = free_port()
    with (folder / "azurite.log").open("wb") as log:
        process = subprocess.Popen(
            # It knows the versions of the API up to its release; clients may be newer.
            [
                *(program, f"--blobPort={port}", "--inMemoryPersistence", "--skipApiVersionCheck"),
                *("--silent", "--disableTelemetry"),
            ],
            cwd=folder,
            stdout=log,
            stderr=log,
        )
    try:
        wait_for_port(port, process)
        with serve(__name__, f"127.0.0.1:{port}") as address:
            yield AzureServer(address)
    finally:
        process.terminate()
        process.wait()


class _Listing(Front):
    """Leave out the blobs before `startFrom`; pass everything else on."""

    def respond(self) -> None:
        """Respond to a request of any method."""
        first = parse_qs(urlsplit(self.path).query).get("startFrom")
        response = self.ask(self.command, self.path, self.body())
        if first:
            blobs = _BLOB.sub(
                lambda blob: blob[0] if unescape(blob[1]) >= first[0] else "",
                response.body.decode(),
            )
            response = replace(response, body=blobs.encode())
        self.send(response)


if __name__ == "__main__":
    run(_Listing)
