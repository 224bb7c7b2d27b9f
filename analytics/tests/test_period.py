import pytest

from analytics.lib.period import describe_period


@pytest.mark.parametrize(
    ("months", "words"),
    [
        ([], "no months loaded"),
        (["2023-01"], "January 2023"),
        (["2023-03", "2023-01", "2023-02"], "January to March 2023"),
        (["2022-12", "2023-01"], "December 2022 to January 2023"),
        (["2023-01", "2023-03"], "January to March 2023 without Feb 2023"),
        (
            ["2022-11", "2023-01", "2023-03"],
            "November 2022 to March 2023 without Dec 2022, Feb 2023",
        ),
        (["2022-11", "2023-03"], "November 2022 to March 2023, 3 months missing"),
        (["2022-01", "2023-01"], "January 2022 to January 2023, 11 months missing"),
    ],
)
def test_period_names_the_missing_months(months: list[str], words: str) -> None:
    assert describe_period(f"{month}-01" for month in months) == words
