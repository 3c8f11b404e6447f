"""The levels of log lines."""

import logging
from typing import Literal, TypeAlias

LogLevel: TypeAlias = Literal["debug", "info", "warning", "error"]


def number_of(level: LogLevel) -> int:
    """Return the standard library's number of a level: more urgent levels have higher numbers."""
    return logging.getLevelNamesMapping()[level.upper()]
