"""What each location relies on of the others: assets, their partitions, and columns of tables.

Written out here word for word, and not taken from `keys` and `tables`: a name or a type that
changes there is noticed here, by the tests of the location that makes it and by those of the
location that uses it. In the environment of a location:

    python -m taxi_shared.contracts ingestion                  check it, as maker and as user
    python -m taxi_shared.contracts ingestion --with uses.json  and what others rely on elsewhere
    python -m taxi_shared.contracts analytics --uses           what it relies on, as JSON

The last two are for a deploy: what is running may be older than what is written here.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path

import dagster as dg

from taxi_shared import partitions
from taxi_shared.tables import TABLES, Table

Columns = Mapping[str, str]
"""Names of columns, and their SQL types."""

PARTITIONS = {"monthly": partitions.monthly, "weekly": partitions.weekly}


@dataclass(frozen=True)
class Use:
    """What a location relies on of another's asset.

    user, maker: the two locations
    asset:       the asset's key, `taxi_trips`
    partitions:  one of `PARTITIONS`; None for an asset without
    tables:      the tables of the lake that come with it, and their columns that are used
    """

    user: str
    maker: str
    asset: str
    partitions: str | None
    tables: Mapping[str, Columns]


USES = (
    Use(
        user="analytics",
        maker="ingestion",
        asset="taxi_trips",
        partitions="monthly",
        tables={
            "trips": {
                "pickup_zone_id": "INTEGER",
                "week_start": "DATE",
                "total_amount": "DECIMAL(12,2)",
                "trip_distance": "DECIMAL(12,2)",
                "passenger_count": "INTEGER",
            },
            "trip_days": {
                "partition_date": "DATE",
                "pickup_date": "DATE",
                "num_trips": "BIGINT",
                "total_amount": "DECIMAL(18,2)",
            },
        },
    ),
    Use(
        user="analytics",
        maker="ingestion",
        asset="taxi_zones",
        partitions=None,
        tables={
            "zones": {
                "zone_id": "INTEGER",
                "zone": "VARCHAR",
                "borough": "VARCHAR",
                "geometry": "VARCHAR",
            }
        },
    ),
    Use(
        user="adhoc_reports",
        maker="ingestion",
        asset="taxi_trips",
        partitions="monthly",
        tables={
            "trips": {
                "pickup_zone_id": "INTEGER",
                "pickup_date": "DATE",
                "pickup_hour": "INTEGER",
                "pickup_weekday": "INTEGER",
            },
            "trip_days": {
                "partition_date": "DATE",
                "pickup_date": "DATE",
                "num_trips": "BIGINT",
                "num_unknown_pickup_zones": "BIGINT",
            },
        },
    ),
    Use(
        user="adhoc_reports",
        maker="ingestion",
        asset="taxi_zones",
        partitions=None,
        tables={"zones": {"zone_id": "INTEGER", "zone": "VARCHAR", "borough": "VARCHAR"}},
    ),
)


def uses_of(location: str, uses: Iterable[Use] = USES) -> list[Use]:
    """What a location relies on."""
    return [use for use in uses if use.user == location]


def broken(
    location: str,
    defs: dg.Definitions,
    uses: Iterable[Use] = USES,
    tables: Iterable[Table] = TABLES,
) -> list[str]:
    """A sentence for each promise that a location's definitions break, or rely on without one."""
    graph, uses = defs.resolve_asset_graph(), list(uses)
    made = {key: graph.get(key) for key in graph.materializable_asset_keys}
    columns = {table.name: {c.name: c.type for c in table.all_columns} for table in tables}
    found: list[str] = []
    for use in (use for use in uses if use.maker == location):
        asset = made.get(dg.AssetKey.from_user_string(use.asset))
        if asset is None:
            found.append(f"{use.user} relies on asset {use.asset}, which {location} does not make")
            continue
        if asset.partitions_def != _partitions(use):
            found.append(
                f"{use.user} relies on asset {use.asset} with "
                f"{use.partitions or 'no'} partitions, {location} makes it with "
                f"{asset.partitions_def or 'none'}"
            )
        found += _columns_broken(use, columns)
    promised = {dg.AssetKey.from_user_string(use.asset): use for use in uses_of(location, uses)}
    for key in sorted(graph.get_all_asset_keys() - made.keys()):
        name, described = key.to_user_string(), graph.get(key).partitions_def
        if key not in promised:
            found.append(f"{location} relies on asset {name}, which no contract promises to it")
        elif described and described != _partitions(promised[key]):
            found.append(
                f"{location} describes asset {name} with {described}, it is promised with "
                f"{promised[key].partitions or 'no'} partitions"
            )
    found += [
        f"asset {key.to_user_string()} is promised to {location}, which does not use it"
        for key in sorted(promised.keys() - graph.get_all_asset_keys())
    ]
    return found


def _partitions(use: Use) -> dg.PartitionsDefinition | None:
    return PARTITIONS[use.partitions]() if use.partitions else None


def _columns_broken(use: Use, columns: Mapping[str, Columns]) -> Iterator[str]:
    for table, used in use.tables.items():
        given = columns.get(table)
        if given is None:
            yield f"{use.user} relies on table {table}, which is not one of {', '.join(columns)}"
            continue
        for name, kind in used.items():
            if name not in given:
                yield f"{use.user} relies on column {table}.{name}, which is not there"
            elif given[name] != kind:
                yield (
                    f"{use.user} relies on column {table}.{name} of type {kind}, it has "
                    f"{given[name]}"
                )


def main() -> None:
    """Check a location's definitions by its contracts; status 1 where one is broken."""
    parser = argparse.ArgumentParser(prog="taxi_shared.contracts", description=main.__doc__)
    parser.add_argument("location", help="name of the location, whose environment this is")
    parser.add_argument("--uses", action="store_true", help="only print what it relies on, as JSON")
    parser.add_argument(
        "--with", dest="more", type=Path, action="append", default=[], metavar="FILE",
        help="what others rely on in addition: the JSON that --uses prints where they are deployed",
    )  # fmt: skip
    options = parser.parse_args()
    location: str = options.location
    if options.uses:
        json.dump([asdict(use) for use in uses_of(location)], sys.stdout, indent=2)
        return
    more = [Use(**use) for file in options.more for use in json.loads(file.read_text())]
    try:
        defs = import_module(f"{location}.definitions").defs
    except ModuleNotFoundError as error:
        if error.name != location:
            raise
        parser.error(f"this environment has no location {location}")
    # As a user, a location is held to what is written here alone.
    elsewhere = [use for use in more if use.maker == location and use not in USES]
    found = broken(location, defs, [*USES, *elsewhere])
    sys.stdout.writelines(f"{sentence}\n" for sentence in found)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
