"""The same with the data root on S3: from `docker compose up` to the chart of a request."""

import json
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from taxi_platform.instance import free_port
from tests.containers.conftest import SAMPLE, Stack, remove
from tests.containers.test_platform import RANGE, REQUEST, printed_by_last_run
from tests.waiting import wait_for

S3 = {
    "COMPOSE_PROFILES": "s3",
    "TAXI_DATA_ROOT": "s3://taxi/platform",
    "AWS_ENDPOINT_URL": "http://s3:8333",
    "TAXI_INSTANCE": "instance-s3",
    "TAXI_LOGS_BUCKET": "taxi",
    "AWS_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "tests",
    "AWS_SECRET_ACCESS_KEY": "only-for-tests",
    "TAXI_PORTAL_KEY_ID": "tests",
    "TAXI_PORTAL_KEY": "only-for-tests",
}

CLIENT = """
from botocore.session import Session
s3 = Session().create_client("s3")
"""


@pytest.fixture(scope="module")
def on_s3(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    settings = {**SAMPLE, **S3}
    stack = Stack(
        checkout, f"taxi-tests-{uuid.uuid4().hex[:6]}", free_port(), free_port(), settings
    )
    stack.build()
    try:
        stack.compose("up", "--detach", "--wait")
        stack.wait_for_locations()
        stack.put_sample(tmp_path_factory.mktemp("sample"))
        yield stack
    finally:
        remove(stack)


def test_request_becomes_a_chart_on_s3(on_s3: Stack) -> None:
    run = on_s3.graphql.launch("ingestion", "trip_update_job", tags=RANGE)
    assert on_s3.wait_for_run(run) == "SUCCESS", on_s3.graphql.run_failure(run)
    body = json.dumps(REQUEST)
    put = (
        f"s3.put_object(Bucket='taxi', Key='platform/requests/first.json', Body={body!r}.encode())"
    )
    on_s3.python("ingestion", f"{CLIENT}\n{put}")

    def chart() -> str:
        listed = (
            "print([each['Key'] for each in s3.list_objects_v2(Bucket='taxi',"
            " Prefix='platform/outputs/first').get('Contents', [])])"
        )
        return on_s3.python("ingestion", f"{CLIENT}\n{listed}")

    wait_for(lambda: "platform/outputs/first.png" in chart(), what="the chart")
    on_volume = "import os; print(sorted(os.listdir('/data')))"
    assert on_s3.python("ingestion", on_volume) == "['outputs', 'requests', 'source']\n"
    assert on_s3.python("ingestion", "import os; print(os.listdir('/data/outputs'))") == "[]\n"


def test_logs_of_a_run_are_on_s3(on_s3: Stack) -> None:
    assert "STEP_SUCCESS" in printed_by_last_run(on_s3)
    listed = "print(s3.list_objects_v2(Bucket='taxi', Prefix='logs')['KeyCount'])"
    assert int(on_s3.python("ingestion", f"{CLIENT}\n{listed}")) > 0


def test_portal_on_s3_requires_its_own_keys(on_s3: Stack) -> None:
    address = f"http://127.0.0.1:{on_s3.portal_port}"
    reports = f"{address}/api/reports"
    # Its first look at S3 may take longer than a page waits.
    wait_for(lambda: requests.get(reports, timeout=30).status_code == 200, what="the reports on S3")
    platform_keys = {k: v for k, v in on_s3.settings.items() if "PORTAL" not in k}
    started = subprocess.run(
        ["docker", "compose", "run", "--rm", "--no-deps", "--no-TTY", "portal"],
        check=False,
        cwd=on_s3.root,
        env=replace(on_s3, settings=platform_keys).environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert started.returncode != 0
    assert "set TAXI_PORTAL_KEY_ID and TAXI_PORTAL_KEY" in started.stderr
