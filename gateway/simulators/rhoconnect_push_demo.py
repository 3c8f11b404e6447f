"""The RhoConnect Push device of `rhopush demo`: it polls the service of the gateway itself."""

import asyncio
import socket
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from typing import Any, Final

from gateway.simulators.authority import Authority
from gateway.simulators.demo_device import DemoDevice, DemoUser, OnReceived, ReceivedPush
from gateway.simulators.rhoconnect_push_device import Received, RhoConnectPushDevice
from gateway.simulators.simulation import ClientFiles
from protocols.simulation.record import Summary, source_names

_APP: Final = "demo-app"


class RhoConnectPushDemoDevice(DemoDevice):
    """A device whose app gets its messages by polling."""

    description = "a RhoConnect Push device"
    device_type = "ANDROID"
    push_type = "rhoconnect_push"

    def __init__(self, on_received: OnReceived) -> None:
        super().__init__(on_received)
        self._port = 0
        self._owner = ""

    async def open(self, stack: AsyncExitStack, authority: Authority) -> ClientFiles:
        """Choose the port of the service, which the gateway opens."""
        self._port = _free_port()
        push_server = f"http://{_APP}@127.0.0.1:{self._port}/"
        return ClientFiles({}, {"port": self._port}, {"push_server": push_server})

    async def register(self, stack: AsyncExitStack, user: DemoUser) -> str:
        """Register the app with the service, and start to poll.

        Raises:
            RegistrationRefused: the service refuses the registration.
            aiohttp.ClientError, OSError: the service cannot be reached.
        """
        self._owner = user.login
        device = RhoConnectPushDevice(
            f"http://127.0.0.1:{self._port}",
            user.login,
            user.password,
            user.cookie,
            on_message=self._on_message,
        )
        await stack.enter_async_context(device)
        token = await device.register(_APP)
        stack.push_async_callback(_end, asyncio.create_task(device.run()))
        return token

    def _on_message(self, received: Received) -> None:
        data = received.data
        words = [f"{name}={value}" for name, value in data.items() if name != "alert"]
        line = " ".join(["rhoconnect_push", self._owner, repr(data.get("alert", "")), *words])
        self.on_received(ReceivedPush(line, content_of(data)))


def content_of(data: Mapping[str, Any]) -> Summary:
    """The content of a message of RhoConnect Push."""
    return Summary(
        data.get("alert"),
        data.get("badge"),
        data.get("sound"),
        data.get("vibrate"),
        source_names(data.get("do_sync")),
        data.get("title"),
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
