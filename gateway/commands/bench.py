"""Measure this machine: what a ping costs here, beside peers measured in the same run.

Nothing of a running gateway is touched: each scenario puts up its own, with simulated providers.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import msgspec

from gateway.bench import latencies
from gateway.bench.bench import Bench, Options, names
from gateway.bench.errors import CannotMeasure
from gateway.bench.progress import Progress
from gateway.bench.report.document import new_report
from gateway.bench.report.page import page
from gateway.bench.report.table import table
from gateway.bench.scenarios import SCENARIOS, run_scenario
from gateway.commands.options import count


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `rhopush bench`."""
    listing = "\n".join(f"  {name:<10}{text}" for name, text in SCENARIOS.items())
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = f"scenarios:\n{listing}\n  all       every one of them"
    parser.add_argument("scenarios", metavar="SCENARIO", nargs="+", choices=[*SCENARIOS, "all"])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report as JSON")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write the report as a page with plots")
    parser.add_argument("--pings", type=count, metavar="N", help="how many pings, in each scenario")
    parser.add_argument("--users", type=count, metavar="N", help="how many registered users")
    parser.add_argument("--workers", type=count, default=1, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--connections", type=count, default=64, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--redis", metavar="ADDRESS", help="an empty Redis, instead of the embedded store")
    parser.add_argument("--full", action="store_true", help="the long forms: a million users or pings")


def run(args: argparse.Namespace) -> int:
    """Run the scenarios, print each result as it comes, write the report.

    Raises:
        CannotMeasure: something is missing or did not do as it was told.
    """
    latencies.require()
    for path in (args.json, args.html):
        _must_be_writable(path)
    report = new_report(sys.argv[2:])
    progress = Progress()
    bench = Bench(_options(args), progress)
    for name in names(tuple(SCENARIOS), args.scenarios):
        result = run_scenario(name, bench)
        progress.clear()
        sys.stdout.write(table(result) + "\n")
        sys.stdout.flush()
        report.results.append(result)
    if args.json is not None:
        args.json.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    if args.html is not None:
        args.html.write_text(page(report))
    return 0


def _must_be_writable(path: Path | None) -> None:
    """Asked before anything is measured: minutes would be lost.

    Raises:
        CannotMeasure: it is not.
    """
    if path is None:
        return
    try:
        path.open("ab").close()
    except OSError as error:
        raise CannotMeasure(f"{path} cannot be written: {error.strerror}") from error


def _options(args: argparse.Namespace) -> Options:
    chosen: dict[str, Any] = {name: getattr(args, name) for name in Options._fields}
    return Options(**chosen)
