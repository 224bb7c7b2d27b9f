"""Dagster's code server, which ends when it can no longer serve its definitions.

`python -m taxi_shared.code_server --port=4000 OPTIONS` is `dagster code-server start` with these
options. That is a process which passes all requests on to another one that has loaded the code.
The first stays when the second has died (out of memory, `kill -9`), still passes Dagster's health
check, and answers everything else with errors until someone reloads the location in the UI. This
one exits instead, and what has started it starts it again: Compose, ECS, or `make dev`.
"""

import logging
import os
import runpy
import sys
import time
from threading import Thread

from taxi_shared.health import has_code

INTERVAL_SECONDS = 2
FAILURES = 3
# The second process ends itself after so long without a sign of life by the first, 30 s by
# default: a suspended laptop and a machine under load stop the signs for longer than that. Nothing
# needs this limit: containers and process groups end both processes at once.
HEARTBEAT_SECONDS = 24 * 3600

log = logging.getLogger("dagster.code_server")


def exit_without_code(port: str) -> None:
    """Exit with status 1 once the code server answered, and then failed to three times in a row."""
    while not has_code(port):  # for minutes, where the code is slow to load
        time.sleep(INTERVAL_SECONDS)
    failures = 0
    while failures < FAILURES:
        time.sleep(INTERVAL_SECONDS)
        failures = 0 if has_code(port) else failures + 1
    log.error("The process with the definitions does not answer: the code server ends.")
    os._exit(1)


def main() -> None:
    """Run `dagster code-server start` with the options of the command line."""
    prefix = "--port="
    ports = [each.removeprefix(prefix) for each in sys.argv if each.startswith(prefix)]
    if len(ports) != 1:
        sys.exit("Name the port once, as in --port=4000.")
    Thread(target=exit_without_code, args=ports, daemon=True).start()
    heartbeat = f"--heartbeat-ttl={HEARTBEAT_SECONDS}"
    sys.argv = ["dagster", "code-server", "start", heartbeat, *sys.argv[1:]]
    runpy.run_module("dagster", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
