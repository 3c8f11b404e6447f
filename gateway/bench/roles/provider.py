"""The providers: accept-all simulators of APNs and FCM, in one process.

There are two simulators of APNs: one for all senders, and one that returns apns-id, which aioapns requires. Requests
are neither judged nor recorded; responses are counted.
"""

from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import uvloop

from gateway.bench.roles import order_lines, result
from gateway.simulators import ApnsSimulator, Authority, FcmSimulator, Hosting
from gateway.simulators.apns import SIMULATION as APNS
from gateway.simulators.client_files import TOPIC, write_client_files
from gateway.simulators.fcm import SIMULATION as FCM


class ProviderOrder(msgspec.Struct):
    """The first order: the folder for keys and settings. Any later line requests the counts."""

    folder: str


class ProviderFacts(msgspec.Struct):
    """The data that senders need.

    Attributes:
        settings: a settings file for the gateway.
        ca_file: the certificate authority to trust.
        key_file, key_id, team_id: a signing key.
        topic: topic of the app.
        apns_port, echo_port: APNs, and APNs that returns apns-id.
        fcm_port, fcm_plain_port, project_id: FCM with TLS and without.
    """

    settings: str
    ca_file: str
    key_file: str
    key_id: str
    team_id: str
    topic: str
    apns_port: int
    echo_port: int
    fcm_port: int
    fcm_plain_port: int
    project_id: str


class ProviderCounts(msgspec.Struct):
    """Requests answered since the start."""

    apns: int
    echo: int
    fcm: int


async def _provide() -> None:
    lines = await order_lines()
    order = msgspec.json.decode(await lines.readline(), type=ProviderOrder)
    authority = Authority()
    async with AsyncExitStack() as stack:
        hosting = Hosting(authority=authority, accept_all=True)
        apns = await stack.enter_async_context(ApnsSimulator(hosting=hosting))
        echo = await stack.enter_async_context(
            ApnsSimulator(hosting=Hosting(authority=authority, accept_all=True, echo_ids=True))
        )
        fcm = await stack.enter_async_context(FcmSimulator(hosting=hosting))
        folder = Path(order.folder)
        settings = write_client_files(
            folder, {"apns": APNS.client_files(apns, TOPIC), "fcm": FCM.client_files(fcm, TOPIC)}
        )
        key = apns.signing_key
        result(
            ProviderFacts(
                settings=str(settings),
                ca_file=str(folder / "apns-ca.pem"),
                key_file=str(folder / f"AuthKey_{key.key_id}.p8"),
                key_id=key.key_id,
                team_id=key.team_id,
                topic=TOPIC,
                apns_port=apns.port,
                echo_port=echo.port,
                fcm_port=fcm.port,
                fcm_plain_port=fcm.plain_port,
                project_id=fcm.project_id,
            )
        )
        while await lines.readline():
            result(ProviderCounts(apns.answered, echo.answered, fcm.answered))


if __name__ == "__main__":
    uvloop.run(_provide())
