"""Several runs of a scenario as one result."""

from gateway.bench.medians import median_of
from gateway.bench.result import Figure, Line, Plot, Ratio, Result


def run(rate: float, *points: tuple[float | str, float], note: str = "") -> Result:
    return Result(
        "push",
        "Delivery alone",
        (Figure("pushes", rate, "pushes/s"), *([Figure(f"only in {note}", 1.0)] if note else [])),
        (Ratio("to h2load's", rate / 10, 0.8),),
        (note,) if note else (),
        (Plot("CPU", "bars", "µs", (Line("sender", points),)),),
    )


def test_one_run_is_its_own_result() -> None:
    one = run(7.0, ("a", 1.0))
    assert median_of([one]) is one


def test_values_are_medians_with_the_lowest_and_the_highest() -> None:
    found = median_of([run(7.0, ("a", 1.0), ("b", 5.0)), run(9.0, ("a", 3.0)), run(6.0, ("a", 2.5))])
    assert found.figures == (Figure("pushes", 7.0, "pushes/s", (6.0, 9.0)),)
    (ratio,) = found.ratios
    assert (ratio.value, ratio.bar, ratio.spread) == (0.7, 0.8, (0.6, 0.9))
    assert ratio.verdict.startswith("missed")
    (line,) = found.plots[0].lines
    assert line == Line("sender", (("a", 2.5),), ((1.0, 3.0),))


def test_what_one_run_lacks_is_left_out_and_notes_are_kept() -> None:
    found = median_of([run(1.0, note="it"), run(2.0), run(3.0, note="it")])
    assert [figure.name for figure in found.figures] == ["pushes"]
    assert found.notes == ("it",)
    assert found.plots[0].lines == ()
