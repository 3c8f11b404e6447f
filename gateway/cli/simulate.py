"""Run simulators of the installed providers on this machine, to try a gateway or for an operator's own CI."""

import argparse
import asyncio
import signal
import sys
import tempfile
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import uvloop

from gateway.cli.options import port
from gateway.delivery.provider_registry import installed
from gateway.errors import InputError
from gateway.simulators import Authority, Hosting, SimulatedRecord
from gateway.simulators.base import Simulator
from gateway.simulators.client_files import TOPIC, write_client_files
from gateway.simulators.simulation import Simulation
from gateway.system.network_errors import describe
from protocols.simulation.faults import describe_faults, sort_faults

_EPILOG: Final = f"""\
faults are written PROVIDER:WHAT[=ARGUMENT][:WHO], PROVIDER being the name of a provider, WHAT one of
{describe_faults()}
and WHO, joined by commas
  token=PREFIX      only device tokens with this prefix (the bare prefix suffices)
  after=N           not for the first N requests
  every=N           only each Nth request
  next=N            N times (default for goaway, cut and limit: once)

  --fault apns:410:token=dead --fault fcm:429=30:next=5 --fault apns:goaway:every=1000
  --fault fcm:silence:after=9
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `rhopush simulate`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--name", help="host name of that address, for certificates and settings")
    for name, simulation in installed().simulations().items():
        owner = f"{simulation.title}'" if simulation.title.endswith("s") else f"{simulation.title}'s"
        parser.add_argument(
            f"--{name}-port", type=port, default=0, metavar="N", help=f"{owner} port; 0: any free port"
        )
    parser.add_argument(
        "--record",
        type=Path,
        metavar="FILE.jsonl",
        help="append each request as a line of JSON, including complete device tokens",
    )
    parser.add_argument(
        "--accept-all", action="store_true", help="answer every request with 200, unread, at full speed"
    )
    parser.add_argument(
        "--fault", action="append", default=[], metavar="SPEC", help="scripted fault, see below"
    )
    parser.add_argument(
        "--credentials",
        type=Path,
        metavar="DIR",
        help="folder for keys and a settings.yml for `rhopush serve` (default: a temporary folder)",
    )
    parser.add_argument("--project", default="demo-project", metavar="ID", help="FCM project (%(default)s)")
    parser.add_argument("--quiet", action="store_true", help="do not print a line for each push")


def run(args: argparse.Namespace) -> int:
    """Run until SIGINT or SIGTERM.

    Returns:
        0; 1 if a port or file is not available; 2 if a fault is invalid.
    """
    try:
        simulations = installed().simulations()
        faults = sort_faults(args.fault, {name: one.answers for name, one in simulations.items()})
        uvloop.run(_simulate(args, simulations, faults))
    except InputError as error:
        sys.stderr.write(f"rhopush simulate: {error}\n")
        return 2
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        sys.stderr.write(f"rhopush simulate: {where}{describe(error)}\n")
        return 1
    return 0


async def _simulate(
    args: argparse.Namespace, simulations: Mapping[str, Simulation], faults: Mapping[str, list[str]]
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    authority = Authority([_hosting(args, 0, None).reached_at])
    async with AsyncExitStack() as stack:
        simulators: dict[str, Simulator] = {}
        for name, simulation in simulations.items():
            hosting = _hosting(args, getattr(args, f"{name}_port"), authority)
            simulators[name] = simulation.make(faults[name], hosting, args.project)
            await stack.enter_async_context(simulators[name])
        folder = args.credentials or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="rhopush-credentials-"))
        )
        clients = {name: simulations[name].client_files(one, TOPIC) for name, one in simulators.items()}
        _print(f"settings {write_client_files(folder, clients)}")
        addresses = (f"{name}={one.hosting.reached_at}:{one.port}" for name, one in simulators.items())
        _print(f"ready {' '.join(addresses)}")
        await stop.wait()
    for name, one in simulators.items():
        _print(_account(name, one.received.total + one.answered, one.received.total_accepted))


def _hosting(args: argparse.Namespace, port: int, authority: Authority | None) -> Hosting:
    return Hosting(
        host=args.host,
        port=port,
        name=args.name,
        authority=authority,
        accept_all=args.accept_all,
        record_file=args.record,
        on_push=None if args.quiet else _show,
    )


def _show(record: SimulatedRecord) -> None:
    _print(record.line())


def _account(provider: str, requests: int, accepted: int) -> str:
    return f"{provider} {requests} requests" + (f", {accepted} accepted" if accepted else "")


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
