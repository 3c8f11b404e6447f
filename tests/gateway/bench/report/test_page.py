import re

import msgspec

from gateway.bench.report.document import BenchReport, new_report
from gateway.bench.report.figures import library
from gateway.bench.report.page import page
from gateway.bench.result import Figure, Line, Plot, Ratio, Result

RESULT = Result(
    scenario="push",
    proves="Delivery <alone>",
    figures=(Figure("pushes", 123_456.7, "pushes/s"),),
    ratios=(Ratio("to h2load's", 0.7, 0.8), Ratio("to aioapns'", 41.0, 40.0)),
    notes=("the simulator is the limit",),
    plots=(Plot("CPU", "bars", "µs", (Line("a", (("x", 1.0),)), Line("b", (("x", 2.0),)))),),
)


def report() -> BenchReport:
    made = new_report(["push", "--json", "a file"])
    made.results.append(RESULT)
    return made


def test_the_page_is_self_contained_and_complete() -> None:
    text = page(report())
    assert re.findall(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=", text) == []
    assert text.count(library()) == 1
    assert "default-src 'none'" in text
    assert "Delivery &lt;alone&gt;" in text
    assert "rhopush bench push --json &#x27;a file&#x27;" in text
    for words in ("123,457", "≥ 0.8: missed by 13%", "≥ 40: reached", "Note: the simulator is the limit."):
        assert words in text
    assert text.count("Plotly.newPlot(") == 1 + library().count("Plotly.newPlot(")


def test_a_report_without_plots_has_no_library() -> None:
    made = report()
    made.results[0] = msgspec.structs.replace(RESULT, plots=())
    assert len(page(made)) < 10_000


def test_several_runs_have_their_spread() -> None:
    made = report()
    lines = (Line("a", (("x", 2.0),), ((1.0, 4.0),)),)
    made.results = [
        msgspec.structs.replace(
            RESULT,
            figures=(Figure("pushes", 2.0, "pushes/s", (1.5, 3.0)),),
            ratios=(Ratio("to h2load's", 0.7, 0.8, spread=(0.65, 0.75)),),
            plots=(Plot("CPU", "bars", "µs", lines),),
        )
    ]
    text = page(made)
    for words in ("1.5 to 3", "0.65 to 0.75", "Median of the runs"):
        assert words in text
    assert "Median of the runs" not in page(report())


def test_an_interrupted_run_has_its_reason() -> None:
    made = report()
    assert "Broken off" not in page(made)
    made.broken_off = "no <wind>"
    assert "<tr><td>Broken off<td><code>no &lt;wind&gt;</code>" in page(made)
