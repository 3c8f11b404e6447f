"""The table of targets. A further one is a line in one of these modules."""

from typing import Final

from tests.fuzz.target import Target
from tests.fuzz.targets import answers, credentials, heads, pings, rps, servers, settings, stored

TARGETS: Final[tuple[Target, ...]] = (
    *heads.TARGETS,
    *pings.TARGETS,
    *rps.TARGETS,
    *answers.TARGETS,
    *credentials.TARGETS,
    *settings.TARGETS,
    *stored.TARGETS,
    *servers.TARGETS,
)
