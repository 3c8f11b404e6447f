"""RhoConnect Push devices by number: their ids, their registrations in Redis, their requests and those of their
apps."""

from collections.abc import Callable
from typing import Final

import orjson
import redis

from gateway.store import keys
from protocols.rhoconnect_push.ids import Ids

USER: Final = "bench"
APP: Final = "benchapp"
_AUTHORIZATION: Final = "Basic YmVuY2hhcHA6"  # benchapp without a password
_MESSAGE: Final = (
    '{"data":{"alert":"Order 0000000 is on its way","sound":"hello.mp3","vibrate":"2000",'
    '"do_sync":["Product"]}}'
)
_BATCH: Final = 1_000


def instance_of(ids: Ids, number: int) -> str:
    """The instance of a device."""
    return ids.instance(USER, number)


def token_of(ids: Ids, number: int) -> str:
    """The token of its app, which RhoConnect stores as the device's pin."""
    return ids.token(APP, number, USER)


def poll(ids: Ids, number: int, last: bytes = b"") -> bytes:
    """A long poll as an Android device sends it."""
    instance = instance_of(ids, number)
    cookie = ids.cookie(instance)
    query = f"?lastMessage={last.decode()}" if last else ""
    return (
        f"GET /nextMessage/{instance}{query} HTTP/1.1\r\nHost: 127.0.0.1:8675\r\nConnection: keep-alive\r\n"
        f"Cookie: instance={cookie}\r\nUser-Agent: Apache-HttpClient/UNAVAILABLE (java 1.4)\r\n\r\n"
    ).encode()


def post(ids: Ids, number: int) -> bytes:
    """A message as RhoConnect posts it."""
    return (
        f"POST /messageQueue/{token_of(ids, number)} HTTP/1.1\r\nAccept: */*\r\n"
        "User-Agent: rest-client/2.1.0 (linux x86_64) ruby/3.1.2p20\r\nContent-Type: application/json\r\n"
        f"Authorization: {_AUTHORIZATION}\r\nContent-Length: {len(_MESSAGE)}\r\nHost: 127.0.0.1\r\n\r\n"
        f"{_MESSAGE}"
    ).encode()


def register(client: redis.Redis, ids: Ids, count: int, on_progress: Callable[[float], None]) -> None:
    """Write the registrations of the devices 0 to `count` - 1, in the form of rhoconnect-push."""
    for first in range(0, count, _BATCH):
        pipe = client.pipeline(transaction=False)
        for number in range(first, min(first + _BATCH, count)):
            instance, token = instance_of(ids, number), token_of(ids, number)
            member = orjson.dumps({"token": token, "appname": APP})
            pipe.sadd(keys.MAILBOX_REGISTRATIONS + instance, member)
            pipe.set(keys.MAILBOX_INSTANCE_OF + token, instance, ex=keys.MAILBOX_REGISTRATION_S)
            pipe.set(keys.MAILBOX_COUNTER + instance, 7, ex=keys.MAILBOX_REGISTRATION_S)
            pipe.expire(keys.MAILBOX_REGISTRATIONS + instance, keys.MAILBOX_REGISTRATION_S)
        pipe.execute()
        on_progress(min(first + _BATCH, count) / count)
