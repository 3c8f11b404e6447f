"""A result as text."""

from gateway.bench.report.table import amount, table
from tests.gateway.bench.report.test_page import RESULT


def test_the_table_has_every_figure_and_every_verdict() -> None:
    lines = table(RESULT).splitlines()
    assert lines[0] == "push"
    assert lines[1].split() == ["pushes", "123,457", "pushes/s"]
    assert lines[2].endswith("≥ 0.8: missed by 13%")
    assert lines[-1] == "  note: the simulator is the limit"


def test_amounts_keep_three_digits() -> None:
    assert [amount(value) for value in (3.14159, 0.0123, 99.96, 123_456.7, 7.0)] == [
        "3.14",
        "0.0123",
        "100",
        "123,457",
        "7",
    ]
