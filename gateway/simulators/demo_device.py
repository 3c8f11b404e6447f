"""The simulated devices of `rhopush demo`, one of each provider whose entry names one (`demo_device`)."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import ClassVar, Final, NamedTuple

from gateway.simulators.authority import Authority
from gateway.simulators.base import Hosting, Simulator
from gateway.simulators.client_files import TOPIC
from gateway.simulators.simulation import ClientFiles, Simulation
from protocols.simulation.record import SimulatedRecord, Summary

PROJECT: Final = "demo-project"


class DemoUser(NamedTuple):
    """The owner of a simulated device.

    Attributes:
        login: the login at the gateway.
        password: the password.
        cookie: the session at the gateway, as the value of a header Cookie.
    """

    login: str
    password: str
    cookie: str


class ReceivedPush(NamedTuple):
    """A push to a simulated device.

    Attributes:
        line: one line for a terminal.
        content: the content of the push; None: the provider refused it.
    """

    line: str
    content: Summary | None


OnReceived = Callable[[ReceivedPush], None]


class DemoDevice(ABC):
    """A simulated device, with the server through which the gateway reaches it.

    Args:
        on_received: called with each push.

    Attributes:
        description: the device in the words that follow "alice has": "an Apple device".
        device_type, push_type: fields of its registration (contract §2.1).
    """

    description: ClassVar[str]
    device_type: ClassVar[str]
    push_type: ClassVar[str]

    def __init__(self, on_received: OnReceived) -> None:
        self.on_received: Final = on_received

    @abstractmethod
    async def open(self, stack: AsyncExitStack, authority: Authority) -> ClientFiles:
        """Start what the gateway connects to, before the gateway starts.

        Args:
            stack: ends it.
            authority: issues the certificates of its servers.

        Returns:
            The files and settings of the gateway.
        """

    @abstractmethod
    async def register(self, stack: AsyncExitStack, user: DemoUser) -> str:
        """Return the device's push token, after the gateway has started; the demo registers it with the gateway.

        Args:
            stack: ends the device.
            user: its owner.

        Raises:
            RhoPushError, aiohttp.ClientError, OSError: the device cannot be registered; the demo goes on without it.
        """


class SimulatorDevice(DemoDevice):
    """A device of a simulated provider: each push to it is a request to the simulator."""

    simulation: ClassVar[Simulation]

    def __init__(self, on_received: OnReceived) -> None:
        super().__init__(on_received)
        self._token = ""

    @abstractmethod
    def make_token(self, simulator: Simulator) -> str:
        """A new push token that the simulator accepts."""

    async def open(self, stack: AsyncExitStack, authority: Authority) -> ClientFiles:
        """Start the simulator."""
        hosting = Hosting(authority=authority, on_push=self._on_record)
        simulator = self.simulation.make((), hosting, PROJECT)
        self._token = self.make_token(await stack.enter_async_context(simulator))
        return self.simulation.client_files(simulator, TOPIC)

    async def register(self, stack: AsyncExitStack, user: DemoUser) -> str:
        """The push token: the simulator accepts every one of its form."""
        return self._token

    def _on_record(self, record: SimulatedRecord) -> None:
        line = f"{record.line()}{_latency(record)}"
        self.on_received(ReceivedPush(line, record.summary if record.accepted else None))


def _latency(record: SimulatedRecord) -> str:
    """The time from ingress to device, where the push has an id of the gateway."""
    return "" if record.accepted_ms is None else f" {time.time() * 1000 - record.accepted_ms:.0f} ms"
