"""No log line contains a secret, and no name of a field hides a value that is none."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.logs.redaction import MASK, redact, scrub
from gateway.settings import Secret

APNS_TOKEN = "0123456789abcdef" * 4
FCM_TOKEN = "cUx3:APA91b" + "AbC-_" * 30
JWT = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJURUFNIn0.c2lnbmF0dXJl"
PEM = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMG\n-----END PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("password", "hush", MASK),
        ("certificate_passphrase", "hush", MASK),
        ("authorization", "anything", MASK),
        ("api_key", "hush", MASK),
        ("key", "hush", MASK),
        ("private_key_pem", "hush", MASK),
        ("session_cookie", "hush", MASK),
        ("token", APNS_TOKEN, "01234567…"),
        ("device_pin", "abcdefghij", "abcdefgh…"),
        ("api_token", "short", MASK),
        ("token", "short", "short"),
        ("key_id", "ABC123DEFG", "ABC123DEFG"),
        ("ping_id", "0123456789abcdef" * 2, "0123456789abcdef" * 2),
        ("lane", "apns", "apns"),
        ("count", 7, 7),
        ("ready", True, True),
        ("nothing", None, None),
        ("tokens", [APNS_TOKEN, FCM_TOKEN], ["01234567…", "cUx3:APA…"]),
        ("outer", {"password": "hush", "plain": 1}, {"password": MASK, "plain": 1}),
        ("setting", Secret("hush"), "Secret(***)"),
    ],
)
def test_a_field_is_safe_by_its_name(name: str, value: Any, shown: Any) -> None:
    assert redact({name: value}) == {name: shown}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"device {APNS_TOKEN} is gone", "device 01234567… is gone"),
        (f"POST /3/device/{APNS_TOKEN.upper()}", "POST /3/device/01234567…"),
        (f"to {FCM_TOKEN}!", "to cUx3:APA…!"),
        ("redis://:hush@db:6379/0", f"redis://{MASK}@db:6379/0"),
        ("http://app:hush@push:8675/", f"http://{MASK}@push:8675/"),
        (f"sent authorization: bearer {JWT}", f"sent authorization: bearer {MASK}"),
        ("Basic YXBwOmh1c2g=", f"Basic {MASK}"),
        (f"assertion={JWT}", f"assertion={MASK}"),
        (f"read {PEM} from", f"read {MASK} from"),
        ("-----BEGIN EC PRIVATE KEY-----\ncut off", MASK),
        ("secret whsec_MfKQ9r8GKYqrTwjU, next", f"secret {MASK}, next"),
        (f"token rhp_{'q0Vb1m3cXv2_' * 3}-1234567: no", f"token {MASK}: no"),
        ("nothing of that kind: deadbeef 12345678", "nothing of that kind: deadbeef 12345678"),
    ],
)
def test_secrets_are_recognised_by_their_form(text: str, shown: str) -> None:
    assert scrub(text) == shown


def logged_fields() -> Iterator[tuple[str, str]]:
    """The place and the name of each field that the gateway logs."""
    for file in sorted((Path(__file__).parents[3] / "gateway").rglob("*.py")):
        for call in ast.walk(ast.parse(file.read_text())):
            if isinstance(call, ast.Call) and ast.unparse(call.func).startswith(("_log.", "self._log.")):
                for field in call.keywords:
                    yield f"{file.name}:{call.lineno}", field.arg or ""


def test_no_field_of_the_gateway_is_hidden_by_its_name() -> None:
    """A value that no operator may see is not logged at all."""
    fields = list(logged_fields())
    assert ("store.py", "entries") in {(place.partition(":")[0], name) for place, name in fields}
    assert [(place, name) for place, name in fields if redact({name: "shown"}) != {name: "shown"}] == []
