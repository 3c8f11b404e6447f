"""Simulated Courier, for `rhopush simulate` and `rhopush demo`. It accepts every message."""

import json
import secrets
from collections.abc import Sequence
from types import MappingProxyType
from typing import Final

from gateway.simulators.base import Hosting, Simulator
from gateway.simulators.connection import SimulatedSession
from gateway.simulators.demo_device import SimulatorDevice
from gateway.simulators.simulation import ClientFiles, Simulation
from protocols.headers import Header
from protocols.simulation.faults import FaultAction, FaultTable
from protocols.simulation.record import SimulatedAnswer, SimulatedRecord, Summary, readable


class CourierSession(SimulatedSession):
    """The rules for one connection."""

    stream_limit = 100
    goodbye = ""

    def answer(self, headers: Sequence[Header], body: bytes, now_s: float) -> SimulatedAnswer:
        """Accept and record a message."""
        named = {name.decode(): value.decode() for name, value in headers}
        said = json.loads(body)
        record = SimulatedRecord(
            now_s,
            "courier",
            1,
            named[":path"],
            named[":authority"],
            200,
            "",
            readable(named),
            said,
            summary=Summary(alert=said["text"], do_sync=tuple(said["sources"])),
        )
        return SimulatedAnswer(FaultAction.SEND, 200, (), b"", record)


class CourierSimulator(Simulator):
    """Courier on a TLS port."""

    streams = 100
    faults = FaultTable({})

    def open_session(self, transport: object) -> CourierSession:
        """Start the rules for a new connection."""
        return CourierSession()


class CourierSimulation(Simulation):
    """Courier for `rhopush simulate`, without scripted faults."""

    title = "Courier"
    answers = MappingProxyType[str, str]({})

    def make(self, faults: Sequence[str], hosting: Hosting, project: str) -> CourierSimulator:
        """A simulator."""
        return CourierSimulator(hosting)

    def client_files(self, simulator: CourierSimulator, topic: str) -> ClientFiles:
        """The authority, and an account with any token."""
        section = {"token": "simulated", "ca_file": "courier-ca.pem", "origins": [origin_of(simulator)]}
        return ClientFiles({"courier-ca.pem": simulator.ca_pem}, section)


SIMULATION: Final = CourierSimulation()


class CourierDemoDevice(SimulatorDevice):
    """A device of `rhopush demo`."""

    simulation = SIMULATION
    description = "a Courier device"
    device_type = "ANDROID"
    push_type = "courier"

    def make_token(self, simulator: Simulator) -> str:
        """A URL at the simulator."""
        return f"{origin_of(simulator)}/parcel/{secrets.token_hex(8)}"


def origin_of(simulator: Simulator) -> str:
    """The origin of the devices' URLs."""
    return f"https://{simulator.hosting.reached_at}:{simulator.port}"
