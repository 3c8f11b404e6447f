"""The parts of an explained ping as JSON values: a recipient, a device that is left out, the totals. No I/O.

No part contains a complete push token: a token in a payload or path is shortened like the others.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import orjson

from gateway.delivery.batch import Delivery
from gateway.delivery.lane import Lane
from gateway.delivery.providers.base import NO_CREDENTIAL, NOT_SERVED
from gateway.errors import BadSetting, CredentialError, RhoPushError
from gateway.fanout.addressing import UNKNOWN_DEVICE
from gateway.fanout.device_planner import NOTHING_TO_SEND
from gateway.fanout.narrowing import APP_EXCLUDED, PROVIDER_EXCLUDED, USER_EXCLUDED
from gateway.registry.token_marks import MarkFacts
from gateway.registry.user_devices import DANGLING_CLIENT, MARKED_DEAD
from protocols.devices import REPEATED, UNREGISTERED, UNSUPPORTED_PLATFORM, Device, mask
from protocols.errors import InvalidField, InvalidToken, PayloadTooLarge
from protocols.verdict import Verdict, VerdictKind

REASONS: Final[Mapping[str, str]] = {
    UNREGISTERED: "the device is not registered for push: it has no device type or no push token",
    UNSUPPORTED_PLATFORM: "no provider serves this device type",
    REPEATED: "the ping reaches the same device or push token already",
    APP_EXCLUDED: "the ping's to.apps does not name the device's app",
    PROVIDER_EXCLUDED: "the ping's to.providers does not name the device's provider",
    USER_EXCLUDED: "the ping's to.except_users names the device's user",
    UNKNOWN_DEVICE: "no client has this id",
    MARKED_DEAD: "the provider reported the push token as dead",
    DANGLING_CLIENT: "the user's list names this client, but the client does not exist",
    NO_CREDENTIAL: "the settings have no credential of this provider for the app",
    NOT_SERVED: "the settings do not serve devices of this provider",
    CredentialError.label: "the app's credential of this provider cannot be used (`rhopush check` names the fault)",
    BadSetting.label: "a setting of this provider for the app is wrong (`rhopush check` names it)",
    NOTHING_TO_SEND: "the ping has no content that this provider can show or synchronise",
    PayloadTooLarge.label: "the payload is too large for this provider",
    InvalidToken.label: "the push token does not have the form of this provider's tokens",
    InvalidField.label: "the ping or a setting has a value that this provider does not accept",
    RhoPushError.label: "the gateway could not plan this device; its log has the event `device_planning_failed`",
}
"""Why a device is left out, in words, by reason code."""
_VERDICTS: Final[Mapping[VerdictKind, str]] = {
    VerdictKind.ACCEPTED: "accepted",
    VerdictKind.REJECTED: "rejected",
    VerdictKind.LATER: "retry_later",
    VerdictKind.UNKNOWN: "unknown",
}
NOT_AVAILABLE: Final = "not_available"
_SEGMENT_MIN: Final = 8
"""Shorter parts of a path are words of the interface and no part of a token."""


class LeftOutDevice(NamedTuple):
    """A device that a ping does not reach.

    Attributes:
        user: its owner.
        device: as registered; of a client that is gone or whose token is dead, only the id.
        reason: code, as in receipts.
        provider: "" where none is known.
        detail: text of the error; "": there is none.
        same_as: of a repeated device: the client that the ping reaches instead; "" otherwise.
    """

    user: str
    device: Device
    reason: str
    provider: str = ""
    detail: str = ""
    same_as: str = ""


def left_out_row(one: LeftOutDevice, mark: MarkFacts | None) -> dict[str, Any]:
    """Return the row of an omitted device; `mark`: the mark of its token, for the reason `dead_token`."""
    row: dict[str, Any] = {
        **_identity(one.device, one.user, one.provider),
        "reason": one.reason,
        "text": one.detail or REASONS.get(one.reason, one.reason),
    }
    if one.same_as:
        row["same_as"] = one.same_as
        row["text"] += f" through client {one.same_as}"
    if one.reason == MARKED_DEAD and mark is not None and mark.since_ms is not None:
        since = datetime.fromtimestamp(mark.since_ms / 1000, UTC).isoformat(timespec="seconds")
        row |= {"provider_reason": mark.reason, "since": since}
        row["text"] += f" ({mark.reason}) on {since}"
    return row


def recipient_row(delivery: Delivery, user: str, body: bytes) -> dict[str, Any]:
    """Return the row of a device that the ping would reach; `body`: the body of its request."""
    device, lane = delivery.device, delivery.route.lane
    row: dict[str, Any] = {
        **_identity(device, user, lane.provider.name),
        "lane": lane.name,
        "host": lane.host if isinstance(lane, Lane) else "",
        "path": _masked_path(delivery.path, device.pin),
        "headers": {
            name.decode("latin-1"): value.decode("utf-8", "replace")
            for name, value in (header[:2] for header in delivery.message.headers)
            if name != b"authorization"
        },
        "payload": _payload(body, device.pin),
        "bytes": len(body),
    }
    if isinstance(lane, Lane) and lane.error_text is not None:
        row["note"] = f"the lane cannot send now, and deliveries wait: {lane.error_text}"
    return row


def verdict_row(verdict: Verdict) -> dict[str, Any]:
    """Return the provider's verdict on a message that it only checked."""
    return {"verdict": _VERDICTS[verdict.kind], "reason": verdict.reason}


def no_validation(provider: str) -> dict[str, Any]:
    """Return the replacement for a verdict of a provider that cannot check a message without delivering it."""
    return {
        "verdict": NOT_AVAILABLE,
        "reason": f"{provider} cannot check a message without delivering it",
    }


def explanation(
    users: int,
    recipients: Sequence[dict[str, Any]],
    left_out: Sequence[dict[str, Any]],
    unknown: Sequence[str],
) -> dict[str, Any]:
    """Return the complete answer, with the totals."""
    totals = {
        "users": users,
        "unknown_users": len(unknown),
        "devices": len(recipients),
        "left_out": len(left_out),
        "bytes": sum(row["bytes"] for row in recipients),
        "by_provider": dict(Counter(row["provider"] for row in recipients)),
        "by_reason": dict(Counter(row["reason"] for row in left_out)),
    }
    return {"devices": recipients, "left_out": left_out, "unknown_users": unknown, "totals": totals}


def _identity(device: Device, user: str, provider: str) -> dict[str, Any]:
    return {
        "client_id": device.client_id,
        "user_id": user,
        "provider": provider,
        "app": device.app_id,
        "token": mask(device.pin),
    }


def _payload(body: bytes, pin: str) -> Any:
    """Return a body as JSON with the token shortened; None if it is not JSON."""
    try:
        return _without_token(orjson.loads(body), pin)
    except orjson.JSONDecodeError:
        return None


def _without_token(value: Any, pin: str) -> Any:
    if isinstance(value, dict):
        return {name: _without_token(inside, pin) for name, inside in value.items()}
    if isinstance(value, list):
        return [_without_token(inside, pin) for inside in value]
    return mask(pin) if value == pin else value


def _masked_path(path: bytes, pin: str) -> str:
    """Return a path in which each part of the token is shortened. APNs tokens may have spaces, which a path does not
    have."""
    whole = "".join(pin.split())
    segments = path.decode("latin-1").split("/")
    return "/".join(
        mask(one) if one == whole or (len(one) >= _SEGMENT_MIN and one in whole) else one for one in segments
    )
