"""The simulated devices of the demo."""

import time
from contextlib import AsyncExitStack

import pytest

from gateway.delivery.provider_registry import installed
from gateway.simulators import Authority
from gateway.simulators.apns import ApnsDemoDevice
from gateway.simulators.demo_device import DemoDevice, DemoUser, ReceivedPush, SimulatorDevice
from gateway.simulators.fcm import FcmDemoDevice
from protocols.simulation.record import SimulatedRecord, Summary

USER = DemoUser("alice", "demo", "rhoconnect_session=x")


def record(status: int, accepted_ms: int | None) -> SimulatedRecord:
    return SimulatedRecord(
        0.0, "apns", 1, "token", "topic", status, "", {}, {}, (), Summary("hello"), accepted_ms
    )


@pytest.mark.parametrize("kind", [ApnsDemoDevice, FcmDemoDevice])
async def test_a_device_of_a_simulator_has_its_files_and_a_token(kind: type[SimulatorDevice]) -> None:
    async with AsyncExitStack() as stack:
        device = kind(lambda push: None)
        files = await device.open(stack, Authority(["127.0.0.1"]))
        assert files.section["ca_file"] in files.files
        assert await device.register(stack, USER) not in ("", USER.cookie)


def test_a_push_has_its_time_since_the_ping_and_a_refused_one_no_content() -> None:
    received: list[ReceivedPush] = []
    device = ApnsDemoDevice(received.append)
    device._on_record(record(200, int(time.time() * 1000)))
    device._on_record(record(410, None))
    assert received[0].line.startswith("apns token     'hello' ")
    assert received[0].line.endswith(" ms")
    assert received[0].content == Summary("hello")
    assert (received[1].line, received[1].content) == ("apns token     410 ", None)


def test_each_provider_of_the_gateway_has_a_device() -> None:
    found = installed().demo_devices()
    assert sorted(found) == ["apns", "fcm", "rhoconnect_push"]
    assert all(issubclass(kind, DemoDevice) for kind in found.values())
