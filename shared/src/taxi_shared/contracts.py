"""Contracts between locations: the assets, partitions and columns that one uses of another.

Each location lists what it uses in `contracts.toml` of its package. Names and types are written out
there instead of taken from `keys` and `tables`: the tests of the location that makes an asset, and
of the one that uses it, then notice a change there. In the environment of a location:

    python -m taxi_shared.contracts ingestion                   check it, as maker and as user
    python -m taxi_shared.contracts ingestion --with uses.json  with more contracts, from a file
    python -m taxi_shared.contracts analytics --uses            print its contracts as user, as JSON

A deploy needs the last two: the running locations may be older than the source tree, and an image
has only its location's contracts.
"""

import argparse
import json
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import dagster as dg

from taxi_shared import partitions, settings
from taxi_shared.services import SERVICES
from taxi_shared.tables import TABLES, Table

Columns = Mapping[str, str]
"""Names of columns, and their SQL types."""

# What `Definitions.resolve_asset_graph` returns; dagster exports no name for it.
_AssetGraph = Any

PARTITIONS = {"monthly": partitions.monthly, "weekly": partitions.weekly}


@dataclass(frozen=True)
class Contract:
    """An asset of one location that another uses.

    user, maker: the two locations
    asset:       the asset's key, `taxi_trips`
    partitions:  one of `PARTITIONS`; None for an asset without
    tables:      the tables of the lake that come with it, with the columns that are used

    The names of the fields are those of the JSON that `--uses` prints; running locations of earlier
    releases print it too.
    """

    user: str
    maker: str
    asset: str
    partitions: str | None
    tables: Mapping[str, Columns]


def read_contracts(file: Path) -> list[Contract]:
    """The contracts of the package that has the file, as user.

    Raises ValueError with the file for what is no contract.
    """
    try:
        entries = tomllib.loads(file.read_text())["contracts"]
        return [_contract(file.parent.name, entry) for entry in entries]
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise ValueError(
            f"{file}: {error}; expected [[contracts]], each with maker, asset, tables with the "
            f"types of columns and, for an asset with partitions, one of {', '.join(PARTITIONS)}"
        ) from error


def _contract(user: str, entry: Mapping[str, Any]) -> Contract:
    if (kind := entry.get("partitions")) is not None and kind not in PARTITIONS:
        raise KeyError(f"partitions {kind}")
    return Contract(user, **{"partitions": None, **entry})


def _find_files() -> list[Path]:
    """The contracts of all locations of this repository, and of those that can be imported here."""
    repository = Path(__file__).resolve().parents[3]
    found = [*repository.glob("*/src/*/contracts.toml")]
    for folder in map(Path, sys.path):
        found += folder.glob("*/contracts.toml")
    return sorted({file.resolve() for file in found})


CONTRACTS = tuple(contract for file in _find_files() for contract in read_contracts(file))


def contracts_of(location: str, contracts: Iterable[Contract] = CONTRACTS) -> list[Contract]:
    """Return the contracts in which a location is the user."""
    return [contract for contract in contracts if contract.user == location]


def violations(
    location: str,
    defs: dg.Definitions,
    contracts: Iterable[Contract] = CONTRACTS,
    tables: Iterable[Table] = TABLES,
) -> list[str]:
    """Check a location's definitions and return a sentence for each violation of a contract.

    Contracts on trips of a service that TAXI_SERVICES leaves out do not hold: no location makes
    those, and none needs to use them.
    """
    graph, contracts = defs.resolve_asset_graph(), list(contracts)
    columns = {table.name: {c.name: c.type for c in table.all_columns} for table in tables}
    found: list[str] = []
    for contract in contracts:
        if contract.maker == location and not _is_left_out(contract):
            found += _asset_violations(contract, graph)
            found += _column_violations(contract, columns)
    found += _user_violations(location, graph, contracts_of(location, contracts))
    return found


def _asset_violations(contract: Contract, graph: _AssetGraph) -> Iterator[str]:
    """Check that the maker has the asset, with the partitions of the contract."""
    key = dg.AssetKey.from_user_string(contract.asset)
    used = f"{contract.user} uses asset {contract.asset}"
    if key not in graph.materializable_asset_keys:
        yield f"{used}, which {contract.maker} does not make"
        return
    partitions_def = graph.get(key).partitions_def
    if partitions_def != _partitions(contract):
        yield (
            f"{used} with {contract.partitions or 'no'} partitions, {contract.maker} makes it with "
            f"{partitions_def or 'none'}"
        )


def _user_violations(
    location: str, graph: _AssetGraph, contracts: Iterable[Contract]
) -> Iterator[str]:
    """Check that the assets a user has from others are those of its contracts."""
    agreed = {dg.AssetKey.from_user_string(contract.asset): contract for contract in contracts}
    for key in sorted(graph.get_all_asset_keys() - graph.materializable_asset_keys):
        name, described = key.to_user_string(), graph.get(key).partitions_def
        if key not in agreed:
            yield f"{location} uses asset {name}, which is in no contract"
        elif described and described != _partitions(agreed[key]):
            yield (
                f"{location} describes asset {name} with {described}, its contract has "
                f"{agreed[key].partitions or 'no'} partitions"
            )
    for key in sorted(agreed.keys() - graph.get_all_asset_keys()):
        if _is_left_out(agreed[key]):
            continue
        yield f"{location} does not use asset {key.to_user_string()}, which is in its contracts"


def _is_left_out(contract: Contract) -> bool:
    """Whether the asset is of a service of TLC whose trips are not loaded."""
    names = {service.asset: service.name for service in SERVICES}
    return names.get(contract.asset) not in (None, *settings.load().services)


def _partitions(contract: Contract) -> dg.PartitionsDefinition | None:
    return PARTITIONS[contract.partitions]() if contract.partitions else None


def _column_violations(contract: Contract, columns: Mapping[str, Columns]) -> Iterator[str]:
    for table, used in contract.tables.items():
        given = columns.get(table)
        if given is None:
            yield f"{contract.user} uses table {table}, which is not one of {', '.join(columns)}"
            continue
        for name, kind in used.items():
            if name not in given:
                yield f"{contract.user} uses column {table}.{name}, which does not exist"
            elif given[name] != kind:
                yield (
                    f"{contract.user} uses column {table}.{name} of type {kind}, it has "
                    f"{given[name]}"
                )


def main() -> None:
    """Check a location's definitions against the contracts; exit with 1 if one is violated."""
    parser = argparse.ArgumentParser(prog="taxi_shared.contracts", description=main.__doc__)
    parser.add_argument("location", help="name of the location, whose environment this is")
    parser.add_argument(
        "--uses", action="store_true", help="only print its contracts as user, as JSON"
    )
    parser.add_argument(
        "--with", dest="more", type=Path, action="append", default=[], metavar="FILE",
        help="more contracts: the JSON that --uses prints where a location is deployed",
    )  # fmt: skip
    options = parser.parse_args()
    location: str = options.location
    if options.uses:
        json.dump([asdict(contract) for contract in contracts_of(location)], sys.stdout, indent=2)
        return
    more = [Contract(**each) for file in options.more for each in json.loads(file.read_text())]
    try:
        defs = import_module(f"{location}.definitions").defs
    except ModuleNotFoundError as error:
        if error.name != location:
            raise
        parser.error(f"this environment has no location {location}")
    # As user, a location is checked against its own file only.
    elsewhere = [each for each in more if each.maker == location and each not in CONTRACTS]
    found = violations(location, defs, [*CONTRACTS, *elsewhere])
    sys.stdout.writelines(f"{sentence}\n" for sentence in found)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
