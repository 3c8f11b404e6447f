"""The ingresses compared: REST, Resque jobs and data changes, each to the last recorded verdict.

On: everything, as `rhopush serve` is shipped, with the Resque worker on queue `ping` and the default events channel.
The same number of pings arrives through each ingress, one after the other: by POST, as jobs pushed to Resque's list,
and as published changes, one a user, so that no two share a window. CPU is the whole gateway's, from ingress to
verdict; the pushing of jobs and changes is not part of any measured process but Redis.
"""

import json
import time
from collections.abc import Callable
from typing import Final

from gateway.bench.bench import Bench, proves
from gateway.bench.errors import CannotMeasure
from gateway.bench.result import Figure, Line, Plot, Ratio, Result
from gateway.bench.testbed import BenchEnvironment, Window, require_delivered
from gateway.bench.wire import USER
from gateway.settings import EventSettings
from gateway.store.keys import ResqueKeys

PINGS: Final = 10_000
_BATCH: Final = 500
_POLL_S: Final = 0.02
_SILENT_S: Final = 30.0
_MESSAGE: Final = "hello world"


def run(bench: Bench) -> Result:
    """Measure the three ingresses on one gateway."""
    pings = bench.pings(PINGS)
    with bench.stand(pings, exact=True) as stand:
        bench.progress.begin("warming up")
        stand.warm()
        windows = {
            "REST": _measure_ingress(bench, stand, pings, "REST", lambda: stand.load(pings)),
            "Resque": _measure_ingress(bench, stand, pings, "Resque", lambda: _enqueue(stand, pings)),
            "data changes": _measure_ingress(
                bench, stand, pings, "data changes", lambda: _publish(stand, pings)
            ),
        }
    cpu = {ingress: window.cpu_us("gateway", pings) for ingress, window in windows.items()}
    return Result(
        scenario="ingress",
        proves=proves(__doc__),
        figures=tuple(
            figure for ingress, window in windows.items() for figure in _figures(ingress, window, pings)
        ),
        ratios=tuple(
            Ratio(f"{ingress}: pings a CPU second, to REST's", cpu["REST"] / cpu[ingress])
            for ingress in ("Resque", "data changes")
        ),
        notes=(
            "data changes wait in a window (events.window_ms) before they become pings: their rate includes it",
            *(f"{ingress}: {note}" for ingress, window in windows.items() if (note := window.limit_note())),
        ),
        plots=(Plot("gateway CPU a ping, by ingress", "bars", "µs", (Line("CPU", tuple(cpu.items())),)),),
    )


def _figures(ingress: str, window: Window, pings: int) -> tuple[Figure, ...]:
    return (
        Figure(f"{ingress}: pings", pings / window.seconds, "pings/s"),
        Figure(f"{ingress}: gateway CPU a ping", window.cpu_us("gateway", pings), "µs"),
        Figure(f"{ingress}: Redis CPU a ping", window.cpu_us("redis", pings), "µs"),
        Figure(f"{ingress}: Redis traffic a ping", window.redis.network_bytes / pings, "bytes"),
    )


def _measure_ingress(
    bench: Bench, stand: BenchEnvironment, pings: int, ingress: str, send: Callable[[], object]
) -> Window:
    bench.progress.begin(f"{ingress}, {pings:,} pings")
    before = stand.delivered()
    with stand.window() as window:
        send()
        _until_delivered(stand, before + pings)
    require_delivered(window.delivered, pings)
    return window


def _until_delivered(stand: BenchEnvironment, wanted: int) -> None:
    """Wait until the provider has received all pushes: the queue is also empty before a window of changes closes."""
    most, heard = -1, time.monotonic()
    while (delivered := stand.delivered()) < wanted:
        if delivered > most:
            most, heard = delivered, time.monotonic()
        elif time.monotonic() - heard > _SILENT_S:
            raise CannotMeasure(f"{wanted - delivered} pushes did not come within {_SILENT_S:.0f} s")
        time.sleep(_POLL_S)


def _enqueue(stand: BenchEnvironment, pings: int) -> None:
    """Append jobs as `Resque.enqueue(PingJob, ...)` does (contract §3.2)."""
    names = ResqueKeys()
    client = stand.store.client
    client.sadd(names.queues, "ping")
    for first in range(0, pings, _BATCH):
        jobs = [_job(USER % number) for number in range(first, min(first + _BATCH, pings))]
        client.rpush(names.of("queue:ping"), *jobs)


def _job(user: str) -> str:
    ping = {"user_id": user, "sources": ["Product"], "message": _MESSAGE, "vibrate": 2000}
    return json.dumps({"class": "Rhoconnect::PingJob", "args": [ping]})


def _publish(stand: BenchEnvironment, pings: int) -> None:
    channel = EventSettings().channels[0]
    for first in range(0, pings, _BATCH):
        with stand.store.client.pipeline(transaction=False) as pipe:
            for number in range(first, min(first + _BATCH, pings)):
                pipe.publish(channel, json.dumps({"source": "Product", "user_id": USER % number}))
            pipe.execute()
