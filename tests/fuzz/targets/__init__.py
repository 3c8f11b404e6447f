"""The table of targets. A further one is a line in one of these modules."""

from typing import Final

from tests.fuzz.target import Target
from tests.fuzz.targets import (
    answers,
    connections,
    credentials,
    heads,
    kept,
    pings,
    requests,
    rps,
    servers,
    settings,
    stored,
)

TARGETS: Final[tuple[Target, ...]] = (
    *heads.TARGETS,
    *requests.TARGETS,
    *pings.TARGETS,
    *rps.TARGETS,
    *answers.TARGETS,
    *connections.TARGETS,
    *credentials.TARGETS,
    *settings.TARGETS,
    *stored.TARGETS,
    *kept.TARGETS,
    *servers.TARGETS,
)
