"""The peer of delivery: aioapns on uvloop, with the simulator's key, used as in its documentation."""

import asyncio
import logging
import ssl
import time
from itertools import count
from pathlib import Path
from typing import Any

import uvloop
from aioapns import APNs, NotificationRequest, PushType
from aioapns.connection import APNsTLSClientProtocol

from gateway.bench.population import pin
from gateway.bench.roles import orders, result
from gateway.bench.roles.peer import AioapnsOrder, PeerResult


async def _run(order: AioapnsOrder, key: str) -> PeerResult:
    facts = order.facts

    apns = APNs(
        key=key,
        key_id=facts.key_id,
        team_id=facts.team_id,
        topic=facts.topic,
        max_connections=order.connections,
        ssl_context=ssl.create_default_context(cafile=facts.ca_file),
    )
    # aioapns reads host and port from its protocol class.
    address = {"APNS_SERVER": "127.0.0.1", "APNS_PORT": facts.echo_port}
    apns.pool.protocol_class = type("Pointed", (APNsTLSClientProtocol,), address)
    numbers = count()
    accepted = 0
    until = float("inf")

    async def sender() -> None:
        nonlocal accepted
        while time.perf_counter() < until:
            number = next(numbers)
            payload: dict[str, Any] = {
                "aps": {
                    "alert": f"Order {number:07d} is on its way",
                    "sound": "hello.mp3",
                    "content-available": 1,
                },
                "do_sync": ["Product"],
                "vibrate": "2000",
            }
            request = NotificationRequest(
                pin(number), payload, time_to_live=86400, priority=10, push_type=PushType.ALERT
            )
            answer = await apns.send_notification(request)
            accepted += answer.is_successful

    await apns.send_notification(NotificationRequest(pin(0), {"aps": {"alert": "first"}}))
    begun, cpu = time.perf_counter(), time.process_time()
    until = begun + order.seconds
    await asyncio.gather(*(sender() for _ in range(order.in_flight)))
    done = PeerResult(accepted, time.perf_counter() - begun, time.process_time() - cpu)
    apns.pool.close()
    return done


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    for each in orders(AioapnsOrder):
        result(uvloop.run(_run(each, Path(each.facts.key_file).read_text())))
