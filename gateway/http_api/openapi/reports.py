"""The operations that read pings: the receipt of one ping, and the list of pings."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, NotRequired, TypedDict

from msgspec import Meta

from gateway.http_api.openapi.values import EXAMPLE_ID, TEXT, json_answer, query, reference
from gateway.queue.ping_list import LIMIT, LIMIT_MAX
from gateway.queue.receipts import CANCELLED, DONE, OPEN, QUEUED, SCHEDULED


class DeviceOutcome(TypedDict):
    """The latest verdict of one device."""

    client_id: str
    provider: str
    verdict: Literal["accepted", "rejected", "later", "unknown", "cancelled"]
    reason: NotRequired[
        Annotated[str, Meta(description="Absent with the verdicts `accepted` and `cancelled`.")]
    ]
    synced_after_s: NotRequired[
        Annotated[
            int, Meta(description="Whole seconds from the acceptance of the ping to the device's sync.")
        ]
    ]
    acknowledged: NotRequired[Annotated[bool, Meta(description="The device acknowledged the ping.")]]


class PingReport(TypedDict):
    """The receipt of a ping."""

    ping_id: str
    state: Annotated[
        str,
        Meta(
            description="`scheduled`: the ping waits until `deliver_at`; `queued`: no verdict yet; `open`: deliveries "
            "are outstanding; `done`; `cancelled`: finished, and it was cancelled."
        ),
    ]
    counts: Annotated[dict[str, int], Meta(description="Numbers of devices by verdict.")]
    skipped: Annotated[dict[str, int], Meta(description="Numbers of omitted devices and users by reason.")]
    devices: list[DeviceOutcome]
    deliver_at: NotRequired[Annotated[str, Meta(description="With the state `scheduled` (RFC 3339).")]]
    synced: NotRequired[
        Annotated[int, Meta(description="Devices that synced within 15 minutes after a ping with sources.")]
    ]
    acknowledged: NotRequired[Annotated[int, Meta(description="Devices that acknowledged the ping.")]]
    apps: NotRequired[
        Annotated[list[str], Meta(description="The apps to which the sender's token was limited.")]
    ]
    repeated: NotRequired[
        Annotated[
            bool,
            Meta(
                description="In the answer to a ping: whether an earlier ping had the same Idempotency-Key."
            ),
        ]
    ]


class PingSummary(TypedDict):
    """One ping of a list."""

    ping_id: str
    state: str
    accepted_at: Annotated[str | None, Meta(extra_json_schema={"format": "date-time"})]
    ingress: Annotated[str | None, Meta(description="null: not stored any more.")]
    counts: Annotated[dict[str, int], Meta(description="Devices by verdict. A ping that is queued has none.")]
    deliver_at: NotRequired[
        Annotated[str, Meta(description="Of a scheduled ping.", extra_json_schema={"format": "date-time"})]
    ]
    apps: NotRequired[
        Annotated[list[str], Meta(description="The apps to which the sender's token was limited.")]
    ]


class PingPage(TypedDict):
    """One page of a list of pings."""

    pings: Annotated[list[PingSummary], Meta(max_length=LIMIT_MAX)]
    next_cursor: Annotated[str | None, Meta(description="null: there are no more pings.")]


FORMS: Final = (PingReport, PingPage)
EXAMPLE_REPORT: Final = {
    "ping_id": EXAMPLE_ID,
    "state": "done",
    "counts": {"accepted": 1, "rejected": 1, "later": 0},
    "skipped": {},
    "devices": [
        {"client_id": "c1", "provider": "apns", "verdict": "accepted"},
        {"client_id": "c2", "provider": "fcm", "verdict": "rejected", "reason": "UNREGISTERED"},
    ],
}
_EXAMPLE_PAGE: Final = {
    "pings": [
        {
            "ping_id": EXAMPLE_ID,
            "state": "done",
            "accepted_at": "2026-05-01T10:00:00.123Z",
            "ingress": None,
            "counts": {"accepted": 2, "rejected": 0, "later": 0},
        }
    ],
    "next_cursor": None,
}
REPORT_OPERATION: Final[Mapping[str, Any]] = {
    "responses": {"200": json_answer(reference("PingReport"), EXAMPLE_REPORT, "The receipt.")},
}
LIST_OPERATION: Final[Mapping[str, Any]] = {
    "parameters": [
        query(
            "state",
            {"type": "string", "enum": [SCHEDULED, QUEUED, OPEN, DONE, CANCELLED]},
            "Only pings in this state.",
        ),
        query(
            "limit",
            {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT},
            "Most pings of the response.",
        ),
        query("cursor", TEXT, "`next_cursor` of the page before."),
    ],
    "responses": {"200": json_answer(reference("PingPage"), _EXAMPLE_PAGE, "One page.")},
}
