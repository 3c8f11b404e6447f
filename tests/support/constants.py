"""`rhopush serve` with other values of constants in its workers, so that a test need not wait for a lease to end.

The environment variable has the values as JSON, by the full name of the constant in the module that reads it:
`{"gateway.queue.consumer.LEASE_S": 2.0}`. An object replaces fields of a constant that is a named tuple.
"""

import functools
import importlib
import json
import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gateway.server.worker_channels import WorkerContext

VARIABLE: Final = "TESTED_CONSTANTS"
SHORT_LEASES: Final = {
    "gateway.queue.consumer.LEASE_S": 4.0,
    "gateway.fanout.consumer.LEASE_S": 4.0,
    "gateway.fanout.in_flight.RENEW_S": 1.0,
}
"""The entries of a killed gateway are taken over after some seconds."""


def main() -> int:
    """Run the command of the arguments; the workers of `rhopush serve` run this module."""
    from gateway import cli
    from gateway.cli import serve
    from gateway.server.supervisor import ServerOptions

    vars(serve)["ServerOptions"] = functools.partial(ServerOptions, module=__name__)
    return cli.main()


async def run(context: "WorkerContext") -> None:
    """Replace the constants of this process, and run the worker."""
    from gateway.server import worker

    for path, value in json.loads(os.environ[VARIABLE]).items():
        module, _, name = path.rpartition(".")
        place = importlib.import_module(module)
        before = getattr(place, name)  # AttributeError: there is no such constant
        setattr(place, name, before._replace(**value) if isinstance(value, dict) else value)
    await worker.run(context)
