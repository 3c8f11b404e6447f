"""The ping: its type (`model`), the rules of its parameters (`fields`, `address`, `overrides`) and their parsing
(`parse`)."""

from protocols.ping.model import ALL_SOURCES, Ping
from protocols.ping.parse import (
    Submission,
    from_form,
    from_json,
    from_json_and_query,
    from_params,
    json_in_steps,
)

__all__ = [
    "ALL_SOURCES",
    "Ping",
    "Submission",
    "from_form",
    "from_json",
    "from_json_and_query",
    "from_params",
    "json_in_steps",
]
