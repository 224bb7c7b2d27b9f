"""What each container can reach, and what it can do there."""

import json

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


def test_portal_reaches_no_service_without_password(stack: Stack) -> None:
    names = list(UNREACHABLE.items())
    by_address = [(ip, port) for name, port in names for ip in addresses(stack, name)]
    assert not any(reached(stack, "portal", [*names, *by_address]))
    # The same check finds what is reachable.
    assert all(reached(stack, "daemon", [*names, *by_address]))


def test_code_of_a_team_cannot_reach_the_engine(stack: Stack) -> None:
    targets = [("engine", 2375), *((ip, 2375) for ip in addresses(stack, "engine"))]
    for name in NAMES:
        assert not any(reached(stack, name, targets))
