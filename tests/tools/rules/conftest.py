"""A small tree that keeps the rules about names; a test breaks one."""

from collections.abc import Callable
from pathlib import Path

import pytest

TREE = {
    "gateway/metrics.py": """
def build(registry):
    _counter_family(registry, "pings", "Pings.", "ingress")
    _gauge(registry, "depth", "Depth.", Merge.MAX)
""",
    "gateway/worker.py": """
import structlog

_log = structlog.get_logger("worker")


class Worker:
    def start(self) -> None:
        _log.info("worker_started")
        _log.debug("redis_unavailable")
""",
    "protocols/ping.py": "class Ping:\n    users = ()\n",
    "tests/test_worker.py": "def test_a_door_opens() -> None:\n    told = 1\n    assert told\n",
    "docs/operations.md": """
| metric | labels | meaning | what to do |
| --- | --- | --- | --- |
| `rhopush_pings_total` | `ingress` | pings | nothing |
| `rhopush_depth` | none | pings that wait | add workers |

| event | level | meaning | cause | what to do |
| --- | --- | --- | --- | --- |
| `worker_started` | `info` | a worker runs | a start | nothing |
""",
    "CHANGELOG.md": "The `door` had a `piece`.\n",
}

Tree = Callable[..., Path]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Writes the tree, with these replacements: file, text, new text; a new file has no text."""

    def write(*changes: tuple[str, str, str]) -> Path:
        files = dict(TREE)
        for file, old, new in changes:
            assert old in files.get(file, ""), (file, old)
            files[file] = files[file].replace(old, new) if old else files.get(file, "") + new
        for file, text in files.items():
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file).write_text(text)
        return tmp_path

    return write
