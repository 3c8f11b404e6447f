"""The report as data."""

import msgspec

from gateway.bench.report.document import BenchReport
from tests.gateway.bench.report.test_page import report


def test_the_report_survives_a_json_round_trip() -> None:
    made = report()
    assert msgspec.json.decode(msgspec.json.encode(made), type=BenchReport) == made
    assert made.machine.cores >= 1
    assert "uvloop" in made.versions
