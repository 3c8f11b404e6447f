"""Reasons as values of the metric label `reason`: those that a table holds, and `other` for every other one.

A provider may answer with a reason that Apple's or Google's documentation does not name, or with none at all and any
status. Each new label value is a new time series in Prometheus for ever, so a provider must not be able to make
them. The full text stands in the ping's receipt and in the log.
"""

from typing import Final

from gateway.delivery.retry import EXPIRED, GAVE_UP, LANE_FULL
from protocols.apns.verdicts import REASONS as APNS_REASONS
from protocols.errors import RhoPushError
from protocols.fcm.verdicts import REASONS as FCM_REASONS
from protocols.fcm.verdicts import RPC_CODES
from protocols.provider_response import STATUS_REASONS
from protocols.rhoconnect_push.verdicts import STATUSES as RHOCONNECT_PUSH_STATUSES

OTHER: Final = "other"

OWN: Final = frozenset(
    {
        "",  # accepted
        EXPIRED,
        GAVE_UP,
        LANE_FULL,
        "connection_lost",  # no answer came: `lane`, `rps_client`
        "deadline",
        "refused",  # the provider did not process it: `lane`
        "device_gone",  # `fanout.planner`
        "no_credential",  # `lanes`
        "platform_not_served",
    }
)
"""Reasons that the gateway itself gives, beside the labels of the error tree."""

_PROVIDERS: Final = frozenset(
    {
        *(reason for _, reason in APNS_REASONS),
        *FCM_REASONS,
        *RPC_CODES,
        *(verdict.reason for verdict in RHOCONNECT_PUSH_STATUSES.values()),
        *STATUS_REASONS,
    }
)
_GAVE_UP_PREFIX: Final = GAVE_UP + ":"


def _labels_of(kind: type[RhoPushError]) -> frozenset[str]:
    return frozenset({kind.label}).union(*(_labels_of(below) for below in kind.__subclasses__()))


def reason_label(reason: str) -> str:
    """The metric label of a reason.

    `gave_up:REASON` stays whole where its reason is known, and is `gave_up` where it is not.
    """
    if reason in OWN or reason in _PROVIDERS:
        return reason
    if reason.startswith(_GAVE_UP_PREFIX):
        return reason if reason_label(reason.removeprefix(_GAVE_UP_PREFIX)) != OTHER else GAVE_UP
    return reason if reason in _labels_of(RhoPushError) else OTHER
