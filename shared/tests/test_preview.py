"""The preview of a table on an asset's page is short."""

from taxi_shared.preview import MAX_CELL_LENGTH, first_rows


def test_preview_has_ten_rows_and_the_total() -> None:
    shown = first_rows(["n", "text"], [(n, "a|b") for n in range(12)], 12).value
    assert shown.splitlines()[:3] == ["| n | text |", "| --- | --- |", "| 0 | a\\|b |"]
    assert len(shown.splitlines()) == 2 + 10 + 2
    assert shown.endswith("12 rows in all")


def test_long_cell_is_cut() -> None:
    shown = first_rows(["shape"], [("MULTIPOLYGON " * 1000,)], 1).value
    assert len(shown.splitlines()[2]) == MAX_CELL_LENGTH + len("| … |")
