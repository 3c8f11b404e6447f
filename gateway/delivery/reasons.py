"""Reasons as values of the metric label `reason`: those in the tables, and `other` for all others.

A provider may answer with a reason that Apple's or Google's documentation does not list, or with none at all and
any status. Each new label value is a permanent time series in Prometheus, so a provider must not be able to create
them. The full text is in the ping's receipt and in the log.
"""

from typing import Final

from gateway.delivery.retry import EXPIRED, GAVE_UP, LANE_FULL
from protocols.errors import RhoPushError
from protocols.provider_response import STATUS_REASONS

OTHER: Final = "other"

OWN: Final = frozenset(
    {
        "",  # accepted
        EXPIRED,
        GAVE_UP,
        LANE_FULL,
        "connection_lost",  # there was no response: `http2_lane`, `rhoconnect_push_remote`
        "deadline",
        "refused",  # the provider did not process it: `http2_lane`
        "device_gone",  # `fanout.planner`
        "no_credential",  # `delivery.providers.base`
        "platform_not_served",
    }
)
"""Reasons that the gateway itself gives, in addition to the labels of the error tree."""

_OF_ALL: Final = OWN | frozenset(STATUS_REASONS)
_NONE: Final[frozenset[str]] = frozenset()
_GAVE_UP_PREFIX: Final = GAVE_UP + ":"


def _labels_of(kind: type[RhoPushError]) -> frozenset[str]:
    return frozenset({kind.label}).union(*(_labels_of(below) for below in kind.__subclasses__()))


def reason_label(reason: str, provider_reasons: frozenset[str] = _NONE) -> str:
    """The metric label of a reason.

    `gave_up:REASON` is kept if its reason is known, and becomes `gave_up` if it is not.

    Args:
        reason: the reason of a verdict.
        provider_reasons: the reasons in the provider's table (`Provider.reasons`).
    """
    if reason in _OF_ALL or reason in provider_reasons:
        return reason
    if reason.startswith(_GAVE_UP_PREFIX):
        known = reason_label(reason.removeprefix(_GAVE_UP_PREFIX), provider_reasons) != OTHER
        return reason if known else GAVE_UP
    return reason if reason in _labels_of(RhoPushError) else OTHER
