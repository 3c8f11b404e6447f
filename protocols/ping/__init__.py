"""The ping: what it is (`model`), how its parameters are read (`fields`, `additions`) and from what
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
