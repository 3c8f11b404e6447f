"""RhoConnect's key layout, written as RhoConnect itself writes it.

Tests write users and devices with these functions instead of the gateway's own registration, so that a wrong
assumption about the layout is found. An object exists if its `rho__id` key does; every field is a string key of its
own; a field that was never set has no key.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from secrets import token_hex
from typing import Any

from redis.asyncio import Redis

APP = "application"


@dataclass(frozen=True, kw_only=True)
class Client:
    """A registered device of a user. None: the field has no key; "": the key exists and is empty."""

    client_id: str = field(default_factory=lambda: token_hex(16))
    device_type: str | None = "Apple"
    push_type: str | None = None
    pin: str | None = None
    port: str | None = "100"
    device_app_id: str | None = None
    device_app_version: str | None = None
    phone_id: str | None = None
    last_sync: datetime | str | None = None

    def keys(self, login: str) -> dict[str, str]:
        """All keys of this client with their values."""
        fields = {
            "rho__id": self.client_id,
            "device_type": self.device_type,
            "device_push_type": self.push_type,
            "device_pin": self.pin,
            "device_port": self.port,
            "device_app_id": self.device_app_id,
            "device_app_version": self.device_app_version,
            "phone_id": self.phone_id,
            "user_id": login,
            "app_id": APP,
            "last_sync": _instant(self.last_sync),
        }
        return {f"client:{self.client_id}:{name}": text for name, text in fields.items() if text is not None}


def apple(pin: str, **more: Any) -> Client:
    """An Apple device; `pin` is the APNs token in hex."""
    return Client(device_type="Apple", push_type="apple", pin=pin, **more)


def android(pin: str, **more: Any) -> Client:
    """An Android device; `pin` is the FCM registration token."""
    return Client(device_type="ANDROID", push_type="fcm", pin=pin, **more)


def rhoconnect_push_client(pin: str, **more: Any) -> Client:
    """A device of the RhoConnect Push service; `pin` is its token there."""
    return Client(device_type="ANDROID", push_type="rhoconnect_push", pin=pin, **more)


def _instant(moment: datetime | str | None) -> str | None:
    return moment.strftime("%Y-%m-%dT%H:%M:%S%z") if isinstance(moment, datetime) else moment


def _user_keys(login: str, password: str) -> dict[str, str]:
    salt = token_hex(5)
    return {
        f"user:{login}:rho__id": login,
        f"user:{login}:login": login,
        f"user:{login}:salt": salt,
        f"user:{login}:hashed_password": hashlib.sha1((password + salt).encode()).hexdigest(),
    }


async def lay_user(redis: Redis, login: str, devices: Iterable[Client] = (), *, password: str = "") -> None:
    """Write one user of the app and its devices."""
    await lay_users(redis, {login: tuple(devices)}, password=password)


async def lay_users(redis: Redis, users: dict[str, Sequence[Client]], *, password: str = "") -> None:
    """Write many users and their devices, 1,000 users a round trip."""
    logins = list(users)
    for start in range(0, len(logins), 1000):
        part = logins[start : start + 1000]
        async with redis.pipeline(transaction=False) as pipe:
            for login in part:
                keys = _user_keys(login, password)
                for client in users[login]:
                    keys |= client.keys(login)
                pipe.mset(keys)
                if users[login]:
                    pipe.sadd(f"user:{login}:clients", *(client.client_id for client in users[login]))
            pipe.sadd(f"app:{APP}:users", *part)
            pipe.incrby("user:count", len(part))
            pipe.incrby("client:count", sum(len(users[login]) for login in part))
            await pipe.execute()


async def lay_admin(redis: Redis, token: str, *, login: str = "rhoadmin", password: str = "") -> None:
    """Write an admin and its API token, as RhoConnect does at its first start."""
    keys = _user_keys(login, password)
    keys |= {f"user:{login}:admin": "1", f"user:{login}:token_id": token}
    keys |= {f"api_token:{token}:rho__id": token, f"api_token:{token}:value": token}
    keys |= {f"api_token:{token}:user_id": login, f"app:{APP}:rho__id": APP, f"app:{APP}:name": APP}
    await redis.mset(keys)
