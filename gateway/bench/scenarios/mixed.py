"""Small pings while broadcasts run: whether one caller's million devices delay another caller's single one.

On: everything, as `rhopush serve` is shipped. Small pings are due at a fixed rate, 200 a second, whatever the state
of the responses, each for a user picked at random; its caller waits for the verdict (`wait`), and its latency counts
from the time at which it was due to the response that the verdict is recorded. Pings are sent first alone (idle),
then while one broadcast after the other to 100,000 users is read, split and delivered, the next one posted when the
last one has been delivered. All processes share the same cores, so the result includes the gateway's and the
machine's scheduling together. The lower bound is one Redis round trip of a blocking client (median) and one response
of the simulator to h2load (mean), neither of which includes durability, TLS records of others or receipts. Both are
measured at the rate of the small pings, since a process that sleeps between two of them has to be woken first;
back-to-back values are reported beside them. CPU and traffic a push include all work of the gateway and of Redis during
the period, divided by all pushes. Idle, each ping is appended and recorded alone, while at full load hundreds share a
step.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from gateway.bench.bench import Bench, proves
from gateway.bench.errors import CannotMeasure
from gateway.bench.latencies import Latencies
from gateway.bench.peers import Peers
from gateway.bench.result import Comparison, Figure, Plot, Ratio, Result
from gateway.bench.testbed import BenchEnvironment, Probe, require_delivered
from gateway.bench.wire import broadcast

USERS: Final = 100_000
PINGS: Final = 2_000
RATE: Final = 200.0
WARM_UP: Final = 500
"""Pings before the measurement: connections are open then, and all code has run once."""
_POLL_S: Final = 0.02


def run(bench: Bench) -> Result:
    """Measure idle, then under broadcasts."""
    probe = Probe(bench.pings(PINGS), RATE)
    with bench.stand(USERS) as stand:
        round_trip_s, paced_s = stand.store.round_trip_s(), stand.store.round_trip_s(1 / RATE)
        _idle(bench, stand, Probe(WARM_UP, RATE))
        before = stand.store.counters()
        idle = _idle(bench, stand, probe)
        used_idle = stand.store.counters().since(before)
        bench.progress.begin("small pings during broadcasts")
        with (
            stand.window() as window,
            _broadcasts(stand) as broadcasts,
            stand.probing(probe, bench.progress.on_progress) as times,
        ):
            pass
    wanted = probe.pings + broadcasts.posted
    if not broadcasts.delivered:
        raise CannotMeasure("no broadcast was under way")
    require_delivered(window.delivered, wanted)
    busy = Latencies(times)
    compared = _compared(bench.peers, idle, round_trip_s, paced_s) if bench.peers else Comparison()
    return Result(
        scenario="mixed",
        proves=proves(__doc__),
        figures=(
            *_figures("idle", idle),
            *_figures("during broadcasts", busy),
            Figure("broadcast pushes meanwhile", broadcasts.delivered, "pushes"),
            Figure("idle: Redis CPU a ping", used_idle.cpu_s / probe.pings * 1e6, "µs"),
            Figure("idle: Redis traffic a ping", used_idle.network_bytes / probe.pings, "bytes"),
            Figure("during broadcasts: gateway CPU a push", window.cpu_us("gateway", wanted), "µs"),
            Figure("during broadcasts: Redis CPU a push", window.cpu_us("redis", wanted), "µs"),
            Figure("during broadcasts: Redis traffic a push", window.redis.network_bytes / wanted, "bytes"),
            Figure("Redis round trip at the same pace, median", paced_s * 1000, "ms"),
            Figure("Redis round trip back to back, median", round_trip_s * 1000, "ms"),
            *compared.figures,
        ),
        ratios=(
            Ratio("p99 during broadcasts, to idle", busy.ms(99) / idle.ms(99), 3.0, at_most=True),
            *compared.ratios,
        ),
        plots=(
            Plot(
                "POST to recorded verdict, by percentile",
                "lines",
                "ms",
                (idle.curve("idle"), busy.curve("during broadcasts")),
                x_name="one in so many takes longer",
                log_x=True,
            ),
        ),
    )


def _compared(peers: Peers, idle: Latencies, round_trip_s: float, paced_s: float) -> Comparison:
    """Compare the latencies of an idle gateway with Redis' round trip and the simulator's response to h2load."""
    answer_s, paced_answer_s = peers.provider_answer_s, peers.provider_answer_at_s(RATE)
    floor_ms, paced_ms = (round_trip_s + answer_s) * 1000, (paced_s + paced_answer_s) * 1000
    return Comparison(
        figures=(
            Figure("provider's answer at the same pace, mean", paced_answer_s * 1000, "ms"),
            Figure("provider's answer back to back, mean", answer_s * 1000, "ms"),
        ),
        ratios=(
            Ratio("idle p99, to Redis and provider at its pace", idle.ms(99) / paced_ms, 5.0, at_most=True),
            Ratio("idle p99, to Redis and provider back to back", idle.ms(99) / floor_ms),
        ),
    )


def _idle(bench: Bench, stand: BenchEnvironment, probe: Probe) -> Latencies:
    bench.progress.begin("small pings alone")
    with stand.all_delivered(probe.pings), stand.probing(probe, bench.progress.on_progress) as times:
        pass
    return Latencies(times)


def _figures(name: str, latencies: Latencies) -> Iterator[Figure]:
    for percentile in (50.0, 99.0, 99.9):
        yield Figure(f"{name}, p{percentile:g}", latencies.ms(percentile), "ms")


class _Broadcasts(threading.Thread):
    """Posts one broadcast after the other until it is ended.

    Attributes:
        posted: users that broadcasts named so far.
        delivered: pushes of broadcasts so far, including a few small pings.
    """

    def __init__(self, stand: BenchEnvironment) -> None:
        super().__init__(daemon=True)
        self._stand = stand
        self._end = threading.Event()
        self._error: CannotMeasure | None = None
        self.posted = self.delivered = 0

    def run(self) -> None:
        """Run the thread."""
        begun, number = self._stand.delivered(), 0
        try:
            while not self._end.is_set():
                self._stand.post(broadcast(self._stand.plan.users, note=f"Closed on day {number}"))
                number += 1
                self.posted += self._stand.plan.users
                while self.delivered < self.posted and not self._end.wait(_POLL_S):
                    self.delivered = self._stand.delivered() - begun
        except CannotMeasure as error:
            self._error = error

    def end(self) -> None:
        """Post no more broadcasts.

        Raises:
            CannotMeasure: a broadcast was not accepted.
        """
        self._end.set()
        self.join()
        if self._error is not None:
            raise self._error


@contextmanager
def _broadcasts(stand: BenchEnvironment) -> Iterator[_Broadcasts]:
    thread = _Broadcasts(stand)
    thread.start()
    try:
        yield thread
    finally:
        thread.end()
