"""Files with a defect: what can be loaded is loaded and counted, all else is refused by name."""

import base64
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow.parquet import encryption
from upath import UPath

from ingestion.lib import conform, loading
from ingestion.lib.conform import ValueNotReadable
from ingestion.lib.loading import LoadedMonth, MonthFile
from ingestion.lib.parquet_schema import DamagedFile, LayoutError, read_schema
from taxi_shared.database import LakeDatabase
from taxi_shared.tables import LOSSES, TRIPS

from .layouts import PICKUP, parquet, with_column, yellow

NAN, INFINITY = float("nan"), float("inf")
FIRST_YEAR = -62_135_596_800_000_000  # 0001-01-01, in microseconds since 1970
END_OF_YEARS = 253_402_300_800_000_000  # 10000-01-01


@pytest.fixture
def database(tmp_path: Path) -> LakeDatabase:
    return LakeDatabase(data_root=str(tmp_path))


def march(**columns: pa.Array) -> pa.Table:
    """Three trips of March 2023; columns replace those of the same name."""
    table = yellow("2023-03")
    for name, values in columns.items():
        table = with_column(table, name, values)
    return table


def load(database: LakeDatabase, content: pa.Table | bytes, **options: object) -> LoadedMonth:
    file = UPath(database.data_root) / "march.parquet"
    file.write_bytes(content if isinstance(content, bytes) else parquet(content, **options))
    with database.get_connection(tables=[]) as con:
        return loading.load(con, database.lake, TRIPS, MonthFile("2023-03-01", file))


def column(database: LakeDatabase, name: str) -> list[Any]:
    with database.get_connection(tables=[TRIPS]) as con:
        return [value for (value,) in con.execute(f"SELECT {name} FROM trips").fetchall()]


def losses(loaded: LoadedMonth) -> dict[str, int]:
    """What was lost in loading, without what was not."""
    labels = [loss.name.removeprefix("num_").replace("_", " ") for loss in LOSSES]
    return {label: loaded.quality[label] for label in labels if loaded.quality[label]}


def times(*values: int | None, unit: str = "us") -> pa.Array:
    return pa.array(values, pa.int64()).cast(pa.timestamp(unit))


@pytest.mark.parametrize("statistics", [True, False])
@pytest.mark.parametrize(
    ("source", "target", "kind", "expected"),
    [
        ("total_amount", "total_amount", pa.float64(), [None, Decimal("9.80"), None]),
        ("trip_distance", "trip_distance", pa.float32(), [None, Decimal("9.80"), None]),
        ("passenger_count", "passenger_count", pa.float64(), [None, 10, None]),
    ],
)
def test_nan_loads_as_null_and_is_counted(
    database: LakeDatabase,
    source: str,
    target: str,
    kind: pa.DataType,
    expected: list[object],
    statistics: bool,
) -> None:
    content = march(
        **{source: pa.array([NAN, 9.8 if target != "passenger_count" else 10, None], kind)}
    )
    loaded = load(database, content, write_statistics=statistics)
    assert column(database, target) == expected
    assert losses(loaded) == {"nan values": 1}
    assert loaded.quality[f"nulls in {target}"] == 2


def test_column_of_nothing_but_nan_loads_as_nulls(database: LakeDatabase) -> None:
    loaded = load(database, march(total_amount=pa.array([NAN] * 3)))
    assert column(database, "total_amount") == [None] * 3
    assert losses(loaded) == {"nan values": 3}


def test_negative_zero_loads_as_zero(database: LakeDatabase) -> None:
    loaded = load(database, march(total_amount=pa.array([-0.0] * 3)))
    assert [str(total) for total in column(database, "total_amount")] == ["0.00"] * 3
    assert loaded.quality["zero totals"] == 3
    assert loaded.quality["negative totals"] == 0


@pytest.mark.parametrize(
    "pickup",
    [
        pytest.param(times(-(2**63), 0, 0), id="NaT without a null mask"),
        pytest.param(times(-(2**63), 0, 0, unit="ns"), id="NaT in nanoseconds"),
        pytest.param(times(-(2**63) + 1, 0, 0), id="-infinity"),
        pytest.param(times(2**63 - 1, 0, 0), id="infinity"),
        pytest.param(times(FIRST_YEAR - 1, 0, 0), id="year 0"),
        pytest.param(times(END_OF_YEARS, 0, 0), id="year 10000"),
        pytest.param(pa.array(["infinity", "1970-01-01", "1970-01-01"]), id="infinity as text"),
        pytest.param(pa.array(["0000-12-31", "1970-01-01", "1970-01-01"]), id="year 0 as text"),
    ],
)
def test_unusable_pickup_time_loads_as_null_and_is_counted(
    database: LakeDatabase, pickup: pa.Array
) -> None:
    file = UPath(database.data_root) / "f.parquet"
    file.write_bytes(parquet(march(tpep_pickup_datetime=pickup)))
    source = MonthFile("2023-03-01", file, is_accepted=True)
    with database.get_connection(tables=[]) as con:
        loaded = loading.load(con, database.lake, TRIPS, source)
    assert column(database, "pickup_datetime") == [None, *[datetime(1970, 1, 1)] * 2]
    assert column(database, "week_start") == [None, *[date(1969, 12, 28)] * 2]
    assert losses(loaded) == {"unusable times": 1}
    with database.get_connection() as con:
        days = con.execute(
            "SELECT pickup_date, num_trips, num_unusable_times FROM trip_days ORDER BY num_trips"
        ).fetchall()
    assert days == [(None, 1, 1), (date(1970, 1, 1), 2, 0)]


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_time_of_any_unit_is_the_same(database: LakeDatabase, unit: str) -> None:
    second = int(PICKUP.replace(tzinfo=UTC).timestamp())
    scale = {"ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}[unit]
    load(database, march(tpep_pickup_datetime=times(*[second * scale] * 3, unit=unit)))
    assert column(database, "pickup_datetime") == [PICKUP.replace(microsecond=0)] * 3


def test_first_and_last_years_load_as_they_are(database: LakeDatabase) -> None:
    march_5 = int(PICKUP.replace(tzinfo=UTC).timestamp()) * 1_000_000
    table = pa.concat_tables([march(), march()])
    values = times(FIRST_YEAR, FIRST_YEAR + 6 * 86_400_000_000, END_OF_YEARS - 1, *[march_5] * 3)
    loaded = load(database, with_column(table, "tpep_pickup_datetime", values))
    assert losses(loaded) == {}
    assert loaded.quality["pickups outside the month"] == 3
    assert column(database, "pickup_datetime")[:3] == [
        datetime(1, 1, 1),
        datetime(1, 1, 7),
        datetime(9999, 12, 31, 23, 59, 59, 999_999),
    ]
    assert column(database, "pickup_date")[:3] == [
        date(1, 1, 1), date(1, 1, 7), date(9999, 12, 31),
    ]  # fmt: skip
    # A Monday whose Sunday is in no year that Python has, a Sunday, and a Friday.
    assert column(database, "week_start")[:3] == [None, date(1, 1, 7), date(9999, 12, 26)]


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (pa.float64(), [161.5, 161.0, None]),
        (pa.float32(), [161.5, 161.0, None]),
        (pa.decimal128(38, 4), [Decimal("161.5"), Decimal(161), None]),
        (pa.string(), ["161.5", " 161.0", ""]),
    ],
)
def test_rounded_id_is_counted(
    database: LakeDatabase, kind: pa.DataType, values: list[object]
) -> None:
    loaded = load(database, march(PULocationID=pa.array(values, kind)))
    assert column(database, "pickup_zone_id") == [162, 161, None]
    assert losses(loaded) == {"rounded values": 1}


def test_rounded_passengers_are_counted_on_their_day(database: LakeDatabase) -> None:
    content = march(
        passenger_count=pa.array([2.5, 1.0, 2.5]), PULocationID=pa.array([0.5, 1.0, 2.0])
    )
    loaded = load(database, content)
    assert column(database, "passenger_count") == [2, 1, 2]
    assert losses(loaded) == {"rounded values": 2}  # trips, not values
    with database.get_connection() as con:
        days = con.execute("SELECT pickup_date, num_rounded_values FROM trip_days").fetchall()
    assert days == [(PICKUP.date(), 2)]


@pytest.mark.parametrize(
    ("text", "has_offset"),
    [
        ("2023-03-05 23:59:59", False),
        ("2023-03-05T23:59:59", False),
        ("2023-03-05 23:59:59.123456", False),
        ("2023-3-5 23:59:59", False),
        ("2023-03-05", False),
        ("2023-03-05 23:59:59+05:00", True),
        ("2023-03-05 23:59:59-05", True),
        ("2023-03-05 23:59:59.5-0500", True),
        ("2023-03-05T23:59:59Z", True),
        ("2023-03-05 23:59:59 UTC ", True),
    ],
)
def test_utc_offset_in_text_is_counted(database: LakeDatabase, text: str, has_offset: bool) -> None:
    content = march(tpep_pickup_datetime=pa.array([text, "2023-03-05 00:00:00", None]))
    loaded = load(database, content)
    (pickup, *_) = column(database, "pickup_datetime")
    assert text.startswith(("2023-03-05", "2023-3-5"))
    assert pickup.date() == date(2023, 3, 5)
    assert pickup.hour == (23 if ":" in text else 0)  # as it is in the text
    assert losses(loaded) == ({"utc offsets": 1} if has_offset else {})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"total_amount": pa.array([1.0, INFINITY, 2.0])},
            "column total_amount, row 2 (the first row is 1): inf does not fit total_amount "
            "DECIMAL(12,2); 1 of its values do not",
        ),
        (
            {"fare_amount": pa.array([1.0, 1e300, -INFINITY])},
            "column fare_amount, row 2 (the first row is 1): 1e+300 does not fit fare_amount "
            "DECIMAL(12,2); 2 of its values do not",
        ),
        (
            {"tolls_amount": pa.array([None, None, Decimal(10) ** 37], pa.decimal128(38, 0))},
            f"column tolls_amount, row 3 (the first row is 1): {10**37} does not fit tolls_amount "
            "DECIMAL(12,2); 1 of its values do not",
        ),
        (
            {"PULocationID": pa.array([3_000_000_000, 1, 1], pa.int64())},
            "column PULocationID, row 1 (the first row is 1): 3000000000 does not fit "
            "pickup_zone_id INTEGER; 1 of its values do not",
        ),
        (
            {"tpep_dropoff_datetime": pa.array(["2023-03-05", "5.3.2023", "nan"])},
            "column tpep_dropoff_datetime, row 2 (the first row is 1): '5.3.2023' does not fit "
            "dropoff_datetime TIMESTAMP; 2 of its values do not",
        ),
    ],
)
def test_value_that_does_not_fit_is_named_with_its_row(
    database: LakeDatabase, changed: dict[str, pa.Array], message: str
) -> None:
    with pytest.raises(ValueNotReadable) as raised:
        load(database, march(**changed))
    assert str(raised.value) == f"{database.data_root}/march.parquet: {message}"


def test_row_is_that_of_the_file_across_row_groups(tmp_path: Path) -> None:
    values = [1.0] * 5_000
    values[4_320] = values[4_990] = INFINITY
    path = tmp_path / "f.parquet"
    trips = pa.concat_tables([yellow("2023-03", rows=1)] * 5_000)
    content = with_column(trips, "total_amount", pa.array(values))
    path.write_bytes(parquet(content, row_group_size=500))
    with duckdb.connect(config={"threads": 4}) as con:
        plan = conform.plan_read(con, TRIPS, str(path), "2023-03")
        assert "row 4321 (the first row is 1): inf" in str(conform.first_unreadable(con, plan))


def test_time_that_duckdb_refuses_is_named_with_its_column(database: LakeDatabase) -> None:
    content = march(tpep_dropoff_datetime=times(0, -(2**63), 0, unit="ms"))
    with pytest.raises(ValueNotReadable, match=r"march\.parquet: column tpep_dropoff_datetime can"):
        load(database, content)


def test_text_that_is_not_utf_8_is_named_with_its_column(database: LakeDatabase) -> None:
    binary = pa.array([b"N", b"\xff", b"Y"])
    text = pa.StringArray.from_buffers(3, *binary.buffers()[1:])
    with pytest.raises(LayoutError, match=r"march\.parquet: column store_and_fwd_flag .* UTF8"):
        load(database, march(store_and_fwd_flag=text))


def twins(*columns: tuple[str, list[float | None]]) -> pa.Table:
    """Trips with these columns instead of `total_amount`."""
    table = march().drop_columns(["total_amount"])
    for name, values in columns:
        table = table.append_column(name, pa.array(values, None if any(values) else pa.null()))
    return table


@pytest.mark.parametrize(
    "names",
    [
        ("total_amount", "Total_Amount"),
        ("Total_Amount", "total_amount"),
        ("total_amount", "total_amount"),
        ("TOTAL_AMOUNT", "total_amount", "Total_amount"),
    ],
)
def test_columns_that_differ_by_case_are_one(
    database: LakeDatabase, names: tuple[str, ...]
) -> None:
    values: list[list[float | None]] = [[1.5, None, None], [None, 2.5, 3.0], [None, None, None]]
    loaded = load(database, twins(*zip(names, values, strict=False)))
    assert column(database, "total_amount") == [Decimal("1.50"), Decimal("2.50"), 3]
    assert loaded.unknown_columns == ()
    assert loaded.quality["nulls in total_amount"] == 0


def test_column_of_another_case_is_known(database: LakeDatabase) -> None:
    loaded = load(database, twins(("Total_Amount", [1.5, 2.5, NAN])))
    assert column(database, "total_amount") == [Decimal("1.50"), Decimal("2.50"), None]
    assert loaded.unknown_columns == ()
    assert losses(loaded) == {"nan values": 1}


def test_nan_in_one_of_two_columns_is_counted(database: LakeDatabase) -> None:
    loaded = load(
        database, twins(("total_amount", [NAN, 1.0, 1.0]), ("Total_Amount", [2.0, None, 1.0]))
    )
    assert column(database, "total_amount") == [2, 1, 1]
    assert losses(loaded) == {"nan values": 1}


def test_columns_that_contradict_each_other_are_named(database: LakeDatabase) -> None:
    content = twins(("total_amount", [1.0, 1.0, 1.0]), ("Total_Amount", [1.0, 2.0, 3.0]))
    with pytest.raises(ValueNotReadable) as raised:
        load(database, content)
    assert str(raised.value) == (
        f"{database.data_root}/march.parquet: columns total_amount and Total_Amount, row 2 (the "
        "first row is 1): 1.00 and 2.00 are two values of total_amount, expected one; the columns "
        "differ in 2 rows"
    )


@pytest.mark.parametrize(
    ("name", "values", "found"),
    [
        ("total_amount", pa.array([True, None, False]), "found BOOLEAN"),
        ("total_amount", pa.array([[1.0], [], None]), "found DOUBLE[]"),
        ("total_amount", pa.array([[Decimal(1)], [], None]), "found DECIMAL(1,0)[]"),
        ("total_amount", pa.array([{"x": 1}] * 3), "found STRUCT(x BIGINT)"),
        ("total_amount", pa.array(["1.0"] * 3), "found VARCHAR"),
        ("tpep_pickup_datetime", pa.array([date(2023, 3, 5)] * 3), "found DATE"),
        ("tpep_pickup_datetime", pa.array([1, 2, 3]), "found BIGINT"),
        ("tpep_pickup_datetime", times(0, 0, 0).cast(pa.timestamp("us", "UTC")), "TIME ZONE"),
        ("tpep_pickup_datetime", pa.nulls(3), "has no values; expected times for pickup_datetime"),
    ],
)
def test_column_of_another_type_is_refused_by_name(
    database: LakeDatabase, name: str, values: pa.Array, found: str
) -> None:
    content = march(**{name: values}).append_column("more", pa.array([{"y": [1]}] * 3))
    with pytest.raises(LayoutError) as raised:
        load(database, content)
    assert f"march.parquet: column {name} " in str(raised.value)
    assert found in str(raised.value)


@pytest.mark.parametrize(
    "values",
    [
        pa.array(["N", "Y", None]).dictionary_encode(),
        pa.array([0.0, 1.0, NAN]),
        pa.array(["0", "y ", ""]),
    ],
)
def test_flag_of_any_type_is_the_same(database: LakeDatabase, values: pa.Array) -> None:
    load(database, march(store_and_fwd_flag=values))
    assert column(database, "store_and_fwd_flag") == ["N", "Y", None]


def test_wide_decimals_are_amounts(database: LakeDatabase) -> None:
    values = pa.array([Decimal("1.239"), Decimal(-2), None], pa.decimal128(38, 10))
    load(database, march(total_amount=values))
    assert column(database, "total_amount") == [Decimal("1.24"), Decimal("-2.00"), None]


@pytest.mark.parametrize("folder", ["VendorID=7/vendor_id=7/total_amount=1", "raw[1]", "r*", "r?"])
def test_path_is_not_read_as_a_pattern_or_partition(tmp_path: Path, folder: str) -> None:
    (tmp_path / "raw1").mkdir()
    (tmp_path / "raw1" / "march.parquet").write_bytes(parquet(yellow("2023-03", rows=1)))
    root = tmp_path / folder
    root.mkdir(parents=True)
    database = LakeDatabase(data_root=str(root))
    loaded = load(database, march())
    assert loaded.unknown_columns == ()
    assert column(database, "vendor_id") == [2, 1, 2]
    assert column(database, "total_amount")[0] == Decimal("14.16")
    assert loaded.quality["exact duplicates"] == 0


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1PAR1"])
def test_truncated_file_is_named_with_its_size(database: LakeDatabase, content: bytes) -> None:
    with pytest.raises(DamagedFile) as raised:
        load(database, content)
    assert str(raised.value) == (
        f"{database.data_root}/march.parquet is not a whole Parquet file: it has {len(content)} "
        "bytes; it is fetched again at the next load"
    )


@pytest.mark.parametrize("footer", ["zeros", "one byte"])
def test_damaged_footer_is_named(database: LakeDatabase, footer: str) -> None:
    content = bytearray(parquet(march()))
    start = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    content[start : start + 100] = bytes(100) if footer == "zeros" else b"\xff" + bytes(99)
    with pytest.raises(DamagedFile, match=r"march\.parquet is damaged: "):
        load(database, bytes(content))


def test_damaged_page_is_named_with_its_column(database: LakeDatabase) -> None:
    content = parquet(march())
    chunk = pq.read_metadata(pa.BufferReader(content)).row_group(0).column(10)
    damaged = bytearray(content)
    start, size = chunk.dictionary_page_offset, chunk.total_compressed_size
    damaged[start : start + size] = bytes(size)
    with pytest.raises(DamagedFile, match=rf"march\.parquet: column {chunk.path_in_schema} is dam"):
        load(database, bytes(damaged))


def test_missing_file_is_not_called_damaged(tmp_path: Path) -> None:
    with duckdb.connect() as con, pytest.raises(LayoutError, match="No files found") as raised:
        read_schema(con, str(tmp_path / "none.parquet"))
    assert not isinstance(raised.value, DamagedFile)


class Keys(encryption.KmsClient):  # type: ignore[misc]  # pyarrow has no types
    """A key service that hides nothing."""

    def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> bytes:
        return base64.b64encode(key_bytes)

    def unwrap_key(self, wrapped_key: bytes, master_key_identifier: str) -> bytes:
        return base64.b64decode(wrapped_key)


def encrypted(path: Path, plaintext_footer: bool) -> bytes:
    table = march()
    settings = encryption.EncryptionConfiguration(
        footer_key="footer",
        column_keys={"columns": ["total_amount", "store_and_fwd_flag"]},
        plaintext_footer=plaintext_footer,
        double_wrapping=False,
    )
    properties = encryption.CryptoFactory(lambda _: Keys()).file_encryption_properties(
        encryption.KmsConnectionConfig(), settings
    )
    with pq.ParquetWriter(path, table.schema, encryption_properties=properties) as writer:
        writer.write_table(table)
    return path.read_bytes()


@pytest.mark.parametrize("plaintext_footer", [True, False])
def test_encrypted_file_is_named(
    database: LakeDatabase, tmp_path: Path, plaintext_footer: bool
) -> None:
    content = encrypted(tmp_path / "encrypted.parquet", plaintext_footer)
    with pytest.raises(LayoutError) as raised:
        load(database, content)
    assert str(raised.value) == (
        f"{database.data_root}/march.parquet is encrypted: expected a Parquet file without "
        "encryption"
    )
