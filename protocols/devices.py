"""A device as the registry knows it."""

import msgspec


class Device(msgspec.Struct, frozen=True, array_like=True):
    """One registered client of a user (contract §7, keys `client:ID:*`). Absent and empty fields are both "".

    Attributes:
        client_id: usually 32 hex digits.
        device_type: platform ("Apple", "ANDROID"); "" means not registered for push.
        push_type: "apple", "iphone", "fcm", "gcm", "rhoconnect_push"; "" means: the platform decides.
        pin: the provider's device token.
        phone_id: same phone, many clients; "" if unknown.
        app_id: `device_app_id`, the app on the phone; "" if unknown.
        last_sync_ms: epoch milliseconds of the last sync; 0: never.
    """

    client_id: str
    device_type: str = ""
    push_type: str = ""
    pin: str = ""
    phone_id: str = ""
    app_id: str = ""
    last_sync_ms: int = 0
