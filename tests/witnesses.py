"""Independent senders pointed at a simulator: aioapns and pyfcm, as they are, through what they let one set.

aioapns takes host and port from its protocol class, pyfcm the base address from its client class; both are
subclassed. Nothing of them is patched.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aioapns import APNs
from aioapns.connection import APNsTLSClientProtocol
from google.oauth2 import service_account
from pyfcm import FCMNotification
from requests.adapters import HTTPAdapter

from gateway.simulators import ApnsSimulator, ClientCertificate, FcmSimulator

TOPIC = "com.example.app"
SCOPE = "https://www.googleapis.com/auth/firebase.messaging"


@asynccontextmanager
async def aioapns_by_key(simulator: ApnsSimulator, connections: int = 1) -> AsyncIterator[APNs]:
    """aioapns with the simulator's signing key."""
    key = simulator.signing_key
    apns = APNs(
        key=key.pem.decode(),
        key_id=key.key_id,
        team_id=key.team_id,
        topic=TOPIC,
        max_connections=connections,
        ssl_context=simulator.authority.client_context(protocols=()),
    )
    async with _pointed(apns, simulator):
        yield apns


@asynccontextmanager
async def aioapns_by_certificate(
    simulator: ApnsSimulator, certificate: ClientCertificate
) -> AsyncIterator[APNs]:
    """aioapns with a provider certificate; the topic is said, since reading it there warns of old OpenSSL."""
    path = simulator.write("witness.pem", certificate.pem)
    context = simulator.authority.client_context(protocols=())
    apns = APNs(client_cert=str(path), topic=certificate.topics[0], max_connections=1, ssl_context=context)
    async with _pointed(apns, simulator):
        yield apns


@asynccontextmanager
async def _pointed(apns: APNs, simulator: ApnsSimulator) -> AsyncIterator[None]:
    class Pointed(APNsTLSClientProtocol):
        APNS_SERVER = "127.0.0.1"
        APNS_PORT = simulator.port

    apns.pool.protocol_class = Pointed
    try:
        yield
    finally:
        apns.pool.close()
        while apns.pool.connections:  # each leaves the list when its connection is lost
            await asyncio.sleep(0)


class _Adapter(HTTPAdapter):
    """A session of `requests` over TLS that trusts the simulator's authority."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__()

    def init_poolmanager(self, *args: Any, **options: Any) -> Any:
        return super().init_poolmanager(*args, ssl_context=self._context, **options)


class Pyfcm:
    """pyfcm pointed at the simulator: HTTP/1.1 over TLS; its tokens come through google-auth."""

    def __init__(self, simulator: FcmSimulator) -> None:
        account = simulator.make_account(simulator.project_id, plain=True)
        endpoint = f"{simulator.endpoint}/v1/projects"

        class Pointed(FCMNotification):
            FCM_END_POINT_BASE = endpoint

        self.client = Pointed(
            credentials=service_account.Credentials.from_service_account_info(account.info, scopes=[SCOPE]),
            adapter=_Adapter(simulator.authority.client_context(("http/1.1",))),
        )

    async def notify(self, **message: Any) -> Any:
        """Send one message; pyfcm blocks, so it has a thread. Raises what pyfcm raises."""
        return await asyncio.to_thread(self._notify, message)

    def _notify(self, message: dict[str, Any]) -> Any:
        try:
            return self.client.notify(**message)
        finally:
            self.client.requests_session.close()
