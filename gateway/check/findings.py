"""The findings of `rhopush check`: level, subject and text."""

import enum
from typing import NamedTuple


class Level(enum.Enum):
    """The severity of a finding."""

    GOOD = "good"
    WARNING = "warning"
    BAD = "bad"


class Finding(NamedTuple):
    """One result of a check."""

    level: Level
    subject: str
    text: str
