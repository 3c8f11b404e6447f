"""The modules of a real worker, without its work: it writes the names of all imported modules to stdout."""

import json
import sys

from gateway.delivery.provider_registry import installed
from gateway.server.tracing import open_tracer
from gateway.server.worker import run as run_worker
from gateway.server.worker_channels import WorkerContext


async def run(context: WorkerContext) -> None:
    assert run_worker
    assert list(installed())
    async with open_tracer(context.settings, "worker"):
        sys.stdout.write(json.dumps(sorted(sys.modules)) + "\n")
    context.ready()
    await context.stop.wait()
