"""Settings as JSON, with secrets in clear, for the pipe from the supervisor to its own workers only."""

from pathlib import Path
from typing import Any

import msgspec

from gateway.settings.model import Settings
from gateway.system.secret import Secret


def to_json(settings: Settings) -> bytes:
    """Encode all settings, including secrets. Never write the result to a file or a log."""
    return msgspec.json.encode(settings, enc_hook=_encode)


def from_json(data: bytes, kind: type[Settings] = Settings) -> Settings:
    """Decode the result of `to_json`.

    Args:
        data: the JSON.
        kind: the type with the sections of all providers (`with_providers`).
    """
    return msgspec.json.decode(data, type=kind, dec_hook=_decode)


def _encode(value: Any) -> str:
    if isinstance(value, Secret):
        return value.reveal()
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(type(value).__name__)


def _decode(kind: type, value: Any) -> Any:
    return kind(value)
