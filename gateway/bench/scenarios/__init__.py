"""The scenarios. Each module has `run(bench) -> Result`; its docstring describes the parts that run and those that
do not."""

import importlib
from typing import Final

from gateway.bench.bench import Bench
from gateway.bench.result import Result

SCENARIOS: Final = {
    "push": "delivery alone, fed from memory",
    "ingest": "HTTP ingress alone, to the durable append",
    "endtoend": "POST to the last recorded verdict, everything on",
    "optional": "what each optional part adds to a ping: webhooks, tracing, consoles, syncs",
    "bulk": "many pings a request, with idempotency keys",
    "fanout": "one ping to 100,000 users",
    "mixed": "small pings during a broadcast",
    "latency": "answer and verdict times at fixed rates",
    "growth": "what a ping costs with more registered users",
    "soak": "many pings: does memory stay flat?",
    "ingress": "REST, Resque jobs and data changes beside one another",
    "rhoconnect_push": "RhoConnect Push devices: long polls and their messages",
    "attacks": "good pings during attacks by callers without credentials",
}

PEERS: Final = {
    "push": ("h2load", "aioapns", "pyfcm"),
    "fanout": ("h2load",),
    "mixed": ("h2load",),
}
"""Packages and programs that a scenario requires; aiohttp is always installed, and the others may be missing."""

LATENCIES: Final = frozenset({"endtoend", "mixed", "latency", "attacks"})
"""Scenarios with percentiles, which require the package hdrhistogram."""


def run_scenario(name: str, bench: Bench) -> Result:
    """Run one of `SCENARIOS`.

    Raises:
        CannotMeasure: a required part is missing or did not do as ordered.
    """
    result: Result = importlib.import_module(f"gateway.bench.scenarios.{name}").run(bench)
    return result
