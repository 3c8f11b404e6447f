"""Signatures of the Standard Webhooks specification, version 1 (https://www.standardwebhooks.com, "Signature scheme").

The signed text is `webhook-id`, `webhook-timestamp` and the body, joined by dots. The signature is the base64 text of
its HMAC-SHA256, after `v1,`. While a secret is rotated, a message has the signatures of both secrets.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

from protocols.errors import InvalidCredential

PREFIX: Final = "whsec_"
"""The beginning of a secret."""
KEY_BYTES: Final = (24, 64)
"""Least and greatest length of a key (Standard Webhooks, "Signature scheme": between 24 and 64 bytes)."""
SECRETS_MAX: Final = 2
"""Most secrets of an endpoint: the present one, and the one that replaces it or was replaced by it."""


def key_of(secret: str) -> bytes:
    """Return the key in a secret.

    Raises:
        InvalidCredential: the text is no secret. The error does not contain it.
    """
    least, most = KEY_BYTES
    if not secret.startswith(PREFIX):
        raise InvalidCredential(f"expected {PREFIX} and {least} to {most} bytes as base64")
    try:
        key = base64.b64decode(secret[len(PREFIX) :], validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidCredential(f"the text after {PREFIX} is not base64") from error
    if not least <= len(key) <= most:
        raise InvalidCredential(f"the key must have {least} to {most} bytes, not {len(key)}")
    return key


def headers(keys: Sequence[bytes], message_id: str, now_s: int, body: bytes) -> dict[str, str]:
    """Return the three headers of a message.

    Args:
        keys: the keys (see `key_of`); none: the message is not signed.
        message_id: the `webhook-id`.
        now_s: epoch seconds of this attempt.
        body: the body as it is sent.
    """
    signed = f"{message_id}.{now_s}.".encode() + body
    found = {"webhook-id": message_id, "webhook-timestamp": str(now_s)}
    if keys:
        found["webhook-signature"] = " ".join(_signature(key, signed) for key in keys)
    return found


def _signature(key: bytes, signed: bytes) -> str:
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
