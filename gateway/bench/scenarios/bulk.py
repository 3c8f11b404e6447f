"""Many pings in one request: from the line to the last recorded verdict.

On: everything, as in `endtoend`, with the same stand, users and texts. Requests of 1,000 lines over 4 connections, one
request at a time on each; each line is a ping for one user, with an idempotency key. Then one request that has all
pings, whose answers are read while it is sent: when its answer begins, and the memory of the gateway at a fifth of it
and at its end.

The CPU is compared with that of as many pings as requests of their own, which is what `endtoend` measures. A second
gateway receives these at the same time: one after the other would be compared under different conditions, because what
a gateway's CPU time is worth depends on what the machine's other cores do. The round with the median of the ratio is
reported.

gorush beside it takes 100 notifications a request, as many as it allows, and has no idempotency keys. It uses all
cores, and one worker of the gateway uses one: the same requests are therefore also sent to a gateway with a worker for
each core. Each round measures all three one after the other, so that they share the conditions of the machine as far
as possible; the median of each ratio over the rounds is reported, and the round with the median of the CPU.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import Final, NamedTuple

from gateway.bench.bench import Bench, proves
from gateway.bench.child import Child
from gateway.bench.errors import CannotMeasure
from gateway.bench.peers import Gorush, PeerMeasurement
from gateway.bench.result import Comparison, Figure, Ratio, Result
from gateway.bench.roles.bulk_load import BulkLoadResult, BulkOrder
from gateway.bench.testbed import PARTS, BenchEnvironment, Window, require_delivered
from gateway.bench.usage import pss_bytes
from gateway.bench.wire import CALLER_KEY

PINGS: Final = 60_000
USERS: Final = 10_000
LINES: Final = 1_000
CONNECTIONS: Final = 4
ROUNDS: Final = 3
STREAM_FACTOR: Final = 5
"""The one long request has so many times the pings of a round."""
_PART: Final = "bulk_load"
_GORUSH: Final = "gorush_hundreds"
_CPU_BAR: Final = 0.75
_RATE_BAR_GORUSH: Final = 1.5
_CPU_BAR_GORUSH: Final = 0.5
_MEMORY_BAR: Final = 1.2


class _Pair(NamedTuple):
    """Measurements of two gateways at the same time.

    Attributes:
        single: pings as requests of their own.
        lines: as many pings in requests of many lines.
    """

    single: Window
    lines: Window

    @property
    def ratio(self) -> float:
        """The gateway's CPU of the lines, to that of the single pings."""
        return self.lines.cpu["gateway"] / self.single.cpu["gateway"]


class _Round(NamedTuple):
    """Measurements one after the other.

    Attributes:
        one: the gateway with one worker.
        done: the client's side of it.
        all_cores: a gateway with a worker for each core.
        gorush: None: it is not measured.
    """

    one: Window
    done: BulkLoadResult
    all_cores: Window
    gorush: Gorush | None


def run(bench: Bench) -> Result:
    """Measure, beside single pings and, where Go is, gorush."""
    pings = bench.pings(PINGS)
    cores = len(os.sched_getaffinity(0))
    with (
        bench.stand(USERS) as stand,
        bench.stand(USERS, workers=cores) as all_cores,
        Child(_PART, stand.folder) as load,
    ):
        bench.progress.begin("warming up")
        stand.warm()
        _requests(bench, all_cores, load, pings, "warm")  # warms up every worker
        rounds = [_round(bench, (stand, all_cores), load, pings, number) for number in range(ROUNDS)]
        streamed, memory = _stream(bench, stand, load, pings * STREAM_FACTOR)
        redis = stand.store.name
    pairs = [_pair(bench, pings, number) for number in range(ROUNDS)]
    found = sorted(rounds, key=lambda one: one.one.cpu["gateway"])[ROUNDS // 2]
    window, done, all_workers, _ = found
    pair = sorted(pairs, key=lambda one: one.ratio)[ROUNDS // 2]
    compared = _compared(rounds, bench.peers.missing(_GORUSH) if bench.peers else (), pings)
    notes = (f"store: {redis}", window.limit_note(), *compared.notes)
    return Result(
        scenario="bulk",
        proves=proves(__doc__),
        figures=(
            Figure("pings", pings / window.seconds, "pings/s"),
            *(Figure(f"{part} CPU a ping", window.cpu_us(part, pings), "µs") for part in (*PARTS[:3], _PART)),
            Figure("a worker for each core: pings", pings / all_workers.seconds, "pings/s"),
            Figure("a worker for each core: gateway CPU a ping", all_workers.cpu_us("gateway", pings), "µs"),
            Figure("Redis traffic a ping", window.redis.network_bytes / pings, "bytes"),
            Figure("first answer of a request, longest", max(done.first_s) * 1000, "ms"),
            Figure("beside single pings: gateway CPU a ping", pair.lines.cpu_us("gateway", pings), "µs"),
            Figure("single pings: gateway CPU a ping", pair.single.cpu_us("gateway", pings), "µs"),
            Figure("one long request: first answer", streamed.first_s[0] * 1000, "ms"),
            Figure("one long request: not sent at the first answer", streamed.left[0] * 100, "%"),
            Figure("one long request: gateway memory at 20 %", memory[0] / 1e6, "MB"),
            Figure("one long request: gateway memory at the end", memory[1] / 1e6, "MB"),
            *compared.figures,
        ),
        ratios=(
            Ratio(
                "gateway CPU a ping, to a single ping's",
                pair.ratio,
                _CPU_BAR,
                at_most=True,
                spread=(min(one.ratio for one in pairs), max(one.ratio for one in pairs)),
            ),
            Ratio(
                "one long request: memory at the end, to 20 %",
                memory[1] / memory[0],
                _MEMORY_BAR,
                at_most=True,
            ),
            *compared.ratios,
        ),
        notes=tuple(note for note in notes if note),
    )


def _round(
    bench: Bench, stands: tuple[BenchEnvironment, BenchEnvironment], load: Child, pings: int, number: int
) -> _Round:
    """Measure a gateway with one worker, gorush, and a gateway with a worker for each core."""
    one, all_cores = stands
    window, done = _requests(bench, one, load, pings, f"requests{number}")
    gorush = bench.peers.anew(_GORUSH) if bench.peers else None
    workers, _ = _requests(bench, all_cores, load, pings, f"all_cores{number}")
    return _Round(window, done, workers, gorush)


def _requests(
    bench: Bench, stand: BenchEnvironment, load: Child, pings: int, run: str
) -> tuple[Window, BulkLoadResult]:
    """Send the pings in requests of many lines.

    Raises:
        CannotMeasure: the provider received another number of pushes.
    """
    bench.progress.begin(f"{pings:,} pings, {LINES:,} a request")
    with stand.window(**{_PART: load.pid}) as window:
        done = _load(load, _order(stand, run, pings, CONNECTIONS, LINES), bench)
    require_delivered(window.delivered, pings)
    return window, done


def _pair(bench: Bench, pings: int, number: int) -> _Pair:
    """Start two gateways, warm them up, and measure them at the same time.

    Raises:
        CannotMeasure: a provider received another number of pushes.
    """
    bench.progress.begin("warming up two gateways")
    with (
        bench.stand(USERS) as one,
        bench.stand(USERS) as many,
        Child(_PART, many.folder) as load,
        ThreadPoolExecutor(1) as threads,
    ):
        one.warm()
        many.warm()
        single = threads.submit(_single, one, pings)
        lines, _ = _requests(bench, many, load, pings, f"beside{number}")
        return _Pair(single.result(), lines)


def _single(stand: BenchEnvironment, pings: int) -> Window:
    with stand.window() as window:
        stand.load(pings, on_progress=lambda *_: None)  # that of the other gateway is shown
    require_delivered(window.delivered, pings)
    return window


def _order(stand: BenchEnvironment, run: str, pings: int, connections: int, lines: int) -> BulkOrder:
    return BulkOrder(stand.gateway.port, CALLER_KEY, run, pings, stand.plan.users, connections, lines)


def _load(load: Child, order: BulkOrder, bench: Bench) -> BulkLoadResult:
    done = load.request(order, BulkLoadResult, bench.progress.on_progress)
    if (done.accepted, done.refused) != (order.pings, 0):
        raise CannotMeasure(f"{done.accepted} of {order.pings} lines were accepted, {done.refused} refused")
    return done


def _stream(
    bench: Bench, stand: BenchEnvironment, load: Child, pings: int
) -> tuple[BulkLoadResult, tuple[int, int]]:
    """One request with so many pings; its result, and the gateway's memory at a fifth of it and at its end."""
    bench.progress.begin(f"{pings:,} pings in one request")
    samples: list[tuple[float, int]] = []

    def sample(share: float) -> None:
        bench.progress.on_progress(share)
        samples.append((share, pss_bytes(stand.gateway.pids)))

    with stand.all_delivered(pings):
        done = load.request(_order(stand, "stream", pings, 1, 0), BulkLoadResult, sample)
        sample(1.0)
    if done.accepted != pings:
        raise CannotMeasure(f"{done.accepted} of {pings} lines were accepted, {done.refused} refused")
    fifth = next(memory for share, memory in samples if share >= 0.2)
    return done, (fifth, samples[-1][1])


def _compared(rounds: Sequence[_Round], missing: Sequence[str], pings: int) -> Comparison:
    """Compare with gorush, with one worker and with a worker for each core."""
    measured = [(one, one.gorush.pushes) for one in rounds if one.gorush is not None]
    if not measured:
        return Comparison(notes=tuple(missing))
    name = measured[0][1].name

    def ratio(
        text: str,
        of_round: Callable[[_Round, PeerMeasurement], float],
        bar: float | None = None,
        *,
        at_most: bool = False,
    ) -> Ratio:
        values = [of_round(one, gorush) for one, gorush in measured]
        return Ratio(f"{text} of {name}", median(values), bar, at_most, spread=(min(values), max(values)))

    return Comparison(
        figures=(
            Figure(f"{name}: pushes", median(gorush.rate for _, gorush in measured), "pushes/s"),
            Figure(f"{name}: CPU a push", median(gorush.cpu_us for _, gorush in measured), "µs"),
        ),
        ratios=(
            ratio(
                "pushes/s of one worker, to those",
                lambda one, gorush: pings / one.one.seconds / gorush.rate,
            ),
            ratio(
                "pushes/s of a worker for each core, to those",
                lambda one, gorush: pings / one.all_cores.seconds / gorush.rate,
                _RATE_BAR_GORUSH,
            ),
            ratio(
                "gateway CPU a ping, to that",
                lambda one, gorush: one.one.cpu_us("gateway", pings) / gorush.cpu_us,
                _CPU_BAR_GORUSH,
                at_most=True,
            ),
        ),
    )
