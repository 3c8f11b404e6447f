import json
import logging
from pathlib import Path

import pytest

from gateway.logs.levels import LEVELS, LogLevel, levels_from
from tests.support.gateway import Gateway


@pytest.mark.parametrize(
    ("lowest", "written"),
    [
        ("debug", {"debug", "info", "warning", "error"}),
        ("info", {"info", "warning", "error"}),
        ("warning", {"warning", "error"}),
        ("error", {"error"}),
    ],
)
def test_a_level_includes_the_more_urgent_ones(lowest: LogLevel, written: set[LogLevel]) -> None:
    assert levels_from(lowest) == written


def test_the_order_is_that_of_the_standard_library() -> None:
    numbers = [logging.getLevelNamesMapping()[level.upper()] for level in LEVELS]
    assert numbers == sorted(numbers)


@pytest.mark.parametrize("lowest", ["info", "warning"])
async def test_the_supervisor_and_its_workers_write_no_lines_below_the_level(
    lowest: LogLevel, tmp_path: Path
) -> None:
    gateway = Gateway(tmp_path, {"log_level": lowest})
    try:
        await gateway.start()
        assert await gateway.stop() == 0
    finally:
        await gateway.close()
    lines = [json.loads(line) for line in gateway.log.read_text().splitlines()]
    assert {line["level"] for line in lines} <= levels_from(lowest)
    loggers = {line["logger"] for line in lines if line["level"] == "info"}
    assert loggers >= ({"supervisor", "worker"} if lowest == "info" else set())
