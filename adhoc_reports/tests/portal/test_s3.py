"""The portal over a data root on a real S3 server: one story from asking to looking."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import dagster as dg

from adhoc_reports.defs.requests import adhoc_request
from adhoc_reports.lib import intake
from taxi_shared import storage
from taxi_shared.lake import Lake
from taxi_shared.storage import DataRoot

from .conftest import Office, write_trips, write_zones
from .support import FORM, QUESTION, portal_at

NAME = "manhattan_2023-01-10_2023-01-24"


def test_on_s3_a_request_is_asked_once_taken_by_the_sensor_answered_and_seen(
    s3_root, tmp_path, instance, monkeypatch
):
    root = DataRoot.at(s3_root)
    _fill_lake(root, tmp_path)
    office = Office(root, instance)
    monkeypatch.setattr("adhoc_reports.portal.office.PATIENCE_SECONDS", 60)  # of a busy machine
    with portal_at(root) as portal:

        def ask(_: int) -> str:
            return portal.client.post("/", data=FORM).headers["location"]

        with ThreadPoolExecutor(8) as clients:
            assert set(clients.map(ask, range(8))) == {f"/reports/{NAME}"}
        assert json.loads((root.requests / f"{NAME}.json").read_bytes()) == QUESTION
        assert _state(portal.client) == "waiting"

        tick = office.tick()
        assert isinstance(tick, dg.SensorResult)
        (asked,) = tick.run_requests or ()
        portal.dagster.add(asked.run_key, "STARTED")
        time.sleep(1.1)
        assert _state(portal.client) == "running"
        result = dg.materialize(
            [adhoc_request],
            instance=instance,
            resources={"database": office.database},
            run_config=asked.run_config,
            tags={"dagster/run_key": asked.run_key},
        )
        assert result.success

        time.sleep(1.1)
        found = portal.client.get(f"/api/reports/{NAME}").json()
        assert (found["state"], found["trips"]) == ("done", 1)
        assert found["result"]["by_hour"][8][2] == 1
        assert portal.client.get(found["chart"]).content.startswith(b"\x89PNG")
        assert portal.client.get(found["numbers"]).text.startswith("hour_of_day")
        assert ask(0) == f"/reports/{NAME}"

        list_requests = intake.list_requests

        def list_slowly(folder):
            time.sleep(1)
            return list_requests(folder)

        monkeypatch.setattr(portal.app.state.office._snapshot, "patience", 0.2)
        monkeypatch.setattr(intake, "list_requests", list_slowly)
        time.sleep(1.1)
        page = portal.client.get("/reports").text
        assert "The storage does not answer. What you see is what was there" in page
        assert f'href="/reports/{NAME}"' in page


def _fill_lake(root: DataRoot, tmp_path: Path) -> None:
    lake = Lake(DataRoot.at(str(tmp_path)))
    write_zones(lake)
    write_trips(lake, "2023-01-01", [(4, datetime(2023, 1, 10, 8)), (7, None)])
    for file in tmp_path.rglob("*.parquet"):
        content = file.read_bytes()
        storage.write_bytes(root.base / file.relative_to(tmp_path).as_posix(), content)


def _state(client) -> str:
    return client.get(f"/api/reports/{NAME}").json()["state"]
