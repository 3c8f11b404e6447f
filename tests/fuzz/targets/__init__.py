"""The table of targets. A further one is a line in one of these modules."""

from typing import Final

from tests.fuzz.target import Target
from tests.fuzz.targets import (
    connections,
    console,
    credentials,
    kept,
    pings,
    provider_responses,
    request_heads,
    requests,
    rhoconnect_push,
    servers,
    settings,
    stored_values,
)

TARGETS: Final[tuple[Target, ...]] = (
    *request_heads.TARGETS,
    *requests.TARGETS,
    *pings.TARGETS,
    *rhoconnect_push.TARGETS,
    *provider_responses.TARGETS,
    *connections.TARGETS,
    *credentials.TARGETS,
    *settings.TARGETS,
    *stored_values.TARGETS,
    *kept.TARGETS,
    *servers.TARGETS,
    *console.TARGETS,
)
