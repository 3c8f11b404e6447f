"""The gateway's settings: one frozen value, made once from a file, an environment name and the process
environment.

`load` is pure apart from reading that one file: it takes the environment as a mapping and starts nothing. A
changed file is therefore read anew simply by calling it again; the old value stays valid until somebody swaps
it.
"""

from gateway.settings.apns import ApnsSettings
from gateway.settings.fcm import FcmSettings
from gateway.settings.loading import DEFAULT_PATH, load
from gateway.settings.model import (
    RHOCONNECT_PUSH_PORT,
    App,
    AuthSettings,
    EventSettings,
    HttpSettings,
    LimitSettings,
    MetricsSettings,
    PingSettings,
    QueueSettings,
    ReceiptSettings,
    ResqueSettings,
    RetrySettings,
    RhoConnectPushSettings,
    Settings,
    Source,
    with_providers,
)
from gateway.settings.provider_settings import ProviderSettings
from gateway.settings.secret import Secret
from gateway.settings.serialization import from_json, to_json

__all__ = [
    "DEFAULT_PATH",
    "RHOCONNECT_PUSH_PORT",
    "ApnsSettings",
    "App",
    "AuthSettings",
    "EventSettings",
    "FcmSettings",
    "HttpSettings",
    "LimitSettings",
    "MetricsSettings",
    "PingSettings",
    "ProviderSettings",
    "QueueSettings",
    "ReceiptSettings",
    "ResqueSettings",
    "RetrySettings",
    "RhoConnectPushSettings",
    "Secret",
    "Settings",
    "Source",
    "from_json",
    "load",
    "to_json",
    "with_providers",
]
