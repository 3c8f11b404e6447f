"""Answers of a simulated provider, and the records of its requests."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from protocols.headers import Header
from protocols.simulation.faults import FaultAction

_TIMED: Final = re.compile("[0-9a-f]{12}7[0-9a-f]{3}[89ab][0-9a-f]{15}")
SECRET_HEADERS: Final = frozenset({"authorization"})
"""Headers that are never recorded: a provider token would allow the reader to push."""


class Summary(msgspec.Struct, frozen=True):
    """The content of a push for a person or an app, the same for every provider.

    Attributes:
        alert: the displayed text; None: nothing is displayed.
        badge: the number on the icon.
        sound: the sound's name.
        vibrate: as sent (milliseconds, as text or number).
        do_sync: names of the sources to sync.
        title: the displayed title; None: there is none.
    """

    alert: str | None = None
    badge: int | None = None
    sound: str | None = None
    vibrate: str | int | None = None
    do_sync: tuple[str, ...] = ()
    title: str | None = None


class SimulatedRecord(msgspec.Struct, frozen=True):
    """One request to a simulated provider, and the answer to it.

    A recording exists to be compared with the intended pushes, so `token` is complete in the file; `repr` and `line`
    shorten it.

    Attributes:
        at_s: when the request was complete, epoch seconds.
        provider: "apns" or "fcm".
        connection: sequence number of the connection to this simulator, from 1.
        token: the push token (for FCM also a topic or condition, as `topic:NAME`).
        topic: the APNs topic, or the FCM project.
        status: HTTP status of the answer; 0: none was sent (a fault).
        reason: the provider's reason; the fault's word if no answer was sent; "" for accepted.
        headers: the request's regular headers, without secrets.
        payload: the JSON body; None if it is not JSON.
        notes: parts that the provider would accept and the device ignore.
        summary: the content for the person or app.
        accepted_ms: when the gateway accepted the ping, epoch milliseconds; None: no id in the push has a time.
    """

    at_s: float
    provider: str
    connection: int
    token: str
    topic: str
    status: int
    reason: str
    headers: dict[str, str]
    payload: Any
    notes: tuple[str, ...] = ()
    summary: Summary = Summary()
    accepted_ms: int | None = None

    @property
    def accepted(self) -> bool:
        """Whether the device receives it."""
        return self.status == 200

    @property
    def short_token(self) -> str:
        """The first eight characters of the token."""
        return self.token if len(self.token) <= 8 else self.token[:8] + "…"

    def line(self) -> str:
        """One line for a terminal: provider, token, and the push's effect or the reason of its refusal."""
        words = [f"{self.provider:<4}", f"{self.short_token:<9}"]
        if not self.accepted:
            return " ".join([*words, f"{self.status or '-'} {self.reason}"])
        summary = self.summary
        if summary.alert is not None:
            words.append(repr(summary.alert))
        if summary.do_sync:
            words.append("sync=" + ",".join(summary.do_sync))
        words += [
            f"{name}={text_of(value)}"
            for name, value in (
                ("badge", summary.badge),
                ("sound", summary.sound),
                ("vibrate", summary.vibrate),
            )
            if value is not None
        ]
        return " ".join(words)

    def __repr__(self) -> str:
        return f"Record({self.line()})"


class SimulatedAnswer(NamedTuple):
    """The action for one request.

    Attributes:
        action: send the answer, or one of the faults that need the connection.
        status: HTTP status, if an answer is sent.
        headers: regular response headers.
        body: response body.
        argument: the fault's argument (milliseconds, error code, GOAWAY reason).
        record: the record to store; None for a request that is not a push (a token request, for example).
    """

    action: FaultAction
    status: int
    headers: Sequence[Header]
    body: bytes
    record: SimulatedRecord | None
    argument: str | None = None


def time_in_id(text: str) -> int | None:
    """The time in an id of a ping or of one of its requests, epoch milliseconds; None: it has another form.

    Both have the form of a version 7 UUID, which begins with its time (RFC 9562 §5.7).
    """
    digits = text.replace("-", "")
    return int(digits[:12], 16) if _TIMED.fullmatch(digits) else None


def readable(headers: Mapping[str, str]) -> dict[str, str]:
    """Regular headers without pseudo-headers and secrets."""
    return {name: value for name, value in headers.items() if name[:1] != ":" and name not in SECRET_HEADERS}


def text_of(value: Any) -> str:
    """A JSON value as text; "" for an object or a list, which may be nested too deeply for `str`."""
    return "" if isinstance(value, dict | list) else str(value)


def source_names(value: Any) -> tuple[str, ...]:
    """The names in a `do_sync`: a list (APNs) or a comma-separated text (FCM)."""
    if isinstance(value, str):
        return tuple(filter(None, (name.strip() for name in value.split(","))))
    if isinstance(value, list):
        return tuple(map(text_of, value))
    return ()
