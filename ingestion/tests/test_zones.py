"""The zones: one row for each id that trips can have."""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import dagster as dg
import duckdb
import pytest
import shapely
from upath import UPath

from ingestion.defs.resources import TlcSource
from ingestion.defs.zones import taxi_zones, taxi_zones_file
from ingestion.lib import zone_csv
from ingestion.lib.zones import Zone, merge_duplicate_zones, write_zones
from taxi_shared import provenance
from taxi_shared.database import LakeDatabase
from taxi_shared.lake import Replacement, Rows
from taxi_shared.tables import ZONES, Table

from .zone_files import HEADER, csv_text, lookup_rows, square, zone_rows

Row = dict[str, object]
SQUARE = "MULTIPOLYGON (((0 0, 1 0, 1 1, 0 1, 0 0)))"
NEXT = "MULTIPOLYGON (((1 0, 2 0, 2 1, 1 1, 1 0)))"
FAR = "MULTIPOLYGON (((5 5, 6 5, 6 6, 5 6, 5 5)))"


class Load(Protocol):
    """Fetches and loads the zones of a file below a data root."""

    def __call__(
        self, source: Path, root: Path, url: Path | None = None, accept_changed_zones: bool = False
    ) -> dg.ExecuteInProcessResult: ...


@pytest.fixture
def load(instance: dg.DagsterInstance) -> Load:
    return partial(load_zones, instance)


def load_zones(
    instance: dg.DagsterInstance,
    source: Path,
    root: Path | str,
    url: Path | None = None,
    accept_changed_zones: bool = False,
) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        [taxi_zones_file, taxi_zones],
        instance=instance,
        resources={
            "tlc": TlcSource(url=str(url or source.parent), zones_url=str(source)),
            "database": LakeDatabase(data_root=str(root)),
        },
        run_config={"ops": {"taxi_zones": {"config": {"accept_changed_zones": True}}}}
        if accept_changed_zones
        else None,
        raise_on_error=False,
    )


def zones(root: Path | str) -> dict[int, tuple[str, str, str | None]]:
    with LakeDatabase(data_root=str(root)).get_connection() as con:
        rows = con.execute("SELECT zone_id, zone, borough, geometry FROM zones").fetchall()
    assert len(rows) == len({row[0] for row in rows})
    return {row[0]: row[1:] for row in rows}


def merged(rows: list[Zone], lookup: Iterable[Zone] = ()) -> dict[int, Zone]:
    """The merged zones by id."""
    return {zone.zone_id: zone for zone in merge_duplicate_zones(rows, lookup)}


def test_rows_of_one_id_become_one_shape() -> None:
    rows = [Zone(56, "Corona", "Queens", SQUARE), Zone(56, "Corona", "Queens", NEXT)]
    assert shapely.from_wkt(merged(rows)[56].geometry).area == 2


def test_shapes_that_do_not_touch_stay_apart() -> None:
    rows = [Zone(103, "Islands", "Manhattan", SQUARE), Zone(103, "Islands", "Manhattan", FAR)]
    assert len(shapely.from_wkt(merged(rows)[103].geometry).geoms) == 2


def test_missing_ids_are_added_without_a_shape() -> None:
    found = merged([Zone(1, "Newark", "EWR", SQUARE)])
    assert sorted(found) == [1, 57, 104, 105, 264, 265]
    assert found[264].borough == "Unknown"
    assert found[1].geometry == SQUARE


def test_row_of_the_source_wins_over_an_added_zone() -> None:
    assert merged([Zone(57, "Corona", "Queens", NEXT)])[57].geometry == NEXT


def test_row_without_a_shape_leaves_that_of_another_row() -> None:
    rows = [Zone(56, "Corona", "Queens", None), Zone(56, "Corona", "Queens", NEXT)]
    assert merged(rows)[56].geometry == NEXT


def test_lookup_names_missing_ids_and_has_service_zones() -> None:
    rows = [Zone(1, "Newark", "EWR", SQUARE), Zone(2, "Bay", "Queens", NEXT)]
    lookup = [
        Zone(1, "Newark Airport", "EWR", None, "EWR"),
        Zone(57, "Corona", "Queens", None, "Boro Zone"),
        Zone(265, "NA", "Unknown", None, "N/A"),
    ]
    found = merged(rows, lookup)
    assert sorted(found) == [1, 2, 57, 104, 105, 264, 265]
    assert found[1] == Zone(1, "Newark", "EWR", SQUARE, "EWR")
    assert found[2].service_zone is None
    assert found[57].service_zone == "Boro Zone"
    assert (found[265].zone, found[265].service_zone) == ("NA", "N/A")
    assert found[264].zone == "Unknown"


def metadata(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, Any]:
    event = next(
        e
        for e in result.all_events
        if e.is_step_materialization and e.asset_key == dg.AssetKey(asset)
    )
    return {name: value.value for name, value in event.materialization.metadata.items()}


def test_real_lookup_is_loaded_with_its_texts(real_files: Path, tmp_path: Path, load: Load) -> None:
    source = real_files / "misc" / "taxi_zones.csv"
    result = load(source, tmp_path, real_files)
    assert metadata(result, "taxi_zones")["zones without a service zone"] == []
    with LakeDatabase(data_root=str(tmp_path)).get_connection() as con:
        found = con.execute("SELECT zone_id, borough, zone, service_zone FROM zones").fetchall()
    with (real_files / "misc" / "taxi_zone_lookup.csv").open() as file:
        _, *rows = csv.reader(file)
    assert found == [(int(zone_id), *texts) for zone_id, *texts in rows]
    assert found[-2:] == [(264, "Unknown", "NV", "N/A"), (265, "Unknown", "NA", "N/A")]


def test_zones_load_without_a_lookup_and_say_so(
    real_files: Path, tmp_path: Path, load: Load
) -> None:
    result = load(real_files / "misc" / "taxi_zones.csv", tmp_path)
    assert result.success
    assert "not published" in metadata(result, "taxi_zones_file")["lookup"]
    assert len(metadata(result, "taxi_zones")["zones without a service zone"]) == 265
    assert zones(tmp_path)[265][:2] == ("Outside of NYC", "Unknown")


def test_web_page_is_refused_as_a_lookup(real_files: Path, tmp_path: Path, load: Load) -> None:
    (tmp_path / "misc").mkdir()
    (tmp_path / "misc" / "taxi_zone_lookup.csv").write_text("<html>Sign in, please</html>")
    result = load(real_files / "misc" / "taxi_zones.csv", tmp_path / "data", tmp_path)
    assert "is not TLC's zone lookup" in failure(result)


def test_zones_are_loaded_before_the_trips_of_a_run(
    real_files: Path, tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ingestion.defs.trips import trip_assets
    from taxi_shared.services import YELLOW

    monkeypatch.setenv("TAXI_START_DATE", "2009-01-01")
    result = dg.materialize(
        [trip_assets(YELLOW), taxi_zones_file, taxi_zones],
        instance=instance,
        partition_key="2009-06-01",
        resources={
            "tlc": TlcSource(url=str(real_files), zones_url=f"{real_files}/misc/taxi_zones.csv"),
            "database": LakeDatabase(data_root=str(tmp_path)),
        },
    )
    assert result.success
    with LakeDatabase(data_root=str(tmp_path)).get_connection() as con:
        assert con.execute(
            "SELECT count(pickup_zone_id) > 0.95 * count(*) FROM trips"
        ).fetchone() == (True,)


def test_real_zones_load_with_every_id_once(real_files: Path, tmp_path: Path, load: Load) -> None:
    source = real_files / "misc" / "taxi_zones.csv"
    assert load(source, tmp_path).success
    found = zones(tmp_path)
    assert sorted(found) == list(range(1, 266))
    with (real_files / "misc" / "taxi_zone_lookup.csv").open() as file:
        for row in csv.DictReader(file):
            if int(row["LocationID"]) < 264:
                zone, borough, _ = found[int(row["LocationID"])]
                assert (zone, borough) == (row["Zone"], row["Borough"])
    csv.field_size_limit(10_000_000)
    with source.open() as file:
        area = sum(shapely.from_wkt(row["the_geom"]).area for row in csv.DictReader(file))
    loaded = sum(shapely.from_wkt(shape).area for _, _, shape in found.values() if shape)
    assert loaded == pytest.approx(area, rel=1e-9)


def test_second_load_writes_the_same_bytes(real_files: Path, tmp_path: Path, load: Load) -> None:
    source = real_files / "misc" / "taxi_zones.csv"
    load(source, tmp_path)
    first = zones_file(tmp_path)
    load(source, tmp_path)
    assert zones_file(tmp_path) != first
    assert zones_file(tmp_path).read_bytes() == first.read_bytes()


def zones_file(root: Path) -> UPath:
    """The file of the table `zones`."""
    return LakeDatabase(data_root=str(root)).lake.snapshot().files(ZONES)[""].path


def test_web_page_is_refused_as_zones(tmp_path: Path, load: Load) -> None:
    page = tmp_path / "page.html"
    page.write_text("<html>Sign in, please</html>")
    assert "is not the zones CSV" in failure(load(page, tmp_path / "data"))


def failure(result: dg.ExecuteInProcessResult) -> str:
    (event,) = (e for e in result.all_events if e.is_step_failure)
    return str(event.step_failure_data.error)


def checks(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {check.check_name: check for check in result.get_asset_check_evaluations()}


def failed_checks(result: dg.ExecuteInProcessResult) -> list[str]:
    return sorted(name for name, check in checks(result).items() if not check.passed)


def write(path: Path, rows: Sequence[Row], header: Sequence[str] = HEADER) -> Path:
    path.write_text(csv_text(rows, header))
    return path


def in_feet(row: Row) -> Row:
    return {**row, "the_geom": square(990_000 + 100 * int(str(row["LocationID"])), 200_000, 90)}


BAD_ZONES = {
    "ten rows": (zone_rows()[:10], "zones_complete", "has a shape for 10 of the 260 zones"),
    "header only": ([], "zones_complete", "has no zones."),
    "feet": (list(map(in_feet, zone_rows())), "zones_in_new_york", "263 rows are wrong. row 2: "),
    "borough": (
        [{**zone_rows()[0], "borough": "Jersey"}, *zone_rows()[1:]],
        "known_boroughs",
        "row 2: borough 'Jersey'",
    ),
    "id 666": (
        [*zone_rows(), {**zone_rows()[3], "LocationID": 666}],
        "no_zone_twice",
        "row 265: LocationID 666 does not exist",
    ),
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data root whose lake has zones."""
    database = LakeDatabase(data_root=str(tmp_path / "data"))
    good = zone_csv.read_zones(UPath(write(tmp_path / "good.csv", zone_rows())))
    with database.get_connection() as con:
        write_zones(con, database.lake, merge_duplicate_zones(good.zones))
    return tmp_path / "data"


@pytest.mark.parametrize(("rows", "check", "reason"), BAD_ZONES.values(), ids=BAD_ZONES)
def test_bad_zones_fail_a_check_and_keep_the_lakes_zones(
    load: Load, tmp_path: Path, data: Path, rows: list[Row], check: str, reason: str
) -> None:
    before = zones_file(data)
    source = write(tmp_path / "bad.csv", rows)
    result = load(source, data)
    assert not result.success
    assert failed_checks(result) == [check]
    assert checks(result)[check].blocking
    assert reason in str(checks(result)[check].description)
    for text in (reason, f"raw/taxi_zones.csv (from {source})", "The lake keeps the zones"):
        assert text in failure(result)
    assert zones_file(data) == before
    assert [path for path in before.parent.iterdir() if path.is_file()] == [before]


def test_good_zones_pass_every_check_with_figures(load: Load, tmp_path: Path) -> None:
    result = load(write(tmp_path / "zones.csv", zone_rows()), tmp_path / "data")
    assert failed_checks(result) == []
    names = ("no_zone_twice", "zones_complete", "zones_in_new_york", "known_boroughs")
    assert set(checks(result)) == {*names, "columns_as_described"}
    figures = {
        name: value.value for name, value in checks(result)["zones_complete"].metadata.items()
    }
    assert figures == {
        "zones with a shape": 260,
        "zones with a shape in the lake": 0,
        "boroughs": 6,
        "boroughs in the lake": 0,
    }
    assert zones(tmp_path / "data")[4] == ("Zone 4", "Queens", zone_rows()[3]["the_geom"])


def test_blanks_around_boroughs_do_not_matter(load: Load, tmp_path: Path) -> None:
    rows = [{**row, "borough": f"{row['borough']} "} for row in zone_rows()]
    assert load(write(tmp_path / "zones.csv", rows), tmp_path / "data").success
    assert zones(tmp_path / "data")[4][1] == "Queens"


def test_file_without_the_columns_fails_zones_complete(load: Load, tmp_path: Path) -> None:
    source = write(tmp_path / "zones.csv", zone_rows(), HEADER[:-1])
    result = load(source, tmp_path / "data")
    assert failed_checks(result) == ["zones_complete"]
    assert "missing borough; found OBJECTID, Shape_Leng, the_geom" in failure(result)
    assert "Binder" not in failure(result)


def test_impossible_id_of_the_lookup_names_the_lookup(load: Load, tmp_path: Path) -> None:
    (tmp_path / "misc").mkdir()
    rows = [*lookup_rows(), {"LocationID": 266, "Borough": "Queens", "Zone": "New"}]
    write(tmp_path / "misc" / "taxi_zone_lookup.csv", rows, tuple(rows[0]))
    source = write(tmp_path / "zones.csv", zone_rows())
    result = load(source, tmp_path / "data", tmp_path)
    assert failed_checks(result) == ["no_zone_twice"]
    assert "taxi_zone_lookup.csv (from " in failure(result)
    assert "row 267: LocationID 266 does not exist" in failure(result)


def test_changed_zones_load_once_a_person_accepts_them(
    load: Load, tmp_path: Path, data: Path
) -> None:
    source = write(tmp_path / "zones.csv", zone_rows()[1:])
    refused = load(source, data)
    assert not refused.success
    assert "config {ops: {taxi_zones: {config: {accept_changed_zones: true}}}}" in failure(refused)
    assert zones(data)[1][2]

    accepted = load(source, data, accept_changed_zones=True)
    assert accepted.success
    check = checks(accepted)["zones_complete"]
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert str(check.description).startswith("Accepted: ")
    assert 1 not in zones(data)
    assert failed_checks(load(source, data)) == []


def test_zones_that_cannot_be_right_are_not_accepted(
    load: Load, tmp_path: Path, data: Path
) -> None:
    source = write(tmp_path / "zones.csv", list(map(in_feet, zone_rows())))
    refused = load(source, data, accept_changed_zones=True)
    assert not refused.success
    assert "Correct the file, then materialize" in failure(refused)
    assert "accept_changed_zones" not in failure(refused)


def test_lake_without_service_zones_takes_zones(load: Load, tmp_path: Path) -> None:
    """Its file is from before the column was described."""
    database = LakeDatabase(data_root=str(tmp_path / "data"))
    with database.get_connection() as con:
        database.lake.write(
            con,
            ZONES,
            Rows(
                "SELECT 1 AS zone_id, 'Zone 1' AS zone, 'Bronx' AS borough, $s AS geometry",
                {"s": SQUARE},
            ),
        )
    assert load(write(tmp_path / "zones.csv", zone_rows()), tmp_path / "data").success
    assert len(zones(tmp_path / "data")) == 265


@pytest.mark.parametrize(
    ("header", "publisher"),
    [
        (HEADER, "NYC Taxi & Limousine Commission, as copied to a local folder"),
        ((*HEADER, "synthetic"), provenance.SYNTHETIC),
    ],
    ids=["TLC", "sample"],
)
def test_file_in_the_lake_names_the_publisher(
    load: Load, tmp_path: Path, header: Sequence[str], publisher: str
) -> None:
    rows = [{**row, "synthetic": "true"} for row in zone_rows()]
    result = load(write(tmp_path / "zones.csv", rows, header), tmp_path / "data")
    assert metadata(result, "taxi_zones")["publisher"] == publisher
    database = LakeDatabase(data_root=str(tmp_path / "data"))
    with database.get_connection() as con:
        assert database.lake.snapshot().publishers(con, ZONES) == [publisher]


def test_data_root_may_have_pattern_characters(load: Load, tmp_path: Path) -> None:
    assert load(write(tmp_path / "zones.csv", zone_rows()), tmp_path / "data [1]?").success


def test_undescribed_columns_fail_and_keep_the_zones(
    load: Load, tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = zones(data)
    write_as_asked = Replacement.write

    def write_two_columns(
        self: Replacement, con: duckdb.DuckDBPyConnection, table: Table, rows: Rows
    ) -> int:
        two = replace(rows, query=f"SELECT zone_id, zone FROM ({rows.query})")
        return write_as_asked(self, con, table, two)

    monkeypatch.setattr(Replacement, "write", write_two_columns)
    result = load(write(tmp_path / "zones.csv", zone_rows()), data)
    assert failed_checks(result) == ["columns_as_described"]
    check = checks(result)["columns_as_described"]
    assert check.blocking
    assert "geometry is not there, described as VARCHAR" in str(check.description)
    assert zones(data) == before
