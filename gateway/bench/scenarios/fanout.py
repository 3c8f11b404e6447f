"""One ping to many users: from the POST to the last recorded verdict.

On: everything, as `rhopush serve` is shipped. One request names 100,000 users (a million with --full), each with one
Apple device of its own. No worker has any of them in its cache; their snapshots exist, one key a user beside
RhoConnect's ten a device, as they do some time after each start (making them is a figure of its own). The broadcast
is split into durable chunks. A gateway of its own gets the same ping to all users (`to.all_users`), of whom the request
names none. Each of the two gateways then gets both kinds of ping in turn, and the cost of all users stands beside that
of the list: CPU as the median of all rounds, peak memory as that of the first ping of a gateway. The peer, h2load,
sends as many distinct requests over one connection to the same simulator, without users, durability or verdicts.
"""

from collections.abc import Callable, Sequence
from statistics import median
from typing import Final, NamedTuple

from gateway.bench.bench import Bench, proves
from gateway.bench.peers import Peers
from gateway.bench.result import Comparison, Figure, Line, Plot, Ratio, Result
from gateway.bench.scenarios.endtoend import figures
from gateway.bench.testbed import PARTS, BenchEnvironment, Refilled, Window, require_delivered
from gateway.bench.wire import broadcast, everybody

USERS: Final = 100_000
USERS_FULL: Final = 1_000_000
ROUNDS: Final = 3
"""Broadcasts of each kind that one gateway gets."""
FLAT: Final = 1.05
"""Highest cost of all users, to that of a list."""


class Kind(NamedTuple):
    """A kind of broadcast: its name, and the request that has this number of recipients."""

    name: str
    request_of: Callable[[int], bytes]


LIST: Final = Kind("a list of", broadcast)
EVERYBODY: Final = Kind("all", lambda _: everybody())


class Measured(NamedTuple):
    """One broadcast: the time to its answer, and the window until its last verdict."""

    answered_s: float
    window: Window


class Measurements(NamedTuple):
    """The broadcasts of one gateway.

    Attributes:
        users: registered users.
        refill: the cost of the snapshots that were made before.
        rounds: the broadcasts of each kind; the very first one is the first of the kind that was named first.
    """

    users: int
    refill: Refilled
    rounds: dict[Kind, list[Measured]]


def run(bench: Bench) -> Result:
    """Measure a list and all users, beside h2load."""
    of_list, of_all = _measurements(bench, LIST, EVERYBODY), _measurements(bench, EVERYBODY, LIST)
    users, refill = of_list.users, of_list.refill
    named, every = of_list.rounds[LIST][0], of_all.rounds[EVERYBODY][0]
    window = named.window
    compared = _compared(bench.peers, users, window.seconds) if bench.peers else Comparison()
    cpu = {kind: _cpu_us((of_list, of_all), kind) for kind in (LIST, EVERYBODY)}
    notes = (window.limit_note(), f"{users:,} users; CPU a push of both kinds: the median of {2 * ROUNDS}")
    memory = window.memory.samples
    return Result(
        scenario="fanout",
        proves=proves(__doc__),
        figures=(
            Figure("time to the answer", named.answered_s, "s"),
            Figure("time to the last verdict", window.seconds, "s"),
            *compared.figures,
            Figure("making a snapshot: gateway CPU a user", refill.gateway_s / users * 1e6, "µs"),
            Figure("making a snapshot: Redis CPU a user", refill.redis_s / users * 1e6, "µs"),
            *figures(window, users),
            *_figures_of_all(every, users),
            Figure("a list: gateway CPU a push", cpu[LIST], "µs"),
            Figure("all users: gateway CPU a push", cpu[EVERYBODY], "µs"),
        ),
        ratios=(
            *compared.ratios,
            *_beside_the_list(cpu[EVERYBODY] / cpu[LIST], named, every),
            Ratio("gateway memory, peak PSS", window.memory.peak_bytes / 1e6, 150.0, at_most=True, unit="MB"),
        ),
        notes=tuple(note for note in notes if note),
        plots=(
            Plot(
                "CPU a push, by part",
                "bars",
                "µs",
                (Line("CPU", tuple((part, window.cpu_us(part, users)) for part in PARTS)),),
            ),
            Plot(
                "Gateway memory during the broadcast (PSS)",
                "lines",
                "MB",
                (Line("PSS", tuple((index / 10, value / 1e6) for index, value in enumerate(memory))),),
                x_name="s",
            ),
        ),
    )


def _figures_of_all(every: Measured, users: int) -> tuple[Figure, ...]:
    window = every.window
    return (
        Figure("all users: time to the answer", every.answered_s, "s"),
        Figure("all users: time to the last verdict", window.seconds, "s"),
        Figure("all users: Redis CPU a push", window.cpu_us("redis", users), "µs"),
        Figure("all users: gateway memory, peak PSS", window.memory.peak_bytes / 1e6, "MB"),
    )


def _measurements(bench: Bench, first: Kind, second: Kind) -> Measurements:
    """Send broadcasts of both kinds in turn to a gateway of its own.

    Raises:
        CannotMeasure: the provider received another number of pushes than there are users.
    """
    with bench.stand(USERS_FULL if bench.options.full else USERS) as stand:
        users = stand.plan.users
        stand.load(100)  # opens the connection to the provider
        stand.store.emptied()
        rounds: dict[Kind, list[Measured]] = {first: [], second: []}
        for number in range(ROUNDS):
            for kind, found in rounds.items():
                bench.progress.begin(f"fanout to {kind.name} {users:,} users, {number + 1} of {ROUNDS}")
                found.append(_measured(stand, kind.request_of(users)))
        return Measurements(users, stand.refill, rounds)


def _measured(stand: BenchEnvironment, request: bytes) -> Measured:
    users = stand.plan.users
    with stand.window() as window:
        answered_s = stand.post(request)
        stand.store.emptied()
    require_delivered(window.delivered, users)
    return Measured(answered_s, window)


def _cpu_us(gateways: Sequence[Measurements], kind: Kind) -> float:
    """The median of the gateway's CPU a push over all broadcasts of a kind, in microseconds."""
    return median(
        one.window.cpu_us("gateway", gateway.users) for gateway in gateways for one in gateway.rounds[kind]
    )


def _beside_the_list(cpu: float, named: Measured, every: Measured) -> tuple[Ratio, ...]:
    """The cost of a broadcast to all users, to that of one with a list of the same users."""
    memory = every.window.memory.peak_bytes / named.window.memory.peak_bytes
    return (
        Ratio("all users: gateway CPU a push, to that of the list", cpu, FLAT, at_most=True),
        Ratio("all users: peak memory, to that of the list", memory, FLAT, at_most=True),
    )


def _compared(peers: Peers, users: int, seconds: float) -> Comparison:
    peer = peers.h2load(users)
    return Comparison(
        figures=(Figure("h2load's time for as many requests", peer.seconds, "s"),),
        ratios=(Ratio("time, to h2load's for as many requests", seconds / peer.seconds, 1.7, at_most=True),),
    )
