"""What the peers of delivery that are libraries are told, and what they give back."""

import msgspec

from gateway.bench.roles.provider import ProviderFacts


class AioapnsOrder(msgspec.Struct):
    """aioapns: so many connections and requests in flight, for so long."""

    facts: ProviderFacts
    connections: int
    in_flight: int
    seconds: float


class Apns2Order(msgspec.Struct):
    """sideshow/apns2: so many goroutines with one client, each with one push under way, for so long."""

    facts: ProviderFacts
    in_flight: int
    seconds: float


class GorushOrder(msgspec.Struct):
    """gorush's server: how much its queue in memory holds, and its workers, each with one notification under way."""

    facts: ProviderFacts
    queue_size: int
    in_flight: int


class PyfcmOrder(msgspec.Struct):
    """pyfcm: messages one by one over TLS (`batch` 1), or so many at once by its asynchronous call."""

    facts: ProviderFacts
    batch: int
    seconds: float


class PeerResult(msgspec.Struct):
    """What a peer did: requests accepted, wall clock and CPU of its process, in seconds."""

    accepted: int
    seconds: float
    cpu_s: float
