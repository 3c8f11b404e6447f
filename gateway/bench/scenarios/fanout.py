"""One ping to many users: from the POST to the last recorded verdict.

On: everything, as `rhopush serve` is shipped. One request names 100,000 users (a million with --full), each with one
Apple device of its own. No worker has any of them in its cache; their snapshots exist, one key a user beside
RhoConnect's ten a device, as they do some time after each start (making them is a figure of its own). The broadcast
is split into durable chunks. Then a gateway of its own gets the same ping to all users (`to.all_users`), of whom
the request names none: its CPU and memory stand beside those of the list. The peer, h2load, sends as many distinct
requests over one connection to the same simulator, without users, durability or verdicts.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from gateway.bench.bench import Bench, proves
from gateway.bench.errors import CannotMeasure
from gateway.bench.peers import Peers
from gateway.bench.result import Comparison, Figure, Line, Plot, Ratio, Result
from gateway.bench.scenarios.endtoend import figures
from gateway.bench.testbed import PARTS, Refilled, Window
from gateway.bench.wire import broadcast, everybody

USERS: Final = 100_000
USERS_FULL: Final = 1_000_000
FLAT: Final = 1.05
"""Highest cost of all users, to that of a list."""


class Measured(NamedTuple):
    """One broadcast: its users, the time to its answer, the window until its last verdict, and the cost of the
    snapshots that were made before."""

    users: int
    answered_s: float
    window: Window
    refill: Refilled


def run(bench: Bench) -> Result:
    """Measure a list and all users, beside h2load."""
    named = _measured(bench, "a list of", broadcast)
    every = _measured(bench, "all", lambda _: everybody())
    users, window, refill = named.users, named.window, named.refill
    compared = _compared(bench.peers, users, window.seconds) if bench.peers else Comparison()
    notes = (window.limit_note(),)
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
            Figure("all users: time to the answer", every.answered_s, "s"),
            Figure("all users: time to the last verdict", every.window.seconds, "s"),
            Figure("all users: gateway CPU a push", every.window.cpu_us("gateway", users), "µs"),
            Figure("all users: Redis CPU a push", every.window.cpu_us("redis", users), "µs"),
            Figure("all users: gateway memory, peak PSS", every.window.memory.peak_bytes / 1e6, "MB"),
        ),
        ratios=(
            *compared.ratios,
            *_beside_the_list(named, every),
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


def _measured(bench: Bench, which: str, request_of: Callable[[int], bytes]) -> Measured:
    """Send one broadcast to a gateway of its own.

    Raises:
        CannotMeasure: the provider received another number of pushes than there are users.
    """
    with bench.stand(USERS_FULL if bench.options.full else USERS) as stand:
        users = stand.plan.users
        request = request_of(users)
        stand.load(100)  # opens the connection to the provider
        stand.store.emptied()
        bench.progress.begin(f"fanout to {which} {users:,} users")
        with stand.window() as window:
            answered_s = stand.post(request)
            stand.store.emptied()
        if window.delivered != users:
            raise CannotMeasure(f"{window.delivered} pushes came to the provider; {users} were asked for")
        return Measured(users, answered_s, window, stand.refill)


def _beside_the_list(named: Measured, every: Measured) -> tuple[Ratio, ...]:
    """The cost of a broadcast to all users, to that of one with a list of the same users."""
    users = named.users
    cpu = every.window.cpu_us("gateway", users) / named.window.cpu_us("gateway", users)
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
