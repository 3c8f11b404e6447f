"""A4: floods of invented tokens and sessions."""

import base64
import json
from typing import Any, Final

from gateway.bench.attacks.attack import Attack, AttackOutcome, AttackTarget
from gateway.bench.attacks.client import PING, AttackResponse, pipelined, request

_FLOOD: Final = 12_000
_CONNECTIONS: Final = 80
_ADDRESSES: Final = 5
BUSY: Final = "authentication_busy"
"""The only permitted code of a 503 in these floods, since Redis works."""


def address(number: int, count: int) -> str:
    """One of `count` addresses of attackers (TEST-NET-2, RFC 5737)."""
    return f"198.51.100.{number % count + 1}"


def note_refusals(
    outcome: AttackOutcome, answers: list[AttackResponse], allowed: tuple[int, ...], what: str
) -> None:
    """Count the responses to a flood; a 503 must report that authentication is busy, and not that Redis is
    unreachable."""
    for answer in answers:
        outcome.note(answer.status, (*allowed, 503), what)
        outcome.require(
            answer.status != 503 or answer.code == BUSY, f"{what} was answered with 503 {answer.code}"
        )


async def tokens_in_headers(target: AttackTarget, outcome: AttackOutcome) -> None:
    """Pings, each with a different invented token in the header, from five addresses."""
    requests = [
        request(
            PING,
            {"user_id": "bob"},
            X_Forwarded_For=address(number, _ADDRESSES),
            X_RhoConnect_API_TOKEN=f"invented{number}",
        )
        for number in range(_FLOOD)
    ]
    answers = await pipelined(target.port, requests, _CONNECTIONS)
    note_refusals(outcome, answers, (422,), "an invented token")
    outcome.require(outcome.statuses[422] > 0, "no invented token was refused as such")


async def tokens_in_bodies(target: AttackTarget, outcome: AttackOutcome) -> None:
    """Send invented tokens as `api_token` in the body, each from an address of its own."""
    requests = [
        request(PING, {"user_id": "bob", "api_token": f"made up {number}"}, X_Forwarded_For=_own(number))
        for number in range(_FLOOD // 2)
    ]
    answers = await pipelined(target.port, requests, _CONNECTIONS)
    note_refusals(outcome, answers, (422,), "an invented token in a body")


async def sessions(target: AttackTarget, outcome: AttackOutcome) -> None:
    """Registrations, each with a different invented session cookie."""
    requests = [
        request(
            f"/rc/v1/clients/{number:032x}/register",
            {"device_pin": "ab" * 32},
            Cookie=_session(number),
            X_Forwarded_For=address(number, _ADDRESSES),
        )
        for number in range(_FLOOD // 4)
    ]
    answers = await pipelined(target.port, requests, _CONNECTIONS)
    note_refusals(outcome, answers, (401, 403), "an invented session")


def _session(number: int) -> str:
    claims: list[Any] = [f"u{number:07d}", "0" * 32, 4_000_000_000, True]
    text = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"rhoconnect_session={text}--{number:064x}"


def _own(number: int) -> str:
    return f"2001:db8:{number:x}::1"


TOKENS: Final = (
    Attack("A4: invented tokens in headers", tokens_in_headers),
    Attack("A4: invented tokens in bodies", tokens_in_bodies),
    Attack("A4: invented sessions", sessions),
)
