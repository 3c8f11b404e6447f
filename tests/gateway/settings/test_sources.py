"""RhoConnect's sources: which of them push."""

from pathlib import Path

import pytest

from gateway.settings import load
from tests.gateway.settings.test_loading import written


@pytest.mark.parametrize(
    ("beside", "source", "pushes"),
    [
        ("{}", "{push_notify: 'true'}", True),
        ("{}", "{push_notify: 'yes'}", False),
        ("{push_notify_default: 'true'}", "{}", True),
        ("{push_notify: 'true'}", "{}", True),
        ("{push_notify_default: 'true'}", "{push_notify: 'false'}", False),
        ("{push_notify_default: 'true'}", "{push_notify: 'false', force_default: true}", True),
    ],
)
def test_sources_that_push_by_default(tmp_path: Path, beside: str, source: str, pushes: bool) -> None:
    file = written(tmp_path, f":sources: {{A: {source}}}\n:production: {beside}\n")
    assert load(file, "production", {}).sources["A"].push_notify is pushes
