"""Settings with which a gateway sends to the simulators."""

from typing import Any

from gateway.simulators import ApnsSimulator, FcmSimulator

TOPIC = "com.example.app"


def provider_settings(apns: ApnsSimulator, fcm: FcmSimulator, **more: Any) -> dict[str, Any]:
    """The `:gateway:` part: both providers by key, and the test's own settings."""
    to_apns = {
        "key_file": str(apns.key_file),
        "key_id": apns.signing_key.key_id,
        "team_id": apns.signing_key.team_id,
        "topic": TOPIC,
        "host": "127.0.0.1",
        "port": apns.port,
        "ca_file": str(apns.ca_file),
    }
    to_fcm = {
        "credentials_file": str(fcm.credentials_file),
        "project_id": fcm.project_id,
        "package_name": TOPIC,
        "endpoint": fcm.endpoint,
        "ca_file": str(fcm.ca_file),
    }
    return {"apns": to_apns, "fcm": to_fcm, **more}
