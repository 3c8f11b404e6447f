"""The peer of FCM delivery: pyfcm, used as in its documentation: one `notify` after the other.

Its access token is given, so that fetching one is not measured.
"""

import time
from typing import Any

from pyfcm import FCMNotification

from gateway.bench.population import pin
from gateway.bench.roles import orders, result
from gateway.bench.roles.peer import PeerResult, PyfcmOrder


def _client(order: PyfcmOrder) -> Any:
    facts = order.facts
    plain = f"http://127.0.0.1:{facts.fcm_plain_port}/v1/projects"
    secure = f"https://127.0.0.1:{facts.fcm_port}/v1/projects"
    ours = {
        "FCM_END_POINT_BASE": plain if order.batch > 1 else secure,
        "_get_access_token": lambda self: "given",
    }
    client = type("Pointed", (FCMNotification,), ours)(credentials=object(), project_id=facts.project_id)
    client.requests_session.verify = facts.ca_file
    # otherwise a bundle in an environment variable would take precedence
    client.requests_session.trust_env = False
    return client


def _message(number: int) -> dict[str, Any]:
    text = f"Order {number:07d} is on its way"
    return {
        "fcm_token": pin(number),
        "notification_body": text,
        "data_payload": {"alert": text, "do_sync": "Product", "vibrate": "2000"},
    }


def _run(order: PyfcmOrder) -> PeerResult:
    client = _client(order)
    if order.batch == 1:
        client.notify(**_message(0))  # connects before the clock starts
    accepted = 0
    begun, cpu = time.perf_counter(), time.process_time()
    while time.perf_counter() - begun < order.seconds:
        messages = [_message(accepted + index) for index in range(order.batch)]
        if order.batch > 1:
            client.async_notify_multiple_devices(messages)
        else:
            client.notify(**messages[0])
        accepted += order.batch
    return PeerResult(accepted, time.perf_counter() - begun, time.process_time() - cpu)


if __name__ == "__main__":
    for each in orders(PyfcmOrder):
        result(_run(each))
