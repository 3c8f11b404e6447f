"""Measure the cost of a ping on this machine, beside peers measured in the same run.

A running gateway is not affected: each scenario starts its own, with simulated providers.
"""

import argparse
import importlib
import io
import os
import signal
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import msgspec

from gateway.bench import latencies, peers
from gateway.bench.bench import Bench, Options, names
from gateway.bench.errors import CannotMeasure
from gateway.bench.interrupts import signals_interrupt
from gateway.bench.medians import median_of
from gateway.bench.report.document import BenchReport, new_report
from gateway.bench.report.table import table
from gateway.bench.scenarios import LATENCIES, PEERS, SCENARIOS, run_scenario
from gateway.bench.store import Store, given_address
from gateway.cli.options import count
from gateway.errors import RhoPushError
from gateway.system.progress import Progress

EXIT_OUTPUT_CLOSED: Final = 128 + signal.SIGPIPE
"""Exit status that a shell reports for a program that wrote to a pipe without a reader."""
EXIT_NO_PAGE: Final = 1
NO_PLOTS: Final = (
    "rhopush bench: no HTML report will be written: plotly is not installed (pip install '.[bench]')\n"
)
_FULL: Final = (
    "run the long forms: fanout and growth with a million users, soak with a million pings, latency with a minute at "
    "each rate, rhoconnect_push with 100,000 devices, attacks with 15 seconds of each, optional with 10 pairs of "
    "60,000 pings a part"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `rhopush bench`."""
    texts = {**SCENARIOS, "all": "all scenarios"}
    listing = "\n".join(f"  {name:<17}{text}" for name, text in texts.items())
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = f"scenarios:\n{listing}"
    parser.add_argument("scenarios", metavar="SCENARIO", nargs="+", choices=[*texts], help="see below")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report as JSON")
    parser.add_argument(
        "--html",
        type=Path,
        metavar="FILE",
        help="write the report as a page with plots, for which plotly must be installed (the extra `bench`)",
    )
    parser.add_argument(
        "--runs",
        type=count,
        default=1,
        metavar="N",
        help="number of runs of each scenario; the report has their medians and spreads (default: %(default)s)",
    )
    parser.add_argument("--pings", type=count, metavar="N", help="number of pings that a scenario sends")
    parser.add_argument("--users", type=count, metavar="N", help="number of registered users")
    parser.add_argument(
        "--workers",
        type=count,
        default=1,
        metavar="N",
        help="worker processes of the gateway (default: %(default)s)",
    )
    parser.add_argument(
        "--connections",
        type=count,
        default=64,
        metavar="N",
        help="connections of the load generator (default: %(default)s)",
    )
    parser.add_argument(
        "--redis",
        metavar="ADDRESS",
        help="address of an empty Redis, used instead of the embedded store and emptied afterwards",
    )
    parser.add_argument("--full", action="store_true", help=_FULL)
    parser.add_argument(
        "--no-peers",
        action="store_false",
        dest="peers",
        help="measure the gateway alone: no peer is built or started, and comparisons with peers are omitted",
    )


def run(args: argparse.Namespace) -> int:
    """Run the scenarios, print each result as soon as it is available, and write the report.

    If a scenario fails, the report has the scenarios before it. The measurement ends once its output is not read any
    more (`| head`). Without plotly, results are printed and written as JSON; the status is then 1 if a page is missing.

    Raises:
        BadSetting: the given Redis has no address.
        CannotMeasure: a requirement is missing, or a component failed.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal may lack "≤": an error would waste minutes of measurement.
        sys.stdout.reconfigure(errors="replace")
    scenarios = names(tuple(SCENARIOS), args.scenarios)
    drawable = args.html is None or find_spec("plotly") is not None
    if not drawable:
        sys.stderr.write(NO_PLOTS)
        args.html = None
    _must_be_possible(args, scenarios)
    report, progress = new_report(_redacted(sys.argv[2:], args.redis), peers=args.peers), Progress()
    with signals_interrupt():
        try:
            status = _measure(scenarios, args.runs, Bench(_options(args), progress), report)
        except RhoPushError as error:
            report.broken_off = error.message
            raise
        except KeyboardInterrupt:
            report.broken_off = "interrupted"
            raise
        finally:
            progress.clear()
            _write(report, args)
    return status if drawable else status or EXIT_NO_PAGE


def _measure(scenarios: Sequence[str], runs: int, bench: Bench, report: BenchReport) -> int:
    for name in scenarios:
        result = median_of([run_scenario(name, bench) for _ in range(runs)])
        report.results.append(result)
        bench.progress.clear()
        if not _printed(table(result) + "\n"):
            if len(report.results) < len(scenarios):
                report.broken_off = "its output is not read any more"
            return EXIT_OUTPUT_CLOSED
    return 0


def _printed(text: str) -> bool:
    """Print a text, and return whether the output is still read."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        # Python writes the rest of the buffer once more at exit, and would report the error
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        return False
    return True


def _write(report: BenchReport, args: argparse.Namespace) -> None:
    """Write the report if there are results: a file of an earlier run stays otherwise."""
    if not report.results:
        return
    if args.json is not None:
        _write_file(args.json, msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    if args.html is not None:
        # plotly takes about a second to import, which no other part of the command waits for.
        page: str = importlib.import_module("gateway.bench.report.page").page(report)
        _write_file(args.html, page.encode())


def _write_file(path: Path, content: bytes) -> None:
    _on_disk(path, lambda: path.write_bytes(content))


def _on_disk(path: Path, act: Callable[[], object]) -> None:
    try:
        act()
    except OSError as error:
        raise CannotMeasure(f"{path} cannot be written: {error.strerror}") from error


def _must_be_possible(args: argparse.Namespace, scenarios: Sequence[str]) -> None:
    """Check the requirements before the measurement, which takes minutes.

    Raises:
        BadSetting: the given Redis has no address.
        CannotMeasure: a package, a peer, a file or the given Redis does not meet the requirements.
    """
    if not LATENCIES.isdisjoint(scenarios):
        latencies.require()
    for name in scenarios if args.peers else ():
        peers.require(PEERS.get(name, ()))
    for path in (args.json, args.html):
        _must_be_writable(path)
    if args.redis is not None:
        with Store(Path(), args.redis):
            pass


def _must_be_writable(path: Path | None) -> None:
    """Check that a file is writable, without a change.

    Raises:
        CannotMeasure: the file is not writable.
    """
    if path is None:
        return
    new = not path.exists()
    _on_disk(path, lambda: path.open("ab").close())
    if new:
        path.unlink()


def _redacted(arguments: Sequence[str], redis: str | None) -> list[str]:
    """Return the arguments for the report, which may be shared, without the password of a given Redis."""
    if redis is None or not (address := given_address(redis)).password:
        return list(arguments)
    return [word.replace(redis, str(address)) for word in arguments]


def _options(args: argparse.Namespace) -> Options:
    chosen: dict[str, Any] = {name: getattr(args, name) for name in Options._fields}
    return Options(**chosen)
