"""The setting `log_level`, and the order of the levels."""

import json
from pathlib import Path
from typing import get_args

import pytest

from gateway.logs.levels import LogLevel, number_of
from tests.support.gateway import Gateway

LEVELS: tuple[LogLevel, ...] = get_args(LogLevel)


def test_the_levels_are_listed_from_the_least_to_the_most_urgent() -> None:
    assert [number_of(level) for level in LEVELS] == [10, 20, 30, 40]


@pytest.mark.parametrize(
    ("lowest", "writers"),
    [
        ("info", {"supervisor": "info", "worker": "info", "settings": "warning"}),
        ("warning", {"settings": "warning"}),
        ("error", {}),
    ],
)
async def test_a_gateway_writes_no_lines_below_the_level(
    lowest: LogLevel, writers: dict[str, LogLevel], tmp_path: Path
) -> None:
    gateway = Gateway(tmp_path, {"log_level": lowest, "apns": {"background_min_interval_s": 1}})
    try:
        await gateway.start()
        assert await gateway.stop() == 0
    finally:
        await gateway.close()
    lines = [json.loads(line) for line in gateway.log.read_text().splitlines()]
    assert {(line["logger"], line["level"]) for line in lines} >= set(writers.items())
    assert all(number_of(line["level"]) >= number_of(lowest) for line in lines)
