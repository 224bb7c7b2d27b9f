"""The zones: one row for each id that trips can carry."""

import csv
from dataclasses import replace
from functools import partial
from pathlib import Path

import dagster as dg
import duckdb
import pytest
import shapely

from ingestion.defs.resources import TlcSource
from ingestion.defs.zones import taxi_zones, taxi_zones_file
from ingestion.lib.shapes import Zone, one_row_an_id, wrong_ids
from taxi_shared.database import LakeDatabase
from taxi_shared.lake import Lake
from taxi_shared.tables import ZONES, Table

SQUARE = "MULTIPOLYGON (((0 0, 1 0, 1 1, 0 1, 0 0)))"
NEXT = "MULTIPOLYGON (((1 0, 2 0, 2 1, 1 1, 1 0)))"
FAR = "MULTIPOLYGON (((5 5, 6 5, 6 6, 5 6, 5 5)))"


@pytest.fixture
def load(instance):
    return partial(load_zones, instance)


def load_zones(
    instance: dg.DagsterInstance, source: Path, root: Path, url: Path | str = "/nowhere"
) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        [taxi_zones_file, taxi_zones],
        instance=instance,
        resources={
            "tlc": TlcSource(url=str(url), zones_url=str(source)),
            "database": LakeDatabase(data_root=str(root)),
        },
        raise_on_error=False,
    )


def zones(root: Path) -> dict[int, tuple[str, str, str | None]]:
    with LakeDatabase(data_root=str(root)).get_connection() as con:
        rows = con.execute("SELECT zone_id, zone, borough, geometry FROM zones").fetchall()
    assert len(rows) == len({row[0] for row in rows})
    return {row[0]: row[1:] for row in rows}


def test_rows_of_one_id_become_one_shape():
    rows = [Zone(56, "Corona", "Queens", SQUARE), Zone(56, "Corona", "Queens", NEXT)]
    united = next(zone for zone in one_row_an_id(rows) if zone.zone_id == 56)
    assert shapely.from_wkt(united.geometry).area == 2


def test_shapes_that_do_not_touch_stay_apart():
    rows = [Zone(103, "Islands", "Manhattan", SQUARE), Zone(103, "Islands", "Manhattan", FAR)]
    united = next(zone for zone in one_row_an_id(rows) if zone.zone_id == 103)
    assert len(shapely.from_wkt(united.geometry).geoms) == 2


def test_ids_that_the_source_leaves_out_are_there_without_a_shape():
    found = {zone.zone_id: zone for zone in one_row_an_id([Zone(1, "Newark", "EWR", SQUARE)])}
    assert sorted(found) == [1, 57, 104, 105, 264, 265]
    assert found[264].borough == "Unknown"
    assert found[1].geometry == SQUARE


def test_a_row_of_the_source_wins_over_the_zone_without_a_shape():
    found = {zone.zone_id: zone for zone in one_row_an_id([Zone(57, "Corona", "Queens", NEXT)])}
    assert found[57].geometry == NEXT


def test_the_lookup_names_what_the_source_leaves_out_and_tells_every_service_zone():
    rows = [Zone(1, "Newark", "EWR", SQUARE), Zone(2, "Bay", "Queens", NEXT)]
    lookup = [
        Zone(1, "Newark Airport", "EWR", None, "EWR"),
        Zone(57, "Corona", "Queens", None, "Boro Zone"),
        Zone(265, "NA", "Unknown", None, "N/A"),
    ]
    found = {zone.zone_id: zone for zone in one_row_an_id(rows, lookup)}
    assert sorted(found) == [1, 2, 57, 104, 105, 264, 265]
    assert found[1] == Zone(1, "Newark", "EWR", SQUARE, "EWR")
    assert found[2].service_zone is None
    assert found[57].service_zone == "Boro Zone"
    assert (found[265].zone, found[265].service_zone) == ("NA", "N/A")
    assert found[264].zone == "Unknown"


def metadata(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, object]:
    event = next(
        e
        for e in result.all_events
        if e.is_step_materialization and e.asset_key == dg.AssetKey(asset)
    )
    return {name: value.value for name, value in event.materialization.metadata.items()}


def test_tlc_s_own_lookup_comes_with_the_zones_its_texts_as_they_are(real_files, tmp_path, load):
    source = real_files / "misc" / "taxi_zones.csv"
    result = load(source, tmp_path, real_files)
    assert metadata(result, "taxi_zones")["zones without a service zone"] == []
    with LakeDatabase(data_root=str(tmp_path)).get_connection() as con:
        found = con.execute("SELECT zone_id, borough, zone, service_zone FROM zones").fetchall()
    with (real_files / "misc" / "taxi_zone_lookup.csv").open() as file:
        rows = [tuple(row.values()) for row in csv.DictReader(file)]
    assert found == [(int(zone_id), *texts) for zone_id, *texts in rows]
    assert found[-2:] == [(264, "Unknown", "NV", "N/A"), (265, "Unknown", "NA", "N/A")]


def test_without_a_lookup_the_zones_load_and_say_so(real_files, tmp_path, load):
    result = load(real_files / "misc" / "taxi_zones.csv", tmp_path)
    assert result.success
    assert "not published" in metadata(result, "taxi_zones_file")["lookup"]
    assert len(metadata(result, "taxi_zones")["zones without a service zone"]) == 265
    assert zones(tmp_path)[265][:2] == ("Outside of NYC", "Unknown")


def test_a_web_page_is_not_taken_for_the_lookup(real_files, tmp_path, load):
    (tmp_path / "misc").mkdir()
    (tmp_path / "misc" / "taxi_zone_lookup.csv").write_text("<html>Sign in, please</html>")
    result = load(real_files / "misc" / "taxi_zones.csv", tmp_path / "data", tmp_path)
    event = next(e for e in result.all_events if e.is_step_failure)
    assert "is not TLC's zone lookup" in str(event.step_failure_data.error)


def test_zones_come_before_the_trips_of_the_same_run(real_files, tmp_path, instance, monkeypatch):
    from ingestion.defs.trips import YELLOW, trip_assets

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
        assert con.execute("SELECT count(pickup_zone_id) FROM trips").fetchone() == (9836,)


def test_tlc_s_own_zones_load_with_every_id_once(real_files, tmp_path, load):
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


def test_loading_twice_gives_the_same_bytes(real_files, tmp_path, load):
    source = real_files / "misc" / "taxi_zones.csv"
    file = LakeDatabase(data_root=str(tmp_path)).lake.root.staging / "zones" / "zones.parquet"
    load(source, tmp_path)
    first = file.read_bytes()
    load(source, tmp_path)
    assert file.read_bytes() == first


def test_a_web_page_is_not_taken_for_the_zones(tmp_path, load):
    page = tmp_path / "page.html"
    page.write_text("<html>Sign in, please</html>")
    result = load(page, tmp_path / "data")
    event = next(e for e in result.all_events if e.is_step_failure)
    assert "is not the zones CSV" in str(event.step_failure_data.error)


def test_a_zone_that_is_no_zone_fails_the_check_and_readers_keep_the_old_zones(load, tmp_path):
    good, bad = tmp_path / "good.csv", tmp_path / "bad.csv"
    for file, zone_id in ((good, 4), (bad, 666)):
        with file.open("w", newline="") as content:
            rows = csv.writer(content)
            rows.writerow(["LocationID", "zone", "borough", "the_geom"])
            rows.writerow([zone_id, "Alphabet City", "Manhattan", SQUARE])
    assert load(good, tmp_path / "data").success
    before = zones(tmp_path / "data")
    result = load(bad, tmp_path / "data")
    assert not result.success
    (check,) = result.get_asset_check_evaluations()
    assert (check.passed, check.blocking) == (False, True)
    assert check.description == "666 not one of 1 to 265"
    assert zones(tmp_path / "data") == before


def test_zones_with_other_columns_than_described_fail_their_check(load, tmp_path, monkeypatch):
    source = tmp_path / "zones.csv"
    source.write_text(f'LocationID,zone,borough,the_geom\n4,Alphabet City,Manhattan,"{SQUARE}"\n')
    described = replace(ZONES, columns=ZONES.columns[:-1])
    monkeypatch.setattr("ingestion.defs.zones.write_zones", partial(write_as, described))
    result = load(source, tmp_path / "data")
    assert not result.success
    check = {c.check_name: c for c in result.get_asset_check_evaluations()}["columns_as_described"]
    assert (check.passed, check.blocking) == (False, True)
    assert f"{ZONES.columns[-1].name} is not there, described as" in check.description


def write_as(table: Table, con: duckdb.DuckDBPyConnection, lake: Lake, zones: list[Zone]) -> None:
    """Write zones with the columns of another description."""
    columns = ", ".join(f"CAST(NULL AS {c.type}) AS {c.name}" for c in table.columns)
    lake.write(con, table, f"SELECT {columns}", {})


def test_ids_that_are_there_twice_are_named():
    assert wrong_ids([1, 2, 2, 265, 1]) == "1, 2 there more than once"
    assert wrong_ids(range(1, 266)) == ""
