"""Good pings while callers without credentials attack, and callers with few rights exceed them.

On: everything, as `rhopush serve` is shipped, with four settings: `http.trusted_proxies` names 127.0.0.1, so that
attackers have addresses; `limits.connections` is 1,000, so that a flood of connections reaches the limit; the
RhoConnect Push port is any free one; `push_server` names an app whose password can be guessed at. Pings with a valid
token are due at 100 a second whatever the state of the responses, over four connections that are opened again every
quarter of a second; each latency counts from the time at which the ping was due until the response. Pings are sent
first alone (idle), then during each attack, which is repeated until three seconds have passed; `--full` makes that
fifteen. A good ping that is not answered with 200 ends the run. Attacker, load generator, Redis and provider share
the cores with the gateway, so that part of the difference is the attacker's own work. Memory is the peak of the
largest worker's resident set during the attack (VmHWM), shared pages in full.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple

from gateway.bench.attacks import ATTACKS
from gateway.bench.attacks.attack import AttackTarget
from gateway.bench.bench import Bench, proves
from gateway.bench.child import Child, Progress
from gateway.bench.errors import CannotMeasure
from gateway.bench.latencies import Latencies
from gateway.bench.result import Figure, Line, Plot, Ratio, Result
from gateway.bench.roles.attacker import AttackOrder, AttackResult
from gateway.bench.testbed import BenchEnvironment
from gateway.bench.usage import peak_rss_bytes, restart_peak
from gateway.bench.wire import CALLER_KEY

USERS: Final = 1_000
PINGS: Final = 500
"""Pings of the idle run."""
CONNECTIONS: Final = 4
CEILING: Final = 1_000
MEMORY_MB: Final = 400
ENVIRON: Final = {
    "RHOPUSH_HTTP_TRUSTED_PROXIES": '["127.0.0.1"]',
    "RHOPUSH_LIMITS_CONNECTIONS": str(CEILING),
    "RHOPUSH_RHOCONNECT_PUSH_PORT": "0",
    "RHOPUSH_PUSH_SERVER": "http://app:secret@127.0.0.1:8675/",
}
_RATE: Final = 100.0
_ROUND: Final = 25
_SECONDS: Final = 3.0
_SECONDS_FULL: Final = 15.0
_HEALTH_S: Final = 30.0


class Attacked(NamedTuple):
    """The measurement of one attack.

    Attributes:
        result: the attacker's observations.
        latencies_us: latencies of the good pings meanwhile, all answered with 200.
        peak_bytes: the peak of the largest worker's resident memory.
        faults: faults of the gateway: those that the attacker observed, and processes that ended.
    """

    result: AttackResult
    latencies_us: list[int]
    peak_bytes: int
    faults: Sequence[str]


def run(bench: Bench) -> Result:
    """Measure idle, then during each attack."""
    seconds = _SECONDS_FULL if bench.options.full else _SECONDS
    with bench.stand(USERS, environ=ENVIRON) as stand, Child("attacker", stand.folder) as attacker:
        bench.progress.begin("good pings alone")
        idle_us = idle(stand, bench.pings(PINGS), bench.progress.on_progress)
        attacked = {name: _attacked(bench, stand, attacker, name, seconds) for name in ATTACKS}
    alone = Latencies(idle_us)
    during = {name: Latencies(one.latencies_us) for name, one in attacked.items()}
    peak_mb = max(one.peak_bytes for one in attacked.values()) / 1e6
    return Result(
        scenario="attacks",
        proves=proves(__doc__),
        figures=(
            *_figures("idle", alone),
            *(figure for name in attacked for figure in _figures(name, during[name], attacked[name])),
        ),
        ratios=(Ratio("peak memory of a worker", peak_mb, MEMORY_MB, at_most=True, unit="MB"),),
        notes=tuple(f"{name}: {fault}" for name, one in attacked.items() for fault in one.faults),
        plots=(
            Plot(
                "good pings, p99",
                "bars",
                "ms",
                (
                    Line(
                        "p99", (("idle", alone.ms(99)), *((name, one.ms(99)) for name, one in during.items()))
                    ),
                ),
            ),
        ),
    )


def _attacked(bench: Bench, stand: BenchEnvironment, attacker: Child, name: str, seconds: float) -> Attacked:
    bench.progress.begin(name)
    try:
        return under_attack(stand, attacker, name, seconds)
    except CannotMeasure as error:
        raise CannotMeasure(f"{name}: {error.message}") from error


def _figures(name: str, times: Latencies, attacked: Attacked | None = None) -> Iterator[Figure]:
    for percentile in (50.0, 99.0):
        yield Figure(f"{name}, p{percentile:g}", times.ms(percentile), "ms")
    if attacked is not None:
        yield Figure(f"{name}, peak memory", attacked.peak_bytes / 1e6, "MB")


def idle(stand: BenchEnvironment, pings: int, on_progress: Progress | None = None) -> list[int]:
    """Send good pings alone, after some to warm up; return the latency of each in microseconds.

    Raises:
        CannotMeasure: not all were answered with 200.
    """
    stand.load(_ROUND, rate=_RATE, connections=CONNECTIONS)
    return stand.load(pings, rate=_RATE, connections=CONNECTIONS, on_progress=on_progress).latencies_us


def under_attack(stand: BenchEnvironment, attacker: Child, name: str, seconds: float = 0.0) -> Attacked:
    """Send good pings while the attacker runs one attack of the table.

    Args:
        stand: a stand whose gateway has the settings `ENVIRON`.
        attacker: the process that runs the attack.
        name: name of the attack.
        seconds: the attack is repeated for this time.

    Raises:
        CannotMeasure: a good ping was not answered with 200, or the gateway or the attacker ended.
    """
    pids = stand.gateway.pids
    for pid in pids:
        restart_peak(pid)
    target = AttackTarget(stand.gateway.port, stand.gateway.push_port, CALLER_KEY, CEILING)
    latencies: list[int] = []
    with _attacking(attacker, AttackOrder(name, target, seconds)) as attack:
        while True:
            over = not attack.is_alive()
            latencies += _round(stand, len(latencies))
            _must_be_healthy(stand)
            if over:
                break
    ended = [f"process {pid} of the gateway ended" for pid in pids if pid not in stand.gateway.pids]
    peak = max(map(peak_rss_bytes, pids[1:]))
    return Attacked(attack.result, latencies, peak, [*attack.result.faults, *ended])


def _round(stand: BenchEnvironment, first: int) -> list[int]:
    # A connection that has not carried a ping yet may be closed to make room: its client connects again.
    done = stand.load(_ROUND, rate=_RATE, first=first, connections=CONNECTIONS, reconnect=True)
    return done.latencies_us


def _must_be_healthy(stand: BenchEnvironment) -> None:
    status, _ = stand.gateway.get("/healthz", _HEALTH_S)
    if status != 200:
        raise CannotMeasure(f"/healthz was answered with {status}")


class _Attack(threading.Thread):
    """Waits for the attacker's result."""

    def __init__(self, attacker: Child, order: AttackOrder) -> None:
        super().__init__(daemon=True)
        self._attacker = attacker
        self._order = order
        self._error: CannotMeasure | None = None
        self._result: AttackResult | None = None

    def run(self) -> None:
        """Run the thread."""
        try:
            self._result = self._attacker.request(self._order, AttackResult)
        except CannotMeasure as error:
            self._error = error

    @property
    def result(self) -> AttackResult:
        """The attacker's observations, once the attack is over.

        Raises:
            CannotMeasure: the attacker ended.
        """
        if self._result is None:
            raise self._error or CannotMeasure("the attack is not over")
        return self._result


@contextmanager
def _attacking(attacker: Child, order: AttackOrder) -> Iterator[_Attack]:
    attack = _Attack(attacker, order)
    attack.start()
    try:
        yield attack
    finally:
        attack.join()
