"""The page docs/operations.md and the code have the same metrics and log events."""

from pathlib import Path

import pytest
from rules.operations_page import PAGE, undocumented_names, unknown_metrics
from rules.source import documents, sources

from tests.tools.rules.conftest import Tree

METRICS, WORKER = "gateway/metrics.py", "gateway/worker.py"


def found(root: Path) -> list[str]:
    read, pages = list(sources(root)), list(documents(root))
    return [str(one) for rule in (undocumented_names, unknown_metrics) for one in rule(read, pages)]


def test_a_tree_that_agrees_has_no_breach(tree: Tree) -> None:
    assert found(tree()) == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (
            (METRICS, "", '    _gauge(registry, "age", "Age.", Merge.MAX)\n'),
            f"{METRICS}:5: the metric rhopush_age has no row in {PAGE}",
        ),
        (
            (METRICS, '    _gauge(registry, "depth", "Depth.", Merge.MAX)\n', ""),
            f"{PAGE}:5: the code has no metric rhopush_depth",
        ),
        (
            (METRICS, '"ingress"', '"ingress", "app"'),
            f"{PAGE}:4: rhopush_pings_total: the code has the labels",
        ),
        ((METRICS, ', "ingress"', ""), f"{PAGE}:4: rhopush_pings_total: the code has the labels"),
        (
            (PAGE, "| nothing |\n| `rhopush_d", "| |\n| `rhopush_d"),
            f"{PAGE}:4: rhopush_pings_total: fill the 4 cells",
        ),
        ((PAGE, "| none | pings that wait", "| none"), f"{PAGE}:5: rhopush_depth: fill the 4 cells"),
        (
            (WORKER, '"worker_started"', '"worker_ended"'),
            f"{WORKER}:9: the event worker_ended has no row in {PAGE}",
        ),
        ((WORKER, "_log.info", "_log.warning"), f"{PAGE}:9: worker_started: the code has the level warning"),
        (
            (WORKER, '_log.debug("redis_unavailable")', '_log.exception("worker_started")'),
            f"{PAGE}:9: worker_started: the code has the level info, error",
        ),
        (
            (PAGE, "", "| `worker_started` | `info` | again | again | again |\n"),
            f"{PAGE}:10: worker_started has a row above",
        ),
        (
            (PAGE, "", "| `redis_unavailable` | `debug` | for developers | a | b |\n"),
            f"{PAGE}:10: the code has no event redis_unavailable",
        ),
        (
            ("docs/other.md", "", "`rhopush_lost_total`\n"),
            "docs/other.md:1: the code has no metric rhopush_lost",
        ),
    ],
)
def test_a_difference_is_found(change: tuple[str, str, str], fault: str, tree: Tree) -> None:
    assert any(breach.startswith(fault) for breach in found(tree(change))), found(tree(change))


def test_without_the_page_everything_lacks_a_row(tree: Tree) -> None:
    root = tree()
    (root / PAGE).unlink()
    assert len(found(root)) == 3


def test_samples_of_a_histogram_and_other_tables_are_left_alone(tree: Tree) -> None:
    text = "| metric | unit |\n| --- | --- |\n| `depth` | pings |\n\n`rhopush_depth_bucket`, `rhopush_depth_count`\n"
    assert found(tree(("docs/other.md", "", text))) == []
