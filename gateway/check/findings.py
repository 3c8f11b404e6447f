"""What `rhopush check` finds: how much it matters, what it is about, what is so."""

import enum
from typing import NamedTuple


class Level(enum.Enum):
    """How much a finding matters."""

    GOOD = "good"
    WARNING = "warning"
    BAD = "bad"


class Finding(NamedTuple):
    """One thing that was looked at."""

    level: Level
    subject: str
    text: str
