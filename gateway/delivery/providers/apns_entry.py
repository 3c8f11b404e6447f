"""The entry of APNs: see `gateway.delivery.provider_entry`."""

from typing import Final

from gateway.delivery.provider_entry import ProviderEntry
from gateway.settings import ApnsSettings

ENTRY: Final = ProviderEntry(
    "apns",
    "gateway.delivery.providers.apns:PROVIDER",
    ApnsSettings,
    ("apple", "iphone"),  # "iphone" is RhoConnect's deprecated alias (contract §2.1)
    "Raw additions to the APNs payload.",
    "gateway.simulators.apns:SIMULATION",
)
