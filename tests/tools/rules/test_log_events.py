"""Log events are literals in snake_case: noun phrases and participles."""

from pathlib import Path

import pytest
from rules.log_events import badly_named_events, borrowed_log_methods, event_fault
from rules.source import sources

from tests.tools.rules.conftest import Tree

WORKER = "gateway/worker.py"


def found(root: Path) -> list[str]:
    read = list(sources(root))
    return [str(breach) for rule in (badly_named_events, borrowed_log_methods) for breach in rule(read)]


@pytest.mark.parametrize(
    "event",
    [
        *(
            "Worker_started",
            "workerStarted",
            "worker started",
            "worker-started",
            "_started",
            "worker__started",
            "",
        ),
        *("no_worker", "not_started", "cannot_start"),
        *("settings_need_restart", "certificate_expires", "worker_start", "worker"),
    ],
)
def test_a_bad_name_is_found(event: str, tree: Tree) -> None:
    assert event_fault(event) is not None
    (breach,) = found(tree((WORKER, '"worker_started"', repr(event))))
    assert breach.startswith(f"{WORKER}:9: log event {event!r}: ")


@pytest.mark.parametrize("event", ["lane_down", "redis_connection_lost", "settings_reloaded", "worker_ready"])
def test_a_good_name_is_left_alone(event: str) -> None:
    assert event_fault(event) is None


@pytest.mark.parametrize(
    ("argument", "fault"),
    [
        ("event", "the event of a log line is a literal"),
        ("f'worker_{number}_started'", "the event of a log line is a literal"),
        ("'worker_started' if first else event", "the event of a log line is a literal"),
        ("", "the event of a log line is a literal"),
        ("'worker_started' if first else 'again'", "log event 'again': ends with"),
    ],
)
def test_each_event_is_a_literal(argument: str, fault: str, tree: Tree) -> None:
    (breach,) = found(tree((WORKER, '"worker_started"', argument)))
    assert breach.startswith(f"{WORKER}:9: {fault}")


@pytest.mark.parametrize(
    "text",
    [
        "structlog.get_logger('x').warning('Bad')\n",
        "mine = structlog.get_logger('x')\nmine.error('Bad')\n",
        "def f(log):\n    log.exception('Bad')\n",
        "class A:\n    def f(self):\n        self._log.info('Bad')\n",
        "def f(self):\n    self.writer = PlainLog('x')\n    self.writer.info('Bad')\n",
    ],
)
def test_every_kind_of_logger_is_seen(text: str, tree: Tree) -> None:
    assert len(found(tree(("gateway/other.py", "", text)))) == 1


def test_a_line_that_no_logger_writes_is_seen(tree: Tree) -> None:
    text = 'line("logs", "warning", "Bad", {})\nline(logger, level, event, {})\n'
    assert len(found(tree(("gateway/logs/plain.py", "", text)))) == 1
    assert found(tree(("gateway/other.py", "", text.replace("Bad", "lines_dropped")))) != []


def test_a_method_of_a_logger_is_called_where_it_is_named(tree: Tree) -> None:
    root = tree((WORKER, "_log.debug(", "write = _log.debug\n        write("))
    assert found(root) == [f"{WORKER}:10: call _log.debug where it is named"]


def test_what_only_looks_like_a_logger_is_left_alone(tree: Tree) -> None:
    assert (
        found(tree(("gateway/other.py", "", "redis.info('Keyspace')\nconvert.error(path, 'wrong')\n"))) == []
    )
