"""Settings come from the environment, with types; a wrong one is named."""

import re
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path

import dagster as dg
import pytest

from taxi_shared import partitions, settings

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start each test with no variable of the settings set."""
    for field in settings.Settings.model_fields:
        monkeypatch.delenv(settings.variable(field), raising=False)


def test_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.load().start_date == date(2023, 1, 1)
    monkeypatch.setenv("TAXI_START_DATE", "")
    assert settings.load().start_date == date(2023, 1, 1)


def test_changed_variable_is_seen_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("one", "two"):
        monkeypatch.setenv("TAXI_DATA_ROOT", value)
        assert settings.load().data_root == value


@pytest.mark.parametrize(
    ("variable", "value", "accepted"),
    [
        ("TAXI_START_DATE", "soon", "expected a date such as 2023-01-01"),
        ("TAXI_START_DATE", "2023-01", "expected a date such as 2023-01-01"),
        ("TAXI_END_DATE", "2023-01-15", "expected the first day of a month"),
        ("TAXI_FOLLOW_TLC", "maybe", "expected on or off"),
        ("TAXI_ZONES_MAX_MB", "0", "expected a whole number above 0"),
        ("TAXI_MONTHS_PER_RUN", "0", "expected a whole number above 0"),
        ("TAXI_MONTHS_PER_RUN", "all", "expected a whole number above 0"),
        ("TAXI_DOWNLOAD_MAX_MB", "1.5", "expected a whole number above 0"),
        ("TAXI_REQUEST_WATCH_SECONDS", "-1", "expected a number of at least 0"),
        ("TAXI_REQUEST_WATCH_SECONDS", "long", "expected a number such as 9.4"),
        ("TAXI_UI_HOSTS", "a b", "'a b' is not a server's address"),
        ("TAXI_SERVICES", "yellow,uber", "expected one or more of yellow, green, fhv, fhvhv"),
        ("TAXI_SERVICES", ",", "expected one or more of yellow, green, fhv, fhvhv"),
        ("TAXI_ENVIRONMENT", "prod", "expected 'local', 'test' or 'production'"),
    ],
)
def test_wrong_value_is_named_with_what_is_accepted(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, accepted: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ValueError, match=f"^{variable} is '{value}'; {re.escape(accepted)}"):
        settings.load()


def test_all_wrong_values_are_named_but_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAXI_START_DATE", "soon")
    monkeypatch.setenv("TAXI_FOLLOW_TLC", "maybe")
    monkeypatch.setenv("TLC_SOURCE_TOKEN", "hunter2")
    with pytest.raises(ValueError, match=r"TAXI_START_DATE[^\n]*\nTAXI_FOLLOW_TLC") as refused:
        settings.load()
    assert "hunter2" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_secret_is_hidden_where_settings_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TLC_SOURCE_TOKEN", "hunter2")
    assert "hunter2" not in repr(settings.load())


def test_lists_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAXI_ALERTS", "webhook, email,")
    monkeypatch.setenv("TAXI_PORTAL_HOSTS", "Reports.example.com")
    assert settings.load().alerts == ("webhook", "email")
    assert settings.load().portal_hosts[0] == "reports.example.com"


def test_services_keep_the_order_of_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.load().services == ("yellow", "green")
    monkeypatch.setenv("TAXI_SERVICES", "fhvhv, yellow,fhvhv")
    assert settings.load().services == ("yellow", "fhvhv")


def test_resource_reads_a_set_variable_when_a_run_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.for_resource("data_root") == "data"
    monkeypatch.setenv("TAXI_DATA_ROOT", "/somewhere")
    value = settings.for_resource("data_root")
    assert isinstance(value, dg.EnvVar)
    assert value.get_value() == "/somewhere"


def test_environment_chooses_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAXI_ENVIRONMENT", "test")
    assert settings.for_resource("data_root") == "data/test"
    assert settings.load().source_url == "data/test/source"
    assert not settings.load().follow_tlc
    assert settings.load().start_date == date(2023, 1, 1)
    monkeypatch.setenv("TAXI_DATA_ROOT", "/mine")
    assert settings.load().data_root == "/mine"


def test_production_requires_a_data_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAXI_ENVIRONMENT", "production")
    with pytest.raises(ValueError, match="TAXI_DATA_ROOT is not set; TAXI_ENVIRONMENT=production"):
        settings.for_resource("data_root")
    monkeypatch.setenv("TAXI_DATA_ROOT", "/srv/data")
    assert str(settings.load().data_root) == "/srv/data"


def test_env_example_lists_every_setting_with_its_default() -> None:
    text = (ROOT / ".env.example").read_text()
    fields = settings.Settings.model_fields
    lines = re.findall(r"^#([A-Z0-9_]+)=(.*)$", text, re.MULTILINE)
    assert [name for name in map(settings.variable, fields) if name not in dict(lines)] == []
    defaults = settings.load()
    for field in ("data_root", "source_url", "zones_url", "duckdb_spill"):
        assert (settings.variable(field), getattr(defaults, field)) in lines


def test_settings_need_no_dagster() -> None:
    code = "import sys, taxi_shared.settings; sys.exit('dagster' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_months_and_weeks_keep_to_the_dates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAXI_START_DATE", "2019-01-01")
    monkeypatch.setenv("TAXI_END_DATE", "2019-04-01")
    assert partitions.monthly().get_partition_keys() == ["2019-01-01", "2019-02-01", "2019-03-01"]
    weeks = partitions.weekly().get_partition_keys()
    assert all(date.fromisoformat(week).isoweekday() == 7 for week in weeks)
    assert (weeks[0], weeks[-1]) == ("2018-12-30", "2019-03-24")


def test_months_without_an_end_reach_the_last_whole_one() -> None:
    keys = partitions.monthly().get_partition_keys()
    today = datetime.now(UTC).date()
    assert keys[-1] < today.replace(day=1).isoformat()
    assert len(keys) >= 12 * (today.year - 2023)


def test_relative_path_starts_at_the_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "workspace.yaml").touch()
    (tmp_path / "ingestion" / "src").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "ingestion" / "src")
    assert settings.locate("data") == str(tmp_path / "data")
    assert settings.locate("/data") == "/data"
    assert settings.locate("s3://bucket/prefix") == "s3://bucket/prefix"


def test_path_may_have_blanks_and_begin_at_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
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
def test_file_url_is_a_path_of_this_machine(url: str, path: str) -> None:
    assert settings.locate(url) == path


@pytest.mark.parametrize("address", ["file://data", "file://server/data", "~no-such-user/data"])
def test_impossible_path_is_named(address: str) -> None:
    with pytest.raises(ValueError, match=f"'{address}' "):
        settings.locate(address)
