"""Settings on their way from the supervisor to its workers."""

from pathlib import Path
from typing import Any

from gateway.settings import Secret, Settings, from_json, to_json
from tests.gateway.settings.test_loading import loaded


def secrets_of(settings: Settings) -> dict[str, Any]:
    return {"redis": settings.redis, "key": settings.apns.key, "account": settings.fcm.credentials}


def test_no_repr_shows_a_secret_and_the_handover_keeps_them(tmp_path: Path) -> None:
    settings = loaded(
        tmp_path,
        """
        apns: {key: hush-key, key_id: A, team_id: B}
        fcm: {credentials: hush-account}
        apps: {com.x: {apns: {certificate_file: x.pem, certificate_passphrase: hush-phrase}}}
        """,
        {"REDIS": "redis://:hush-redis@db", "API_TOKEN": "hush-token", "PSWRD": "hush-password"},
    )
    assert "hush" not in f"{settings!r} {settings} {settings.apps!r}"
    assert "Secret(***)" in repr(settings)
    received = from_json(to_json(settings))
    assert received == settings
    assert secrets_of(received) == secrets_of(settings)
    assert received.app("com.x").apns.certificate_passphrase == Secret("hush-phrase")
