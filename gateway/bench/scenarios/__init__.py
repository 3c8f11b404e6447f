"""The scenarios. Each module has `run(bench) -> Result`; its docstring says what is on and what is not."""

import importlib
from typing import Final

from gateway.bench.bench import Bench
from gateway.bench.result import Result

SCENARIOS: Final = {
    "push": "delivery alone, fed from memory",
    "ingest": "HTTP ingress alone, to the durable append",
    "endtoend": "POST to the last recorded verdict, everything on",
    "bulk": "many pings a request, with idempotency keys",
    "fanout": "one ping to 100,000 users",
    "mixed": "small pings during a broadcast",
    "latency": "answer and verdict times at fixed rates",
    "growth": "what a ping costs with more registered users",
    "soak": "many pings: is what it holds flat?",
    "ingress": "REST, Resque jobs and data changes beside one another",
    "rhoconnect_push": "RhoConnect Push devices: long polls and their messages",
    "attacks": "good pings during attacks by callers without credentials",
}

PEERS: Final = {
    "push": ("h2load", "aioapns", "pyfcm"),
    "fanout": ("h2load",),
    "mixed": ("h2load",),
}
"""Without which a scenario cannot be; aiohttp is always there, and the others may be missing."""


def run_scenario(name: str, bench: Bench) -> Result:
    """Run one of `SCENARIOS`.

    Raises:
        CannotMeasure: something is missing or did not do as it was told.
    """
    result: Result = importlib.import_module(f"gateway.bench.scenarios.{name}").run(bench)
    return result
