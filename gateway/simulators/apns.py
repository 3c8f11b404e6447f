"""Simulated APNs."""

import asyncio
import secrets
import ssl
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cryptography import x509

from gateway.simulators.authority import ClientCertificate
from gateway.simulators.base import Hosting, Simulator
from gateway.simulators.connection import SimulatedSession
from gateway.simulators.demo_device import SimulatorDevice
from gateway.simulators.keys import TeamKey, make_team_key
from gateway.simulators.simulation import ClientFiles, Simulation
from protocols.apns.credentials import topics_of
from protocols.apns.simulator import ANSWERS, ApnsOptions, ApnsRules
from protocols.simulation.faults import FaultTable


class ApnsSimulator(Simulator):
    """APNs on a TLS port, with a team's signing key that it accepts.

    Args:
        options: its behaviour, scripted faults included.
        hosting: where it listens and what it records.
        signing_key: the team's key; None: a new one. Apple's two environments accept the same keys.

    Attributes:
        signing_key: the key with which a provider signs its tokens.
        rules: the rules of the simulated server.
    """

    def __init__(
        self,
        options: ApnsOptions | None = None,
        hosting: Hosting | None = None,
        signing_key: TeamKey | None = None,
    ) -> None:
        super().__init__(hosting)
        self.signing_key: TeamKey = make_team_key() if signing_key is None else signing_key
        self.rules = ApnsRules([self.signing_key.signing], lambda: str(uuid.uuid4()), options)

    @property
    def faults(self) -> FaultTable:
        """The scripted faults; they may change at any time."""
        return self.rules.faults

    @property
    def streams(self) -> int:
        """SETTINGS_MAX_CONCURRENT_STREAMS of an authenticated connection."""
        return self.rules.options.streams

    @property
    def key_file(self) -> Path:
        """Write `signing_key` to a file of the form that Apple provides."""
        return self.write(f"AuthKey_{self.signing_key.key_id}.p8", self.signing_key.pem)

    def client_certificate(self, topics: Sequence[str]) -> ClientCertificate:
        """Make a provider certificate that this simulator accepts."""
        return self.authority.client_certificate(topics)

    def open_session(self, transport: asyncio.Transport) -> SimulatedSession:
        """Start the rules for a new connection, with the topics of its client certificate."""
        tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        shown = tls.getpeercert(binary_form=True) if tls is not None else None
        topics = topics_of(x509.load_der_x509_certificate(shown)) if shown is not None else None
        return self.rules.session(topics)


class ApnsSimulation(Simulation):
    """APNs for `rhopush simulate`."""

    title = "APNs"
    answers = ANSWERS

    def make(self, faults: Sequence[str], hosting: Hosting, project: str) -> ApnsSimulator:
        """A simulator with a key of its own."""
        return ApnsSimulator(ApnsOptions(faults=faults), hosting)

    def client_files(self, simulator: ApnsSimulator, topic: str) -> ClientFiles:
        """The key, a certificate that may be used instead, and the authority."""
        key = simulator.signing_key
        files = {
            "apns-ca.pem": simulator.ca_pem,
            f"AuthKey_{key.key_id}.p8": key.pem,
            "push-certificate.pem": simulator.client_certificate([topic]).pem,
        }
        section = {
            "key_file": f"AuthKey_{key.key_id}.p8",
            "key_id": key.key_id,
            "team_id": key.team_id,
            "topic": topic,
            "host": simulator.hosting.reached_at,
            "port": simulator.port,
            "ca_file": "apns-ca.pem",
        }
        return ClientFiles(files, section)


SIMULATION: Final = ApnsSimulation()


class ApnsDemoDevice(SimulatorDevice):
    """A device of `rhopush demo`."""

    simulation = SIMULATION
    description = "an Apple device"
    device_type = "Apple"
    push_type = "apple"

    def make_token(self, simulator: Simulator) -> str:
        """A random token."""
        return secrets.token_hex(32)
