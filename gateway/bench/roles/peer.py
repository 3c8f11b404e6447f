"""The peers of delivery that are Python libraries: aioapns and pyfcm, used as their documentation says.

Both are imported when they are first ordered, so that one may be absent.
"""

import logging

import msgspec
import uvloop

from gateway.bench.roles import orders, result
from gateway.bench.roles.provider import ProviderFacts


class AioapnsOrder(msgspec.Struct, tag="aioapns"):
    """aioapns: so many connections and requests in flight, for so long."""

    facts: ProviderFacts
    connections: int
    in_flight: int
    seconds: float


class PyfcmOrder(msgspec.Struct, tag="pyfcm"):
    """pyfcm: messages one by one over TLS (`batch` 1), or so many at once through its asynchronous call."""

    facts: ProviderFacts
    batch: int
    seconds: float


class PeerResult(msgspec.Struct):
    """What a peer did: requests accepted, wall clock and CPU of its process, in seconds."""

    accepted: int
    seconds: float
    cpu_s: float


def _measure(order: AioapnsOrder | PyfcmOrder) -> PeerResult:
    if isinstance(order, AioapnsOrder):
        from gateway.bench.roles.aioapns_peer import run_aioapns

        return uvloop.run(run_aioapns(order))
    from gateway.bench.roles.pyfcm_peer import run_pyfcm

    return run_pyfcm(order)


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    for each in orders(AioapnsOrder | PyfcmOrder):
        result(_measure(each))
