"""The levels of log lines, from the least to the most urgent."""

from typing import Final, Literal, TypeAlias, get_args

LogLevel: TypeAlias = Literal["debug", "info", "warning", "error"]
LEVELS: Final[tuple[LogLevel, ...]] = get_args(LogLevel)


def levels_from(lowest: LogLevel) -> frozenset[LogLevel]:
    """Return this level and the more urgent ones."""
    return frozenset(LEVELS[LEVELS.index(lowest) :])
