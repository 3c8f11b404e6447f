"""Measure this machine: what a ping costs here, beside peers measured in the same run.

Nothing of a running gateway is touched: each scenario puts up its own, with simulated providers.
"""

import argparse
import io
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from gateway.bench import latencies, peers
from gateway.bench.bench import Bench, Options, names
from gateway.bench.errors import CannotMeasure
from gateway.bench.interrupts import signals_interrupt
from gateway.bench.progress import ProgressLine
from gateway.bench.report.document import BenchReport, new_report
from gateway.bench.report.page import page
from gateway.bench.report.table import table
from gateway.bench.scenarios import PEERS, SCENARIOS, run_scenario
from gateway.bench.store import Store, given_address
from gateway.cli.options import count
from gateway.errors import RhoPushError

EXIT_OUTPUT_CLOSED: Final = 128 + signal.SIGPIPE
"""The exit status that a shell reports of a program that wrote into a pipe without a reader."""
_FULL: Final = (
    "the long forms: fanout and growth with a million users, soak with a million pings, latency with a minute at "
    "each rate, rhoconnect_push with 100,000 devices, attacks with 15 seconds of each"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `rhopush bench`."""
    listing = "\n".join(f"  {name:<17}{text}" for name, text in SCENARIOS.items())
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = f"scenarios:\n{listing}\n  all       every one of them"
    parser.add_argument("scenarios", metavar="SCENARIO", nargs="+", choices=[*SCENARIOS, "all"])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report as JSON")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write the report as a page with plots")
    parser.add_argument("--pings", type=count, metavar="N", help="how many pings a scenario sends")
    parser.add_argument("--users", type=count, metavar="N", help="how many users are registered")
    parser.add_argument(
        "--workers", type=count, default=1, metavar="N", help="of the gateway (default: %(default)s)"
    )
    parser.add_argument(
        "--connections",
        type=count,
        default=64,
        metavar="N",
        help="of the load generator (default: %(default)s)",
    )
    parser.add_argument(
        "--redis",
        metavar="ADDRESS",
        help="an empty Redis instead of the embedded store, as settings write it; it is emptied afterwards",
    )
    parser.add_argument("--full", action="store_true", help=_FULL)
    parser.add_argument(
        "--no-peers",
        action="store_false",
        dest="peers",
        help="measure the gateway alone: no peer is built or started, and what compares with one is left out",
    )


def run(args: argparse.Namespace) -> int:
    """Run the scenarios, print each result as it comes, write the report: of those that were run, if one fails.

    Nothing more is measured once nobody reads what is printed (`| head`).

    Raises:
        BadSetting: the given Redis has no address.
        CannotMeasure: something is missing or did not do as it was told.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal may not have "≤"; minutes would be lost
    scenarios = names(tuple(SCENARIOS), args.scenarios)
    _must_be_possible(args, scenarios)
    report, progress = new_report(_redacted(sys.argv[2:], args.redis), peers=args.peers), ProgressLine()
    with signals_interrupt():
        try:
            return _measure(scenarios, Bench(_options(args), progress), report)
        except RhoPushError as error:
            report.broken_off = error.message
            raise
        except KeyboardInterrupt:
            report.broken_off = "interrupted"
            raise
        finally:
            progress.clear()
            _write(report, args)


def _measure(scenarios: Sequence[str], bench: Bench, report: BenchReport) -> int:
    for name in scenarios:
        result = run_scenario(name, bench)
        report.results.append(result)
        bench.progress.clear()
        if not _printed(table(result) + "\n"):
            if len(report.results) < len(scenarios):
                report.broken_off = "nobody reads its output"
            return EXIT_OUTPUT_CLOSED
    return 0


def _printed(text: str) -> bool:
    """Print it; whether somebody reads."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        # What is left in the buffer is tried once more when Python ends, which would tell of it
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        return False
    return True


def _write(report: BenchReport, args: argparse.Namespace) -> None:
    """Nothing, where nothing was measured: a file of an earlier run stays as it is."""
    if not report.results:
        return
    if args.json is not None:
        _write_file(args.json, msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    if args.html is not None:
        _write_file(args.html, page(report).encode())


def _write_file(path: Path, content: bytes) -> None:
    _on_disk(path, lambda: path.write_bytes(content))


def _on_disk(path: Path, act: Callable[[], object]) -> None:
    try:
        act()
    except OSError as error:
        raise CannotMeasure(f"{path} cannot be written: {error.strerror}") from error


def _must_be_possible(args: argparse.Namespace, scenarios: Sequence[str]) -> None:
    """Asked before anything is measured: minutes would be lost.

    Raises:
        BadSetting: the given Redis has no address.
        CannotMeasure: a package, a peer, a file or the given Redis is not as it must be.
    """
    latencies.require()
    for name in scenarios if args.peers else ():
        peers.require(PEERS.get(name, ()))
    for path in (args.json, args.html):
        _must_be_writable(path)
    if args.redis is not None:
        with Store(Path(), args.redis):
            pass


def _must_be_writable(path: Path | None) -> None:
    """It is left as it was.

    Raises:
        CannotMeasure: it is not.
    """
    if path is None:
        return
    new = not path.exists()
    _on_disk(path, lambda: path.open("ab").close())
    if new:
        path.unlink()


def _redacted(arguments: Sequence[str], redis: str | None) -> list[str]:
    """The arguments for the report, which is shown to others: without the password of a given Redis."""
    if redis is None or not (address := given_address(redis)).password:
        return list(arguments)
    return [word.replace(redis, str(address)) for word in arguments]


def _options(args: argparse.Namespace) -> Options:
    chosen: dict[str, Any] = {name: getattr(args, name) for name in Options._fields}
    return Options(**chosen)
