"""Numbers of a report."""

import pytest

from gateway.bench.report.table import amount


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (123.456, "123"),
        (999.6, "1,000"),
        (99.96, "100"),
        (1234.5, "1,234"),
        (0.12345, "0.123"),
        (-250.7, "-251"),
    ],
)
def test_digits_behind_the_point_are_shown_only_where_they_matter(value: float, text: str) -> None:
    assert amount(value) == text
