"""What each container can reach, and what it can do there."""

import json

import pytest

from taxi_platform.workspace import locations
from tests.containers.conftest import Stack

NAMES = [location.name for location in locations()]
UNREACHABLE = {"webserver": 3000, "postgres": 5432, "engine": 2375, **dict.fromkeys(NAMES, 4000)}

CONNECT = """
import json, socket, sys
def reaches(host, port):
    try:
        socket.create_connection((host, port), 3).close()
    except OSError as error:
        return False
    return True
print(json.dumps([reaches(host, port) for host, port in json.loads(sys.argv[1])]))
"""


def reached(stack: Stack, service: str, targets: list[tuple[str, int]]) -> list[bool]:
    """For each host and port whether a container of `service` can connect to it."""
    given = json.dumps(targets)
    found: list[bool] = json.loads(stack.execute(service, "python", "-c", CONNECT, given))
    return found


def addresses(stack: Stack, service: str) -> list[str]:
    (found,) = stack.inspect(stack.container(service))
    return [each["IPAddress"] for each in found["NetworkSettings"]["Networks"].values()]


def test_portal_reaches_no_service_without_password(stack: Stack):
    names = list(UNREACHABLE.items())
    by_address = [(ip, port) for name, port in names for ip in addresses(stack, name)]
    assert not any(reached(stack, "portal", [*names, *by_address]))
    # The same check finds what is reachable.
    assert reached(stack, "portal", [("viewer", 3000)]) == [True]
    assert all(reached(stack, "daemon", [*names, *by_address]))


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
def test_viewer_refuses_mutations_of_the_portal(stack: Stack, mutation: str):
    query = {"query": f"mutation {{ {mutation} {{ __typename }} }}"}
    ask = f"""
import json, os, urllib.request
address = os.environ["DAGSTER_URL"] + "/graphql"
body, kind = json.dumps({query!r}).encode(), {{"Content-Type": "application/json"}}
print(urllib.request.urlopen(urllib.request.Request(address, body, kind)).read().decode())
"""
    answer = json.loads(stack.python("portal", ask))
    ((_, refused),) = answer["data"].items()
    assert refused["__typename"] == "UnauthorizedError"


def test_code_of_a_team_cannot_reach_the_engine(stack: Stack):
    targets = [("engine", 2375), *((ip, 2375) for ip in addresses(stack, "engine"))]
    for name in NAMES:
        assert not any(reached(stack, name, targets))
