import pytest

from gateway.bench.result import Ratio


@pytest.mark.parametrize(
    ("value", "bar", "at_most", "reached", "verdict"),
    [
        (0.8, 0.8, False, True, "reached"),
        (0.79, 0.8, False, False, "missed by 1%"),
        (39.9, 40.0, False, False, "missed by less than 1%"),
        (1.7, 1.7, True, True, "reached"),
        (3.4, 1.7, True, False, "missed by 100%"),
        (1.0, None, False, None, ""),
    ],
)
def test_a_bar_is_reached_from_the_correct_side(
    value: float, bar: float | None, at_most: bool, reached: bool | None, verdict: str
) -> None:
    ratio = Ratio("r", value, bar, at_most)
    assert (ratio.reached, ratio.verdict) == (reached, verdict)
