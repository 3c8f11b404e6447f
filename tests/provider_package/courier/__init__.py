"""Courier: an example of a push provider outside the gateway's own package.

A device's push token is the URL that its messages are posted to, as in Web Push: each device may have another server.
This module has what the gateway needs before it sends anything; `courier.provider` sends, `courier.additions` has the
rule of the ping's parameter `courier`, and `courier.simulator` is for `rhopush simulate` and `rhopush demo`.
"""

from pathlib import Path
from typing import Annotated, ClassVar

from msgspec import Meta

from gateway.delivery.provider_entry import ProviderEntry
from gateway.settings import ProviderSettings, Secret


class CourierSettings(ProviderSettings, frozen=True):
    """The section `courier`.

    Attributes:
        account: the sender's account.
        token: the account's token; token_file: the file that holds it. At most one of the two.
        origins: origins that devices' tokens may lead to, `https://host:port`.
        ca_file: PEM of authorities to trust instead of the system's.
        deadline_s: how long one request may wait for its answer before it counts as unknown.
        connections_max: most connections to one origin.
    """

    credential_fields: ClassVar[tuple[str, ...]] = ("token", "token_file")
    secret_files: ClassVar[tuple[str, ...]] = ("token_file",)

    account: str = "courier"
    token: Secret | None = None
    token_file: Path | None = None
    origins: tuple[str, ...] = ()
    ca_file: Path | None = None
    deadline_s: Annotated[float, Meta(gt=0)] = 15.0
    connections_max: Annotated[int, Meta(ge=1)] = 2


ENTRY = ProviderEntry(
    name="courier",
    provider="courier.provider:PROVIDER",
    settings_type=CourierSettings,
    device_types=("courier",),
    ping_addition="Raw additions to Courier's message. `url` cannot be set.",
    addition_rule="courier.additions:additions",
    simulation="courier.simulator:SIMULATION",
    demo_device="courier.simulator:CourierDemoDevice",
)
