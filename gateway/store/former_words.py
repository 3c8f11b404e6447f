"""Names that earlier versions stored in Redis and that this version still reads.

Receipts, queued pings, counts of parked deliveries and the record of accepted push tokens outlive an upgrade, and
gateways of both versions share them during a rolling upgrade. So a stored word of an earlier version keeps its
meaning. This version writes no former word, except in digests, which cannot be translated.
"""

from typing import Final

from protocols.devices import RHOCONNECT_PUSH
from protocols.ping.model import CHANGE_EVENTS, HTTP

_RHOCONNECT_PUSH: Final = "rps"
_PROVIDERS: Final = {_RHOCONNECT_PUSH: RHOCONNECT_PUSH}
"""Former providers in receipts and in saved verdicts, with their present names."""
INGRESSES: Final = {"rest": HTTP, "event": CHANGE_EVENTS}
"""`Ping.ingress` of queued pings: the former name and the present one."""


def present_provider(word: str) -> str:
    """The present name of a provider that a receipt names."""
    return _PROVIDERS.get(word, word)


def former_lane_name(name: str) -> str:
    """The name that earlier versions gave to a lane; its present name if that never changed.

    Counts of parked deliveries are stored by this name, and digests of it identify the push service's answers about
    push tokens.
    """
    if name.partition(":")[0] != RHOCONNECT_PUSH:
        return name
    return _RHOCONNECT_PUSH + name.removeprefix(RHOCONNECT_PUSH)
