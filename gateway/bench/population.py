"""Registered users in RhoConnect's layout: ten keys a device and five a user.

They are written as fast as Redis reads: one MSET and one SADD a user, packed from a template, a megabyte at a time.
A million users are 15 million keys and take about 3 GB.
"""

import hashlib
from collections.abc import Callable
from typing import Final

from redis import Redis

from gateway.bench.wire import USER
from gateway.store import keys

TOPIC: Final = "com.example.app"
_CHUNK: Final = 1000


def pin(number: int) -> str:
    """The push token of a user: 64 hex digits."""
    return hashlib.sha256(b"pin %d" % number).hexdigest()


def device_id(number: int) -> str:
    """The client id of a user's device."""
    return f"{number:032x}"


def lay_users(
    client: Redis, users: int, on_progress: Callable[[float], None] | None = None, first: int = 0
) -> None:
    """Register users `first` to `users` - 1, each with one Apple device.

    Args:
        client: client of an otherwise unused server.
        users: number of users at the end.
        on_progress: called with the fraction done.
        first: number of users that exist already.
    """
    for start in range(first, users, _CHUNK):
        numbers = range(start, min(start + _CHUNK, users))
        with client.pipeline(transaction=False) as pipe:
            for number in numbers:
                login, device = USER % number, device_id(number)
                pipe.mset(_user(login) | _device(login, device, number))
                pipe.sadd(keys.user(login, "clients"), device)
            pipe.sadd(keys.APP_USERS, *(USER % number for number in numbers))
            pipe.execute()
        if on_progress is not None:
            on_progress((start - first) / (users - first))


def _user(login: str) -> dict[str, str]:
    digest = hashlib.sha1(login.encode(), usedforsecurity=False).hexdigest()
    fields = {"rho__id": login, "login": login, "salt": digest[:10], "hashed_password": digest}
    return {keys.user(login, name): value for name, value in fields.items()}


def _device(login: str, device: str, number: int) -> dict[str, str]:
    fields = {
        "rho__id": device,
        "device_type": "Apple",
        "device_push_type": "apple",
        "device_pin": pin(number),
        "device_port": "100",
        "device_app_id": TOPIC,
        "phone_id": f"phone-{number:08d}",
        "user_id": login,
        "app_id": "application",
        "last_sync": "2026-11-01T08:00:00+0000",
    }
    return {keys.client(device, name): value for name, value in fields.items()}
