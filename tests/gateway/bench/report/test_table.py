"""A result as text."""

from gateway.bench.report.table import amount, table
from gateway.bench.result import Figure, Ratio, Result
from tests.gateway.bench.report.test_page import RESULT


def test_the_table_has_every_figure_and_every_verdict() -> None:
    lines = table(RESULT).splitlines()
    assert lines[0] == "push"
    assert lines[1].split() == ["pushes", "123,457", "pushes/s"]
    assert lines[2].endswith("≥ 0.8: missed by 13%")
    assert lines[-1] == "  note: the simulator is the limit"


def test_several_runs_have_their_spread() -> None:
    figures = (Figure("pushes", 2.0, "pushes/s", (1.5, 3.0)),)
    found = table(Result("push", "", figures, (Ratio("to it", 0.7, 0.8, spread=(0.65, 0.75)),))).splitlines()
    assert found[1].endswith("2 pushes/s (1.5 to 3)")
    assert found[2].endswith("(0.65 to 0.75) ≥ 0.8: missed by 13%")


def test_amounts_keep_three_digits() -> None:
    assert [amount(value) for value in (3.14159, 0.0123, 99.96, 123_456.7, 7.0)] == [
        "3.14",
        "0.0123",
        "100",
        "123,457",
        "7",
    ]
