"""The common parts of the maker of the dump and the test: users, devices, providers and settings.

The names here are stored in the dump. They stay as they are.
"""

import dataclasses
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from gateway.simulators import ApnsOptions, ApnsSimulator, FcmSimulator, Hosting
from gateway.simulators.keys import TeamKey, make_team_key
from tests.support.providers import TOPIC, provider_settings
from tests.support.rhoconnect import Client, android, apple

DUMP: Final = Path(__file__).with_name("before_renaming.jsonl")
CHANGES: Final = "rhoconnect:changes"
SOURCES: Final = {"Product": {"push_notify": True}, "Order": {"push_notify": True}}
LATER_S: Final = 40
"""Time after which the scheduled work of the maker is due: after the dump."""
AWAY_MS: Final = LATER_S * 1000
"""For how long no gateway ran between the dump and its loading: all that is on the schedule is due."""
DEVICE: Final = "push"
"""Stands for the RhoConnect Push device in the notes of a dump."""
PASSWORD: Final = "a password of the tests"
GUESSED: Final = "eve"
"""A user whose password somebody tried too often."""


def token(name: str) -> str:
    """The push token of an Apple device."""
    return hashlib.sha256(name.encode()).hexdigest()


def registration(name: str) -> str:
    """The push token of an Android device."""
    return f"registration-of-{name}"


def client_id(name: str) -> str:
    """The client id of a device."""
    return hashlib.sha256(b"client" + name.encode()).hexdigest()[:32]


def place(port: int) -> str:
    """The scope in a mark for the simulated APNs on this port, and the app."""
    return hashlib.blake2b(f"127.0.0.1:{port}\0{TOPIC}".encode(), digest_size=8).hexdigest()


def iphone(name: str, **more: Any) -> Client:
    """An Apple device of this name."""
    return apple(token(name), client_id=client_id(name), device_app_id=TOPIC, **more)


def droid(name: str, **more: Any) -> Client:
    """An Android device of this name."""
    return android(registration(name), client_id=client_id(name), device_app_id=TOPIC, **more)


class Providers(NamedTuple):
    """Both simulated providers. Their lanes have the same names at each start."""

    apns: ApnsSimulator
    fcm: FcmSimulator

    def settings(self, **more: Any) -> dict[str, Any]:
        """The `:gateway:` part of a gateway that sends to them."""
        return provider_settings(self.apns, self.fcm, **more)


def _team_key() -> TeamKey:
    made = make_team_key("UPGRADETEA")
    signing = made.signing._replace(key_id="UPGRADEKEY")
    return dataclasses.replace(made, key_id="UPGRADEKEY", signing=signing)


@asynccontextmanager
async def providers(apns_faults: tuple[str, ...] = ()) -> AsyncIterator[Providers]:
    """Start them."""
    hosting = Hosting()
    async with (
        ApnsSimulator(ApnsOptions(faults=apns_faults), hosting, _team_key()) as apns,
        FcmSimulator(hosting=hosting) as fcm,
    ):
        yield Providers(apns, fcm)
