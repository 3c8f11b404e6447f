"""A6: sessions that access other people's devices, or register too many of their own."""

import json
from typing import Any, Final
from uuid import uuid4

from gateway.bench.attacks.attack import Attack, AttackOutcome, AttackTarget
from gateway.bench.attacks.client import PING, AttackResponse, exchange, pipelined, request, with_token
from gateway.bench.attacks.logins import log_in, new_user

_CLIENTS: Final = "/rc/v1/clients"
_TAKEOVERS: Final = 10
_DEVICES: Final = 3_000
_CONNECTIONS: Final = 40
_SCRIPT: Final = "<script>alert(1)</script>"


async def takeover(target: AttackTarget, outcome: AttackOutcome) -> None:
    """Register another user's client in a session during pings to that user: the session must not receive the push
    token."""
    owner, thief = await new_user(target), await new_user(target)
    owning, stealing = await _session_of(target, owner), await _session_of(target, thief)
    ping = request(PING, {"user_id": owner, "message": "private"}, "POST", **with_token(target))
    for _ in range(_TAKEOVERS):
        phone = {"device_type": "Apple", "device_pin": uuid4().hex * 2}
        client = await _new_client(target, owning, phone)
        path = f"{_CLIENTS}/{client}/register"
        await exchange(target.port, ping)
        taken, pinged = await pipelined(target.port, [request(path, b"{}", Cookie=stealing), ping], 2)
        outcome.note(taken.status, (200,), "the registration of another user's client")
        outcome.note(pinged.status, (200,), "a ping to the first owner")
        found = (await exchange(target.port, _show(target, client))).body.decode()
        outcome.require(phone["device_pin"] not in found, "the push token of a client went to its new owner")


async def many_devices(target: AttackTarget, outcome: AttackOutcome) -> None:
    """Register 3,000 devices in one session."""
    session = await _session_of(target, await new_user(target))
    requests = [
        request(f"{_CLIENTS}/{uuid4().hex}/register", {"device_pin": uuid4().hex * 2}, Cookie=session)
        for _ in range(_DEVICES)
    ]
    answers = await pipelined(target.port, requests, _CONNECTIONS)
    for answer in answers:
        outcome.note(answer.status, (200, 422, 503), "a registration")
    registered = sum(answer.status == 200 for answer in answers)
    outcome.require(registered <= 1_000, f"one session registered {registered} devices")


async def stored_markup(target: AttackTarget, outcome: AttackOutcome) -> None:
    """Store markup in each field; no response may contain it unescaped."""
    login = await new_user(target)
    session = await _session_of(target, login)
    fields = dict.fromkeys(("device_type", "device_pin", "device_port", "phone_id", "device_app_id"), _SCRIPT)
    client = await _new_client(target, session, fields)
    reads = [
        _show(target, client),
        _get(target, f"/rc/v1/users/{login}/clients"),
        request(f"/{_SCRIPT}", method="GET"),
        _get(target, f"{_CLIENTS}/{_SCRIPT}"),
    ]
    for answer in await pipelined(target.port, reads * 20, 4):
        outcome.note(answer.status, (200, 400, 404), "a read of stored markup")
        outcome.require(_is_safe(answer), "stored markup came back as markup")


def _is_safe(answer: AttackResponse) -> bool:
    if answer.headers.get("x-content-type-options") != "nosniff":
        return False
    markup = answer.headers.get("content-type", "").startswith("text/html")
    return not markup or b"<script" not in answer.body


async def _session_of(target: AttackTarget, login: str) -> str:
    """Log in, and return the session's cookie."""
    return (await log_in(target, login)).cookie


def _get(target: AttackTarget, path: str) -> bytes:
    return request(path, b"", "GET", **with_token(target))


def _show(target: AttackTarget, client: str) -> bytes:
    return _get(target, f"{_CLIENTS}/{client}")


async def _new_client(target: AttackTarget, session: str, fields: dict[str, Any]) -> str:
    """Create a client of the session's user, and return its id."""
    answer = await exchange(target.port, request(_CLIENTS, fields, Cookie=session))
    return str(json.loads(answer.body)["client"]["client_id"])


DEVICES: Final = (
    Attack("A6: a session takes another user's device", takeover),
    Attack("A6: 3,000 devices of one session", many_devices),
    Attack("A6: stored markup", stored_markup),
)
