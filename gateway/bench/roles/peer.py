"""Orders and results of the peers of delivery that are libraries."""

import msgspec

from gateway.bench.roles.provider import ProviderFacts


class AioapnsOrder(msgspec.Struct):
    """An order to aioapns: the number of connections and of requests in flight, and the duration."""

    facts: ProviderFacts
    connections: int
    in_flight: int
    seconds: float


class Apns2Order(msgspec.Struct):
    """An order to sideshow/apns2: goroutines with one client, each with one push in flight, and the duration."""

    facts: ProviderFacts
    in_flight: int
    seconds: float


class GorushOrder(msgspec.Struct):
    """An order to gorush's server: the size of its queue in memory, and its workers with one notification each."""

    facts: ProviderFacts
    queue_size: int
    in_flight: int


class PyfcmOrder(msgspec.Struct):
    """An order to pyfcm: one message at a time over TLS (`batch` 1), or `batch` by its asynchronous call."""

    facts: ProviderFacts
    batch: int
    seconds: float


class PeerResult(msgspec.Struct):
    """The result of a peer: requests accepted, wall clock and CPU of its process, in seconds."""

    accepted: int
    seconds: float
    cpu_s: float
