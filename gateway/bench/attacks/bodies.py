"""A2: bodies that are expensive to parse."""

from typing import Final

from gateway.bench.attacks.attack import NO_ANSWER, Attack, AttackOutcome, AttackTarget
from gateway.bench.attacks.client import PING, at_once, exchange, pipelined, request, with_token
from gateway.bench.attacks.hostile_bodies import HOSTILE_BODIES, HostileBody

_SHORT_BYTES: Final = 60_000
"""Less than `limits.unauthenticated_body_bytes`."""
_SHORT_EACH: Final = 8
_CONNECTIONS: Final = 40
_INVENTED: Final = {"X_RhoConnect_API_TOKEN": "invented"}


async def long_bodies(target: AttackTarget, outcome: AttackOutcome) -> None:
    """Send each kind of body in full, without a token and with an invalid one."""
    for body in HOSTILE_BODIES:
        data = body.make(body.full_bytes)
        requests = [request(PING, data, Content_Type=body.content_type, **more) for more in ({}, _INVENTED)]
        for answer in await at_once(target.port, requests):
            outcome.note(answer.status, (413,), f"{body.name}, without a valid token,")


async def short_bodies(target: AttackTarget, outcome: AttackOutcome) -> None:
    """Send many bodies of each kind at once, as long as permitted without a valid token."""
    requests = [
        request(PING, body.make(_SHORT_BYTES), Content_Type=body.content_type)
        for body in HOSTILE_BODIES
        for _ in range(_SHORT_EACH)
    ]
    for answer in await pipelined(target.port, requests, _CONNECTIONS):
        outcome.note(answer.status, (400, 422, 503, NO_ANSWER), "a short hostile body")


def _with_a_good_token(body: HostileBody) -> Attack:
    async def run(target: AttackTarget, outcome: AttackOutcome) -> None:
        data = body.make(body.full_bytes)
        for _ in range(2):
            answer = await exchange(
                target.port, request(PING, data, Content_Type=body.content_type, **with_token(target))
            )
            outcome.note(answer.status, (200, 400, 413), f"{body.name}, with a good token,")

    return Attack(f"A2: {body.name}, good token", run)


BODIES: Final = (
    Attack("A2: 2 to 31 MB of each hostile body, no valid token", long_bodies),
    Attack("A2: 60 kB of each hostile body, no valid token", short_bodies),
    *map(_with_a_good_token, HOSTILE_BODIES),
)
