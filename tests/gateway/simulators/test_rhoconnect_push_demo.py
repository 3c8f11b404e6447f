"""The RhoConnect Push device of the demo; `tests/gateway/cli/test_demo.py` runs it with a gateway."""

from contextlib import AsyncExitStack

import aiohttp
import pytest

from gateway.simulators import Authority
from gateway.simulators.demo_device import DemoUser, ReceivedPush
from gateway.simulators.rhoconnect_push_demo import RhoConnectPushDemoDevice, content_of
from gateway.simulators.rhoconnect_push_device import Received
from protocols.simulation.record import Summary


async def test_its_settings_name_the_port_of_the_service_in_two_places() -> None:
    async with AsyncExitStack() as stack:
        device = RhoConnectPushDemoDevice(lambda push: None)
        files = await device.open(stack, Authority(["127.0.0.1"]))
        assert files.app["push_server"].endswith(f"127.0.0.1:{files.section['port']}/")
        with pytest.raises(aiohttp.ClientError):  # no gateway serves this port
            await device.register(stack, DemoUser("carol", "demo", "rhoconnect_session=x"))


def test_a_message_is_shown_as_a_line_and_as_content() -> None:
    received: list[ReceivedPush] = []
    device = RhoConnectPushDemoDevice(received.append)
    device._owner = "carol"
    device._on_message(Received(1, "demo-app", {"alert": "hi", "badge": 3, "do_sync": ["A", "B"]}))
    assert received == [
        ReceivedPush(
            "rhoconnect_push carol 'hi' badge=3 do_sync=['A', 'B']",
            Summary("hi", 3, None, None, ("A", "B")),
        )
    ]
    assert content_of({"title": "T", "sound": "s"}) == Summary(None, None, "s", None, (), "T")
