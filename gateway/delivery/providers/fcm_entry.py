"""The entry of FCM: see `gateway.delivery.provider_entry`."""

from typing import Final

from gateway.delivery.provider_entry import ProviderEntry
from gateway.settings import FcmSettings

ENTRY: Final = ProviderEntry(
    "fcm",
    "gateway.delivery.providers.fcm:PROVIDER",
    FcmSettings,
    ("fcm", "gcm"),  # a GCM registration id is an FCM token: Google kept them valid
    ping_addition="Raw additions to the FCM message.",
    simulation="gateway.simulators.fcm:SIMULATION",
    demo_device="gateway.simulators.fcm:FcmDemoDevice",
)
