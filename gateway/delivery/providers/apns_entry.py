"""The entry of APNs: see `gateway.delivery.provider_entry`."""

from typing import Final

from gateway.delivery.provider_entry import ProviderEntry
from gateway.settings import ApnsSettings

ENTRY: Final = ProviderEntry(
    "apns",
    "gateway.delivery.providers.apns:PROVIDER",
    ApnsSettings,
    ("apple", "iphone"),  # "iphone" is RhoConnect's deprecated alias (contract §2.1)
    ping_addition="Raw additions to the APNs payload.",
    simulation="gateway.simulators.apns:SIMULATION",
    demo_device="gateway.simulators.apns:ApnsDemoDevice",
)
