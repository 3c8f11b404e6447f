"""A5: floods of wrong logins, during which a correct login from an address without failures is answered."""

import asyncio
import base64
from collections.abc import Sequence
from typing import Final
from uuid import uuid4

from gateway.bench.attacks.attack import Attack, AttackOutcome, AttackTarget
from gateway.bench.attacks.client import AttackResponse, exchange, pipelined, request, with_token
from gateway.bench.attacks.tokens import address, note_refusals

LOGIN: Final = "/rc/v1/app/login"
_HOME: Final = "192.0.2.1"
"""Address of a client without failures (TEST-NET-1, RFC 5737)."""
_GUESSES_MAX: Final = 10
_CONNECTIONS: Final = 200
_JUDGED: Final = 100
"""Number of spaced-out guesses at the console after whose responses the attack ends."""


async def new_user(target: AttackTarget) -> str:
    """Create a user with the password `right` and an unused name, and return the login."""
    login = f"user-{uuid4().hex}"
    body = {"attributes": {"login": login, "password": "right"}}
    await exchange(target.port, request("/rc/v1/users", body, **with_token(target)))
    return login


async def log_in(target: AttackTarget, login: str, client: str = _HOME) -> AttackResponse:
    """Log in with the correct password, by default from an address without failures."""
    body = {"login": login, "password": "right"}
    return await exchange(target.port, request(LOGIN, body, X_Forwarded_For=client))


async def from_one_client(target: AttackTarget, outcome: AttackOutcome) -> None:
    """3,000 guesses of one client at one account: ten are permitted, and no other client is locked out."""
    login = await new_user(target)
    attacker = f"203.0.113.{int(uuid4().hex[:4], 16) % 250 + 1}"
    requests = [_guess(LOGIN, login, number, attacker) for number in range(3_000)]
    before = outcome.statuses[401]
    await _flood(target, outcome, requests, login)
    outcome.require(outcome.statuses[401] - before <= _GUESSES_MAX, "one client got more than ten guesses")
    blocked = await log_in(target, login, attacker)
    outcome.note(blocked.status, (429,), "a right login of a client with too many failures")


async def from_many_clients(target: AttackTarget, outcome: AttackOutcome) -> None:
    """1,000 guesses at one account by a hundred clients: they are spaced out, and no other client is locked out."""
    login = await new_user(target)
    requests = [_guess(LOGIN, login, number, address(number, 100)) for number in range(1_000)]
    await _flood(target, outcome, requests, login, break_off=True)


async def at_invented_names(target: AttackTarget, outcome: AttackOutcome) -> None:
    """1,000 guesses at names that do not exist, which cost the same hash."""
    login = await new_user(target)
    path = "/rc/v1/system/login"
    requests = [_guess(path, f"nobody{number}", number, address(number, 1)) for number in range(1_000)]
    await _flood(target, outcome, requests, login, break_off=True)


async def of_the_push_service(target: AttackTarget, outcome: AttackOutcome) -> None:
    """1,000 wrong app credentials at the route that RhoConnect Push servers call."""
    login = await new_user(target)
    requests = [
        request(
            "/rc/v1/system/rps_login",
            method="GET",
            Authorization="Basic " + base64.b64encode(b":".join((b"app", b"%d" % number))).decode(),
            X_Forwarded_For=address(number, 100),
        )
        for number in range(1_000)
    ]
    await _flood(target, outcome, requests, login, break_off=True)


async def at_the_console(target: AttackTarget, outcome: AttackOutcome) -> None:
    """1,000 invented tokens at the console's login, by a hundred clients, which are spaced out."""
    login = await new_user(target)
    requests = [
        request(
            "/console/login",
            f"csrf=x&token=invented{number}".encode(),
            Content_Type="application/x-www-form-urlencoded",
            Cookie="rhopush_console_login=x",
            X_Forwarded_For=address(number, 100),
        )
        for number in range(1_000)
    ]
    answers = list[AttackResponse]()
    flood = asyncio.create_task(pipelined(target.port, requests, _CONNECTIONS, answers))
    outcome.note((await log_in(target, login)).status, (200,), "a right login during a flood of guesses")
    while len(answers) < _JUDGED and not flood.done():
        await asyncio.wait({flood}, timeout=0.05)
    flood.cancel()
    await asyncio.gather(flood, return_exceptions=True)
    for answer in answers:
        outcome.note(answer.status, (401, 429, 503), "an invented token at the console")
        outcome.require("rhopush_console=" not in answer.headers.get("set-cookie", ""), "a session began")


async def _flood(
    target: AttackTarget,
    outcome: AttackOutcome,
    requests: Sequence[bytes],
    login: str,
    *,
    break_off: bool = False,
) -> None:
    """Send the guesses, and meanwhile correct logins from an address without failures.

    Args:
        target: the gateway.
        outcome: counts the responses.
        requests: the guesses.
        login: the user of the correct logins.
        break_off: whether to end the guesses once the correct logins are answered.
    """
    other, answers = await new_user(target), list[AttackResponse]()
    flood = asyncio.create_task(pipelined(target.port, requests, _CONNECTIONS, answers))
    for name in (login, other, login):
        outcome.note((await log_in(target, name)).status, (200,), "a right login during a flood of guesses")
    if break_off:
        flood.cancel()
    await asyncio.gather(flood, return_exceptions=True)
    note_refusals(outcome, answers, (401, 429), "a wrong login")


def _guess(path: str, login: str, number: int, client: str) -> bytes:
    return request(path, {"login": login, "password": f"guess{number}"}, X_Forwarded_For=client)


LOGINS: Final = (
    Attack("A5: 3,000 wrong logins of one client", from_one_client),
    Attack("A5: 1,000 wrong logins of a hundred clients", from_many_clients),
    Attack("A5: 1,000 logins with invented names", at_invented_names),
    Attack("A5: 1,000 wrong credentials of RhoConnect Push apps", of_the_push_service),
    Attack("A5: 1,000 invented tokens at the console", at_the_console),
)
