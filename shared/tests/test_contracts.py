"""A location that breaks what others rely on is told, with the name of who relies on it."""

from dataclasses import replace

import dagster as dg
import pytest

from taxi_shared import partitions
from taxi_shared.contracts import USES, Use, broken, uses_of
from taxi_shared.tables import TABLES, Column, Table

FARES = Table("fares", (Column("amount", "DECIMAL(12,2)", "An amount."),))
USE = Use("reports", "fares", "fare", "monthly", {"fares": {"amount": "DECIMAL(12,2)"}})


def maker(key: str = "fare", **how: object) -> dg.Definitions:
    @dg.asset(key=key, **{"partitions_def": partitions.monthly(), **how})
    def fare() -> None: ...

    return dg.Definitions(assets=[fare])


def user(**how: object) -> dg.Definitions:
    @dg.asset(deps=["fare"])
    def chart() -> None: ...

    specs = [dg.AssetSpec("fare", **how)] if how else []
    return dg.Definitions(assets=[chart, *specs])


def test_a_promise_that_is_kept_is_not_worth_a_word():
    assert broken("fares", maker(), [USE], [FARES]) == []
    assert broken("reports", user(), [USE], [FARES]) == []
    assert broken("reports", user(partitions_def=partitions.monthly()), [USE], [FARES]) == []


def test_an_asset_that_is_renamed_breaks_its_user():
    assert broken("fares", maker("fares"), [USE], [FARES]) == [
        "reports relies on asset fare, which fares does not make"
    ]


def test_other_partitions_break_their_user():
    for how in ({"partitions_def": None}, {"partitions_def": partitions.weekly()}):
        (sentence,) = broken("fares", maker(**how), [USE], [FARES])
        assert "reports relies on asset fare with monthly partitions, fares makes it" in sentence


@pytest.mark.parametrize(
    ("tables", "sentence"),
    [
        ([], "relies on table fares, which is not one of"),
        ([replace(FARES, columns=())], "relies on column fares.amount, which is not there"),
        (
            [replace(FARES, columns=(replace(FARES.columns[0], type="DOUBLE"),))],
            "relies on column fares.amount of type DECIMAL(12,2), it has DOUBLE",
        ),
    ],
)
def test_a_table_or_column_that_is_dropped_or_changed_breaks_its_user(tables, sentence):
    (found,) = broken("fares", maker(), [USE], tables)
    assert found.startswith(f"reports {sentence}")


def test_a_user_may_rely_on_no_more_than_it_was_promised_and_a_promise_must_be_used():
    assert broken("reports", user(), [], [FARES]) == [
        "reports relies on asset fare, which no contract promises to it"
    ]
    assert broken("reports", maker("other"), [USE], [FARES]) == [
        "asset fare is promised to reports, which does not use it"
    ]


def test_a_user_that_describes_other_partitions_than_it_was_promised_is_told():
    (sentence,) = broken("reports", user(partitions_def=partitions.weekly()), [USE], [FARES])
    assert "reports describes asset fare with" in sentence
    assert "it is promised with monthly partitions" in sentence


def test_every_column_that_anyone_relies_on_is_told_when_it_is_dropped():
    """Whichever column of the lake is dropped, its users are named, and nobody else."""
    assets = {
        use.asset: dg.asset(
            key=use.asset, partitions_def=partitions.monthly() if use.partitions else None
        )(lambda: None)
        for use in USES
    }
    defs = dg.Definitions(assets=list(assets.values()))
    assert broken("ingestion", defs) == []
    relied_on = {
        (user, table, column)
        for user in {use.user for use in USES}
        for use in uses_of(user)
        for table, columns in use.tables.items()
        for column in columns
    }
    told = set()
    for table in TABLES:
        for column in table.all_columns:
            left = replace(
                table,
                columns=tuple(c for c in table.columns if c != column),
                partition_by=None if column == table.partition_by else table.partition_by,
            )
            others = [each for each in TABLES if each != table]
            for sentence in broken("ingestion", defs, tables=[left, *others]):
                assert f"relies on column {table.name}.{column.name}, " in sentence
                told.add((sentence.split()[0], table.name, column.name))
    assert told == relied_on
