"""One ping to many users: from the POST to the last recorded verdict.

On: everything, as `rhopush serve` is shipped. One request names 100,000 users (a million with --full), each with one
Apple device of its own. No worker has any of them in its cache; their snapshots exist, one key a user beside
RhoConnect's ten a device, as they do some time after each start (making them is a figure of its own). The broadcast
is split into durable chunks. The peer, h2load, sends as many distinct requests over one connection to the same
simulator, without users, durability or verdicts.
"""

from typing import Final

from gateway.bench.bench import Bench, proves
from gateway.bench.errors import CannotMeasure
from gateway.bench.peers import Peers
from gateway.bench.result import Comparison, Figure, Line, Plot, Ratio, Result
from gateway.bench.scenarios.endtoend import figures
from gateway.bench.testbed import PARTS
from gateway.bench.wire import broadcast

USERS: Final = 100_000
USERS_FULL: Final = 1_000_000


def run(bench: Bench) -> Result:
    """Measure, beside h2load."""
    with bench.stand(USERS_FULL if bench.options.full else USERS) as stand:
        users = stand.plan.users
        request = broadcast(users)
        stand.load(100)  # opens the connection to the provider
        stand.store.emptied()
        bench.progress.begin(f"fanout to {users:,} users")
        with stand.window() as window:
            answered_s = stand.post(request)
            stand.store.emptied()
        if window.delivered != users:
            raise CannotMeasure(f"{window.delivered} pushes came to the provider; {users} were asked for")
    compared = _compared(bench.peers, users, window.seconds) if bench.peers else Comparison()
    notes = (window.limit_note(),)
    memory = window.memory.samples
    return Result(
        scenario="fanout",
        proves=proves(__doc__),
        figures=(
            Figure("time to the answer", answered_s, "s"),
            Figure("time to the last verdict", window.seconds, "s"),
            *compared.figures,
            Figure("making a snapshot: gateway CPU a user", stand.refill.gateway_s / users * 1e6, "µs"),
            Figure("making a snapshot: Redis CPU a user", stand.refill.redis_s / users * 1e6, "µs"),
            *figures(window, users),
        ),
        ratios=(
            *compared.ratios,
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


def _compared(peers: Peers, users: int, seconds: float) -> Comparison:
    peer = peers.h2load(users)
    return Comparison(
        figures=(Figure("h2load's time for as many requests", peer.seconds, "s"),),
        ratios=(Ratio("time, to h2load's for as many requests", seconds / peer.seconds, 1.7, at_most=True),),
    )
