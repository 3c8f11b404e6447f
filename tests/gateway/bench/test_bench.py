"""One run of the load tool: its numbers and its scenarios."""

import io

from gateway.bench.bench import Bench, Options, names, proves
from gateway.system.progress import Progress


def bench(options: Options) -> Bench:
    return Bench(options, Progress(io.StringIO()))


def test_a_number_of_the_command_line_displaces_that_of_the_scenario() -> None:
    assert bench(Options()).pings(500) == 500
    assert bench(Options(pings=7)).pings(500) == 7


def test_peers_are_there_unless_the_run_measures_the_gateway_alone() -> None:
    assert bench(Options()).peers is not None
    assert bench(Options(peers=False)).peers is None


def test_scenarios_run_once_each_in_the_order_of_the_table() -> None:
    known = ["push", "ingest", "soak"]
    assert names(known, ["soak", "push", "soak"]) == ["push", "soak"]
    assert names(known, ["all", "push"]) == known
    assert names(known, ["other"]) == []


def test_a_scenarios_description_is_one_line() -> None:
    assert proves("It measures\n\n    two things.\n") == "It measures two things."
    assert proves(None) == ""
