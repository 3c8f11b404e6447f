"""A3: bodies, connections and responses that aim at exhausting the gateway's memory."""

import asyncio
from collections.abc import Iterable
from contextlib import AsyncExitStack, suppress
from typing import Final

from gateway.bench.attacks.attack import NO_ANSWER, Attack, AttackOutcome, AttackTarget
from gateway.bench.attacks.client import (
    PING,
    at_once,
    connected,
    exchange,
    head,
    read_answer,
    request,
    send,
    with_token,
)
from gateway.bench.attacks.hostile_bodies import FORM, gzip_bomb, small_gzip_bomb

_CONNECTIONS: Final = 40
_LONG_BYTES: Final = 31_000_000
_HOLD_S: Final = 1.0
_UNAUTHENTICATED_BYTES: Final = 60_000
_SLOW: Final = 100
_SLOW_STEPS: Final = 10
_SLOW_STEP_S: Final = 0.1
_UNREAD: Final = 20
_UNREAD_REQUESTS: Final = 2_000


def _long_ping(size: int) -> bytes:
    return b'{"user_id":"bob","message":"hello"' + b" " * (size - 35) + b"}"


async def long_bodies_without_token(target: AttackTarget, outcome: AttackOutcome) -> None:
    """40 bodies of 31 MB at once, without a token."""
    data = request(PING, _long_ping(_LONG_BYTES))
    for answer in await at_once(target.port, [data] * _CONNECTIONS):
        outcome.note(answer.status, (413, NO_ANSWER), "31 MB without a token")


async def long_bodies_with_token(target: AttackTarget, outcome: AttackOutcome) -> None:
    """40 bodies of 31 MB at once, with a valid token: read as far as they fit, and refused beyond that."""
    data = request(PING, _long_ping(_LONG_BYTES), **with_token(target))
    for answer in await at_once(target.port, [data] * _CONNECTIONS):
        outcome.note(answer.status, (400, 503, NO_ANSWER), "31 MB of spaces with a good token")


async def held_bodies(target: AttackTarget, outcome: AttackOutcome) -> None:
    """40 bodies of 31 MB, with a valid token, each without its last byte."""
    data = request(PING, _long_ping(_LONG_BYTES), **with_token(target))[:-1]

    async def hold() -> None:
        async with connected(target.port) as (reader, writer):
            with suppress(OSError):
                await send(writer, data)
            with suppress(TimeoutError):
                async with asyncio.timeout(_HOLD_S):
                    answer = await read_answer(reader)
                    outcome.note(answer.status, (503, NO_ANSWER), "31 MB that do not end")

    await asyncio.gather(*(hold() for _ in range(_CONNECTIONS)))


async def packed_bodies(target: AttackTarget, outcome: AttackOutcome) -> None:
    """Send a gzip body of 1.3 MB that unpacks to 1.3 GB, with and without a good token, and a small one of 60 kB."""
    encoded = {"Content_Encoding": "gzip"}
    full, small = gzip_bomb(), small_gzip_bomb(_UNAUTHENTICATED_BYTES)
    requests = [
        request(PING, full, **encoded, **with_token(target)),
        request(PING, full, **encoded),
        request(PING, small, **encoded),
        request(PING, small, Content_Type=FORM, **encoded),
    ]
    for answer in await at_once(target.port, requests * 3):
        outcome.note(answer.status, (400, 413, 503), "a gzip bomb")


async def idle_connections(target: AttackTarget, outcome: AttackOutcome) -> None:
    """Three times as many silent connections as are permitted, on both ports."""
    for port in (target.port, target.push_port):
        async with AsyncExitStack() as stack:
            for _ in range(3 * target.ceiling):
                with suppress(OSError):
                    await stack.enter_async_context(connected(port))
            answer = await exchange(target.port, request("/healthz", method="GET"))
            outcome.note(answer.status, (200,), "/healthz beside silent connections")


async def slow_requests(target: AttackTarget, outcome: AttackOutcome) -> None:
    """Requests whose heads and bodies arrive byte by byte, on half as many connections as are permitted."""
    body = head(PING, Content_Length=_UNAUTHENTICATED_BYTES, Content_Type="application/json") + b"{"
    begun: Iterable[bytes] = (body, head(PING, X_Field="x" * 1_000)[:-4], b"PUT /rc/v1/users/bob HT")

    async def drip(data: bytes) -> None:
        with suppress(OSError):
            async with connected(target.port) as (_, writer):
                await send(writer, data)
                for _ in range(_SLOW_STEPS):
                    await asyncio.sleep(_SLOW_STEP_S)
                    await send(writer, b" ")

    count = min(_SLOW, target.ceiling // 2)
    await asyncio.gather(*(drip(data) for data in begun for _ in range(count // 3)))
    outcome.note(
        (await exchange(target.port, request("/healthz", method="GET"))).status,
        (200,),
        "/healthz beside them",
    )


async def unread_answers(target: AttackTarget, outcome: AttackOutcome) -> None:
    """Thousands of pipelined requests on connections whose responses are not read."""
    data = request("/openapi.json", method="GET") * _UNREAD_REQUESTS

    async def demand() -> None:
        with suppress(OSError, TimeoutError):
            async with connected(target.port) as (_, writer), asyncio.timeout(_HOLD_S):
                await send(writer, data)
                await asyncio.sleep(_HOLD_S)

    await asyncio.gather(*(demand() for _ in range(_UNREAD)))
    answer = await exchange(target.port, request("/healthz", method="GET"))
    outcome.note(answer.status, (200,), "/healthz beside unread answers")


MEMORY: Final = (
    Attack("A3: 40 bodies of 31 MB, no token", long_bodies_without_token),
    Attack("A3: 40 bodies of 31 MB, good token", long_bodies_with_token),
    Attack("A3: 40 bodies of 31 MB that do not end, good token", held_bodies),
    Attack("A3: gzip that unpacks to 1.3 GB", packed_bodies),
    Attack("A3: silent connections at the ceiling", idle_connections),
    Attack("A3: heads and bodies byte by byte", slow_requests),
    Attack("A3: answers that are not read", unread_answers),
)
