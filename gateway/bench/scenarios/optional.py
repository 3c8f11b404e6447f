"""The CPU that each optional part of the gateway adds to a ping.

On: everything, as `rhopush serve` is shipped, under the single pings of `endtoend`: to a user picked at random among
10,000, over 64 keep-alive connections, with warm caches. Each part is measured in pairs, with it and without it, in
the order A B B A, so that a steady drift of the machine adds to both sides alike; its figure is the median of the
pairs' ratios, with the lowest and the highest. Parts that come from outside (live pages of the console and scrapes,
syncs, headers) are switched on and off around one running gateway, so that both sides have the same process, and no
gateway idles beside the measured one. Parts that a setting switches on need a start: each pair then has two new
gateways, so that the differences between two processes of the same program are in the spread, and not in the median
alone. The two are measured at the same time: a gateway's CPU time depends on what the other cores do, and the receiver
of events and spans runs there. 2.5 seconds after the last verdict belong to both sides, in which events and spans are
sent. The console's cost is one of time, so it is measured over four times as many pings. The syncs come at a fixed
rate beside 2,000 pings a second, so a ping costs more there, on both sides, than at full rate. The pings that are
traced have no `traceparent`, as those of RhoConnect. Load generator, provider, Redis, receiver, browsers and the
writer of the syncs are processes of their own, and no part of the gateway.
"""

from collections.abc import Iterator
from typing import Final

from gateway.bench.bench import Bench, proves
from gateway.bench.optional import RUNNING, WITH_SETTINGS
from gateway.bench.optional.part import Pairs, Part
from gateway.bench.result import Line, Plot, Result

PINGS: Final = 20_000
PINGS_FULL: Final = 60_000
PAIRS: Final = 3
PAIRS_FULL: Final = 10
USERS: Final = 10_000


def run(bench: Bench) -> Result:
    """Measure all parts."""
    notes: list[str] = []
    parts = [*_of_one_gateway(bench), *_of_many_gateways(bench, notes)]
    pings, pairs = _extent(bench)
    ratios = tuple(part.ratio for part in parts)
    return Result(
        scenario="optional",
        proves=proves(__doc__),
        figures=tuple(figure for part in parts for figure in part.figures()),
        ratios=ratios,
        notes=(
            f"{pairs} pairs of {pings:,} pings a part; spreads are those of the pairs",
            *(note for part in parts for note in part.notes),
            *notes,
        ),
        plots=(
            Plot(
                "Gateway CPU a ping with a part, to that without it",
                "bars",
                "%",
                (
                    Line(
                        "CPU",
                        tuple((part.name, part.ratio.value * 100) for part in parts),
                        tuple((low * 100, high * 100) for low, high in (part.spread for part in parts)),
                    ),
                ),
            ),
        ),
    )


def _extent(bench: Bench) -> tuple[int, int]:
    """The pings of a measurement, and the pairs of a part."""
    if bench.options.full:
        return bench.pings(PINGS_FULL), PAIRS_FULL
    return bench.pings(PINGS), PAIRS


def _of_one_gateway(bench: Bench) -> Iterator[Pairs]:
    if not RUNNING:
        return
    with bench.stand(USERS) as stand:
        stand.warm()
        for kind in RUNNING:
            yield _measured(bench, kind(bench, stand))


def _of_many_gateways(bench: Bench, notes: list[str]) -> Iterator[Pairs]:
    for kind in WITH_SETTINGS:
        if bench.options.redis is not None:
            notes.append(f"{kind.name}: not measured: its two gateways need a store each, not one --redis")
        elif (missing := kind.missing()) is not None:
            notes.append(f"{kind.name}: not measured: {missing}")
        else:
            yield _measured(bench, kind(bench))


def _measured(bench: Bench, part: Part) -> Pairs:
    pings, pairs = _extent(bench)
    with part:
        return part.measure_pairs(pairs, pings)
