"""The order of the tests under pytest-xdist: no worker is to end with a long test while the others have none left.

pytest-xdist gives each worker one stretch of the tests, all of the same number, and an idle worker takes the end of
another's stretch.
"""

from collections.abc import Sequence
from typing import Final

LONG_FILES: Final = (
    "tests/faults/test_attacks.py",
    "tests/faults/test_kill.py",
    "tests/gateway/bench/scenarios/test_small_runs.py",
    "tests/browser/test_console.py",
    "tests/faults/test_clocks.py",
    "tests/gateway/bench/optional/test_settings_parts.py",
    "tests/faults/test_webhooks.py",
    "tests/faults/test_memory.py",
    "tests/faults/test_cancel.py",
    "tests/gateway/http_api/openapi/test_document_schemathesis.py",
    "tests/faults/test_schedule.py",
    "tests/faults/test_observers.py",
    "tests/fuzz/test_targets.py",
    "tests/tools/test_screenshots.py",
    "tests/clients/test_generated_clients.py",
    "tests/faults/test_resque.py",
    "tests/faults/test_everybody.py",
    "tests/faults/test_providers.py",
    "tests/faults/test_store.py",
    "tests/protocols/test_json_syntax.py",
    "tests/faults/test_events.py",
    "tests/gateway/bench/optional/test_running_parts.py",
    "tests/test_deploy_prometheus.py",
    "tests/gateway/server/test_supervisor.py",
    "tests/faults/test_bulk.py",
    "tests/gateway/server/test_reload_under_load.py",
    "tests/gateway/rhoconnect_push/test_service_device_flows.py",
    "tests/test_provider_package.py",
    "tests/browser/test_bench_report.py",
    "tests/gateway/cli/test_bench.py",
    "tests/gateway/server/test_redis_permissions.py",
    "tests/gateway/bench/test_gateway.py",
    "tests/fuzz/test_harness.py",
    "tests/gateway/cli/test_check.py",
    "tests/gateway/cli/test_serve.py",
    "tests/gateway/cli/test_demo.py",
    "tests/test_distribution.py",
)
"""Files with long tests, the longest first."""


def order(files: Sequence[str], workers: int) -> list[int]:
    """Return the positions of the tests in the order in which they are to run.

    The stretches of all workers but one begin with long files. The last worker has short tests alone, because long
    ones start many processes.

    Args:
        files: the file of each test, relative to the repository.
        workers: number of workers.
    """
    positions: dict[str, list[int]] = {}
    for position, file in enumerate(files):
        positions.setdefault(file if file in LONG_FILES else "", []).append(position)
    short = positions.pop("", [])
    first: list[list[int]] = [[] for _ in range(workers)]
    for number, file in enumerate(file for file in LONG_FILES if file in positions):
        first[number % max(1, workers - 1)] += positions[file]
    found: list[int] = []
    for worker, long in enumerate(first):
        end = len(files) * (worker + 1) // workers
        count = max(0, end - len(found) - len(long))
        found += [*long, *short[:count]]
        del short[:count]
    return found + short
