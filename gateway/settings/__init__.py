"""The gateway's settings: one frozen value, built from a file, an environment name and the process environment.

`load` is pure apart from reading that file: it takes the process environment as a mapping and starts nothing. A second
call therefore reloads a changed file; the previous value stays valid until the caller replaces it.
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
from gateway.settings.serialization import from_json, to_json
from gateway.settings.webhooks import WebhookSettings
from gateway.system.secret import Secret

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
    "WebhookSettings",
    "from_json",
    "load",
    "to_json",
    "with_providers",
]
