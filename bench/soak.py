"""`python -m bench.soak --minutes 5`: what grows while requests and loads keep coming.

Every 30 seconds it prints the number of runs, the memory of each server with its children, and the
size of the instance's home. Runs of requests are kept for five minutes here instead of thirty days,
so that what they leave stops growing within the soak: `adhoc_request_retention_sensor` removes
their events and logs. Other things that grow have other bounds: ticks, see `retention` in
dagster.yaml, and the bytes that a server's allocator keeps. Runs of loads stay.
"""

import itertools
import json
import os
import time
from collections import Counter
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from bench.ours import TRIPS
from bench.processes import process_tree, remove_settings
from taxi_platform.instance import Instance
from taxi_platform.sample import write_sample

MONTHS = (date(2023, 1, 1), date(2023, 2, 1), date(2023, 3, 1))
ROWS = 20_000
KEEP_MINUTES = 5
LINE_SECONDS = 30.0
PAGE = os.sysconf("SC_PAGE_SIZE")


@click.command()
@click.option("--minutes", default=5, show_default=True, help="How long requests are sent.")
@click.option("--every", default=1.0, show_default=True, help="Seconds between two requests.")
def main(minutes: int, every: float) -> None:
    """Send requests and a load a minute, and print what grows."""
    remove_settings()
    with TemporaryDirectory(prefix="taxi-soak-") as folder:
        base = Path(folder)
        write_sample(base / "source", list(MONTHS), ROWS)
        (base / "data" / "requests").mkdir(parents=True)
        with Instance(base / "home", environment=_environment(base)) as instance:
            _soak(instance, base, minutes * 60, every)


def _soak(instance: Instance, base: Path, seconds: int, every: float) -> None:
    begin = time.monotonic()
    due = {"request": 0.0, "load": 0.0, "line": LINE_SECONDS}
    numbers = itertools.count()
    click.echo("  time   runs  home MB  " + "  ".join(f"{name} MB" for name in instance.servers))
    while (now := time.monotonic() - begin) < seconds:
        if now >= due["request"]:
            _send_request(base / "data" / "requests", next(numbers))
            due["request"] = now + every
        if now >= due["load"]:
            month = MONTHS[int(now / 60) % len(MONTHS)].isoformat()
            instance.graphql.launch("ingestion", TRIPS, tags={"dagster/partition": month})
            due["load"] = now + 60
        if now >= due["line"]:
            click.echo(_line(instance, base / "home", now))
            due["line"] += LINE_SECONDS
        time.sleep(0.2)
    for location, job in (("adhoc_reports", "adhoc_request_job"), ("ingestion", TRIPS.job)):
        statuses = Counter(instance.graphql.runs_of(location, job).values())
        click.echo(f"{job}: {dict(statuses)}")


def _environment(base: Path) -> dict[str, str]:
    return {
        "TAXI_KEEP_REQUEST_RUNS_DAYS": str(KEEP_MINUTES / (24 * 60)),
        "TAXI_DATA_ROOT": str(base / "data"),
        "TLC_SOURCE_URL": str(base / "source"),
        "TAXI_ZONES_URL": str(base / "source" / "misc" / "taxi_zones.csv"),
        "TAXI_START_DATE": MONTHS[0].isoformat(),
        "TAXI_END_DATE": "2023-04-01",
    }


def _send_request(folder: Path, number: int) -> None:
    """Ask for another report; every tenth request changes an earlier one."""
    name = number if number % 10 else number // 2
    request = {"borough": "Manhattan", "start_date": "2023-01-10"}
    content = {**request, "end_date": f"2023-01-{11 + number % 20}"}
    (folder / f"r{name}.json").write_text(json.dumps(content))


def _line(instance: Instance, home: Path, seconds: float) -> str:
    """The number of finished and unfinished runs, and the sizes of home and servers, in MB."""
    files = map(_size, home.rglob("*"))
    servers = [
        sum(map(_memory, process_tree(server.process.pid))) if server.process else 0
        for server in instance.servers.values()
    ]
    runs = len(list((home / "history" / "runs").glob("*-*.db")))
    sizes = "  ".join(f"{size / 1e6:8.0f}" for size in servers)
    return f"{seconds:6.0f} {runs:6,} {sum(files) / 1e6:8.1f}  {sizes}"


def _size(path: Path) -> int:
    """The size of a file in bytes; 0 if it has just been removed."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _memory(process: int) -> int:
    """The resident memory of a process in bytes; 0 if it has just ended."""
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * PAGE
    except OSError:
        return 0


if __name__ == "__main__":
    main()
