"""Settings come from the environment, and a wrong one is named."""

from datetime import UTC, date, datetime

import pytest

from taxi_shared import partitions, settings


def test_an_unset_or_empty_variable_is_its_default(monkeypatch):
    monkeypatch.delenv("TAXI_START_DATE", raising=False)
    assert settings.start_date() == date(2023, 1, 1)
    monkeypatch.setenv("TAXI_START_DATE", "")
    assert settings.start_date() == date(2023, 1, 1)


@pytest.mark.parametrize("value", ["2023-01", "soon", "2023-01-15"])
def test_a_start_that_is_no_first_of_a_month_is_named(monkeypatch, value):
    monkeypatch.setenv("TAXI_START_DATE", value)
    with pytest.raises(ValueError, match=f"TAXI_START_DATE is '{value}'"):
        settings.start_date()


def test_a_relative_path_starts_at_the_monorepo_s_root(monkeypatch, tmp_path):
    (tmp_path / "workspace.yaml").touch()
    (tmp_path / "ingestion" / "src").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "ingestion" / "src")
    assert settings.locate("data") == str(tmp_path / "data")
    assert settings.locate("/data") == "/data"
    assert settings.locate("s3://bucket/prefix") == "s3://bucket/prefix"


def test_a_resource_reads_a_set_variable_when_it_is_used(monkeypatch):
    monkeypatch.setenv("TAXI_DATA_ROOT", "/somewhere")
    assert settings.for_resource("TAXI_DATA_ROOT").get_value() == "/somewhere"
    monkeypatch.delenv("TAXI_DATA_ROOT")
    assert settings.for_resource("TAXI_DATA_ROOT") == "data"


def test_months_and_weeks_keep_to_the_dates(monkeypatch):
    monkeypatch.setenv("TAXI_START_DATE", "2019-01-01")
    monkeypatch.setenv("TAXI_END_DATE", "2019-04-01")
    assert partitions.monthly().get_partition_keys() == ["2019-01-01", "2019-02-01", "2019-03-01"]
    weeks = partitions.weekly().get_partition_keys()
    assert all(date.fromisoformat(week).isoweekday() == 7 for week in weeks)
    assert (weeks[0], weeks[-1]) == ("2018-12-30", "2019-03-24")


def test_without_an_end_months_go_on_to_the_last_whole_one(monkeypatch):
    monkeypatch.delenv("TAXI_END_DATE", raising=False)
    keys = partitions.monthly().get_partition_keys()
    today = datetime.now(UTC).date()
    assert keys[-1] < today.replace(day=1).isoformat()
    assert len(keys) >= 12 * (today.year - 2023)


def test_the_environment_chooses_the_defaults_and_what_is_set_stays(monkeypatch):
    monkeypatch.delenv("TAXI_DATA_ROOT", raising=False)
    monkeypatch.setenv("TAXI_ENVIRONMENT", "test")
    assert settings.for_resource("TAXI_DATA_ROOT") == "data/test"
    assert settings.get("TAXI_START_DATE") == "2023-01-01"
    monkeypatch.setenv("TAXI_DATA_ROOT", "/mine")
    assert settings.get("TAXI_DATA_ROOT") == "/mine"


def test_production_has_no_default_for_where_the_data_are(monkeypatch):
    monkeypatch.delenv("TAXI_DATA_ROOT", raising=False)
    monkeypatch.setenv("TAXI_ENVIRONMENT", "production")
    with pytest.raises(ValueError, match="TAXI_DATA_ROOT is not set; TAXI_ENVIRONMENT=production"):
        settings.for_resource("TAXI_DATA_ROOT")
    assert settings.get("TAXI_DUCKDB_MEMORY") == "2GB"


def test_an_environment_that_nobody_knows_is_refused(monkeypatch):
    monkeypatch.delenv("TAXI_DATA_ROOT", raising=False)
    monkeypatch.setenv("TAXI_ENVIRONMENT", "prod")
    with pytest.raises(ValueError, match="'prod'; expected local, test, production"):
        settings.get("TAXI_DATA_ROOT")


def test_paths_may_have_blanks_and_begin_at_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert settings.locate("~/data with blank") == f"{tmp_path}/data with blank"
    assert settings.locate("/data with blank/") == "/data with blank"


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("file:///srv/data", "/srv/data"),
        ("file://localhost/srv/data/", "/srv/data"),
        ("FILE:///srv/a%20b%23c?d", "/srv/a b#c?d"),
    ],
)
def test_file_address_is_a_path_of_this_machine(url, path):
    assert settings.locate(url) == path


@pytest.mark.parametrize("address", ["file://data", "file://server/data", "~no-such-user/data"])
def test_path_that_cannot_be_is_named(address):
    with pytest.raises(ValueError, match=f"'{address}' "):
        settings.locate(address)
