"""Words that earlier versions stored in Redis under another name, and that are still read.

Receipts, queued pings, counts of parked deliveries and the memory of accepted push tokens outlive an upgrade, and
gateways of both versions share them while an upgrade is rolled out. So a stored word of an earlier version keeps its
meaning. Nothing of this version is written with a former word, but for digests, which cannot be translated.
"""

from typing import Final

from protocols.devices import RHOCONNECT_PUSH
from protocols.ping.model import CHANGE_EVENTS, HTTP

_RHOCONNECT_PUSH: Final = "rps"
_PROVIDERS: Final = {_RHOCONNECT_PUSH: RHOCONNECT_PUSH}
"""Providers in receipts and in saved verdicts."""
INGRESSES: Final = {"rest": HTTP, "event": CHANGE_EVENTS}
"""`Ping.ingress` of queued pings: the former word and the present one."""


def present_provider(word: str) -> str:
    """The name of a provider that a receipt names, in this version's words."""
    return _PROVIDERS.get(word, word)


def former_lane_name(name: str) -> str:
    """The name that earlier versions gave to a lane; its own where that never changed.

    Counts of parked deliveries are kept by the lane's name, and digests of it say what the push service answered about
    device tokens.
    """
    if name.partition(":")[0] != RHOCONNECT_PUSH:
        return name
    return _RHOCONNECT_PUSH + name.removeprefix(RHOCONNECT_PUSH)
