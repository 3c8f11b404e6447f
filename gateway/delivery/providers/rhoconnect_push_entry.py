"""The entry of RhoConnect Push: see `gateway.delivery.provider_entry`."""

from typing import Final

from gateway.delivery.provider_entry import ProviderEntry

ENTRY: Final = ProviderEntry(
    "rhoconnect_push",
    "gateway.delivery.providers.rhoconnect_push:PROVIDER",
    device_types=("rhoconnect_push", "rhoconnect"),  # the second is the name in old clients (contract §3)
    demo_device="gateway.simulators.rhoconnect_push_demo:RhoConnectPushDemoDevice",
)
