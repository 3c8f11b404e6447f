"""Schemas of users, devices and logins."""

from typing import Any, Final

from gateway.http_api.openapi.values import TEXT

DEVICE: Final[dict[str, Any]] = {
    "type": "object",
    "properties": dict.fromkeys(
        (
            "device_type",
            "device_push_type",
            "device_pin",
            "device_port",
            "phone_id",
            "device_app_id",
            "device_app_version",
            "user_id",
        ),
        TEXT,
    ),
}
LOGIN: Final[dict[str, Any]] = {"type": "object", "properties": {"login": TEXT, "password": TEXT}}
USER: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"attributes": {"type": "object", "properties": {"login": TEXT, "password": TEXT}}},
}
