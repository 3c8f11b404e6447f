"""A1: numbers beyond any machine word, from callers without credentials and from one with a valid token."""

from typing import Final
from uuid import uuid4

from gateway.bench.attacks.attack import NO_ANSWER, Attack, AttackOutcome, AttackTarget
from gateway.bench.attacks.client import PING, at_once, pipelined, request, with_token
from protocols.rhoconnect_push.ids import COOKIE, INSTANCE, rhoconnect_push_id

_LAST_MESSAGES: Final = (
    "0x" + "f" * 3_600,
    "f" * 3_600,
    "9" * 3_600,
    "-" + "9" * 3_600,
    "%2b" + "1" * 3_600,
    "1e308",
    "-1e99999",
    "%D9%A3",
)
_NUMBERS: Final = ("9" * 3_600, "-" + "9" * 3_600, "1e99999", "0x" + "f" * 100, '"' + "9" * 200 + '"')
_FIELDS: Final = ("badge", "vibrate", "ttl_s", "priority")
_ROUNDS: Final = 20
_CONNECTIONS: Final = 20


async def polls(target: AttackTarget, outcome: AttackOutcome) -> None:
    """Polls of unregistered instances, with cookies of rhoconnect-push's scheme, which anyone can make."""
    requests = [_poll(last) for _ in range(_ROUNDS) for last in _LAST_MESSAGES]
    for answer in await at_once(target.push_port, requests):
        outcome.note(answer.status, (400, 404), "a poll of an unknown instance")


def _poll(last: str) -> bytes:
    instance = rhoconnect_push_id(INSTANCE, "nobody", str(uuid4()))
    cookie = rhoconnect_push_id(COOKIE, instance, str(uuid4()))
    return request(f"/nextMessage/{instance}?lastMessage={last}", method="GET", Cookie=f"instance={cookie}")


async def numbers_in_pings(target: AttackTarget, outcome: AttackOutcome) -> None:
    """Numbers of thousands of digits in each field of a ping."""
    bodies = [
        b'{"user_id":"bob","%b":%b}' % (field.encode(), number.encode())
        for field in _FIELDS
        for number in _NUMBERS
    ]
    for headers in ({"X_RhoConnect_API_TOKEN": "invented"}, with_token(target)):
        requests = [request(PING, body, **headers) for body in bodies]
        for answer in await pipelined(target.port, requests * 4, _CONNECTIONS):
            outcome.note(answer.status, (200, 400, 422, 503), "a ping with a long number")
    lengths = [request(PING, b"x", Content_Length="9" * 3_600), request(PING, b"x", Content_Length="-1")]
    for answer in await pipelined(target.port, lengths * _CONNECTIONS, 2 * _CONNECTIONS):
        outcome.note(answer.status, (400, 413, 431, NO_ANSWER), "a Content-Length of 3,600 digits")


NUMBERS: Final = (
    Attack("A1: polls with lastMessage= of 3,600 digits", polls),
    Attack("A1: pings with numbers of 3,600 digits", numbers_in_pings),
)
