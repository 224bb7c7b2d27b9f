"""A violation of a contract between locations is reported, with the name of the user."""

import re
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from taxi_shared import partitions
from taxi_shared.contracts import (
    CONTRACTS,
    Contract,
    contracts_of,
    read_contracts,
    violations,
)
from taxi_shared.services import SERVICES
from taxi_shared.tables import TABLES, Column, Table

FARES = Table("fares", (Column("amount", "DECIMAL(12,2)", "An amount."),))
CONTRACT = Contract("reports", "fares", "fare", "monthly", {"fares": {"amount": "DECIMAL(12,2)"}})
MONTHLY, WEEKLY = partitions.monthly(), partitions.weekly()


def maker(
    key: str = "fare", partitions_def: dg.PartitionsDefinition[str] | None = MONTHLY
) -> dg.Definitions:
    """Definitions that make one asset."""

    @dg.asset(key=key, partitions_def=partitions_def)
    def fare() -> None: ...

    return dg.Definitions(assets=[fare])


def user(partitions_def: dg.PartitionsDefinition[str] | None = None) -> dg.Definitions:
    """Definitions that use asset `fare`, described with some partitions or not at all."""

    @dg.asset(deps=["fare"])
    def chart() -> None: ...

    described = [dg.AssetSpec("fare", partitions_def=partitions_def)] if partitions_def else []
    return dg.Definitions(assets=[chart, *described])


def write(folder: Path, text: str) -> Path:
    (folder / "reports").mkdir()
    file = folder / "reports" / "contracts.toml"
    file.write_text(text)
    return file


def test_contracts_of_a_package_are_read_from_its_file(tmp_path: Path) -> None:
    text = """
        [[contracts]]
        maker = "fares"
        asset = "fare"
        partitions = "monthly"
        [contracts.tables.fares]
        amount = "DECIMAL(12,2)"
        [[contracts]]
        maker = "fares"
        asset = "tariff"
        tables = {}
    """
    tariff = replace(CONTRACT, asset="tariff", partitions=None, tables={})
    assert read_contracts(write(tmp_path, text)) == [CONTRACT, tariff]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[[contracts]", "contracts.toml: Expected"),
        ("", "contracts.toml: 'contracts'; expected"),
        ("[[contracts]]\nasset = 'a'\ntables = {}", "'maker'; expected"),
        ("[[contracts]]\nmaker='m'\nasset='a'\ntables={}\npartitions='daily'", "partitions daily"),
    ],
)
def test_what_is_no_contract_is_named(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape("reports/contracts.toml: ")) as raised:
        read_contracts(write(tmp_path, text))
    assert reason in str(raised.value)
    assert "monthly, weekly" in str(raised.value)


def test_contracts_of_all_locations_are_found() -> None:
    root = Path(__file__).parents[2]
    expected = {file.parent.name for file in root.glob("*/src/*/contracts.toml")}
    assert {"analytics", "adhoc_reports"} <= expected
    assert {contract.user for contract in CONTRACTS} == expected


def test_kept_contract_has_no_violations() -> None:
    assert violations("fares", maker(), [CONTRACT], [FARES]) == []
    assert violations("reports", user(), [CONTRACT], [FARES]) == []
    assert violations("reports", user(MONTHLY), [CONTRACT], [FARES]) == []


def test_renamed_asset_is_a_violation() -> None:
    assert violations("fares", maker("fares"), [CONTRACT], [FARES]) == [
        "reports uses asset fare, which fares does not make"
    ]


@pytest.mark.parametrize("made", [None, WEEKLY])
def test_other_partitions_are_a_violation(made: dg.PartitionsDefinition[str] | None) -> None:
    (sentence,) = violations("fares", maker(partitions_def=made), [CONTRACT], [FARES])
    assert "reports uses asset fare with monthly partitions, fares makes it with" in sentence


@pytest.mark.parametrize(
    ("tables", "sentence"),
    [
        ([], "uses table fares, which is not one of"),
        ([replace(FARES, columns=())], "uses column fares.amount, which does not exist"),
        (
            [replace(FARES, columns=(replace(FARES.columns[0], type="DOUBLE"),))],
            "uses column fares.amount of type DECIMAL(12,2), it has DOUBLE",
        ),
    ],
)
def test_dropped_or_changed_column_is_a_violation(tables: list[Table], sentence: str) -> None:
    (found,) = violations("fares", maker(), [CONTRACT], tables)
    assert found.startswith(f"reports {sentence}")


def test_user_needs_a_contract_for_every_asset() -> None:
    assert violations("reports", user(), [], [FARES]) == [
        "reports uses asset fare, which is in no contract"
    ]


def test_contract_without_use_is_a_violation() -> None:
    assert violations("reports", maker("other"), [CONTRACT], [FARES]) == [
        "reports does not use asset fare, which is in its contracts"
    ]


def test_user_describes_the_partitions_of_its_contract() -> None:
    (sentence,) = violations("reports", user(WEEKLY), [CONTRACT], [FARES])
    assert "reports describes asset fare with" in sentence
    assert "its contract has monthly partitions" in sentence


def test_trips_that_are_not_loaded_are_in_no_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    contract = Contract("reports", "ingestion", "fhvhv_trips", "monthly", {})
    for chosen, sentences in (
        ("yellow", [[], []]),
        (
            "yellow,fhvhv",
            [
                ["reports uses asset fhvhv_trips, which ingestion does not make"],
                ["reports does not use asset fhvhv_trips, which is in its contracts"],
            ],
        ),
    ):
        monkeypatch.setenv("TAXI_SERVICES", chosen)
        found = [violations(name, maker(), [contract]) for name in ("ingestion", "reports")]
        assert found == sentences


def without(table: Table, column: Column) -> Table:
    """The table without a column, which may be that of its partitions."""
    return replace(
        table,
        columns=tuple(each for each in table.columns if each != column),
        partition_by=None if column == table.partition_by else table.partition_by,
    )


def test_dropping_a_column_names_its_users_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAXI_SERVICES", ",".join(each.name for each in SERVICES))
    assets = {
        contract.asset: dg.asset(
            key=contract.asset, partitions_def=MONTHLY if contract.partitions else None
        )(lambda: None)
        for contract in CONTRACTS
    }
    defs = dg.Definitions(assets=list(assets.values()))
    assert violations("ingestion", defs) == []
    named = set()
    for table in TABLES:
        others = [each for each in TABLES if each != table]
        for column in table.all_columns:
            for sentence in violations("ingestion", defs, tables=[without(table, column), *others]):
                assert f"uses column {table.name}.{column.name}, " in sentence
                named.add((sentence.split()[0], table.name, column.name))
    assert named == {
        (contract.user, table, column)
        for location in {contract.user for contract in CONTRACTS}
        for contract in contracts_of(location)
        for table, columns in contract.tables.items()
        for column in columns
    }
