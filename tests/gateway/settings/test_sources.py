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


def test_sources_below_the_environment_are_a_warning(tmp_path: Path) -> None:
    file = written(tmp_path, ":production:\n  :sources: {A: {push_notify: true}}\n")
    found = load(file, "production", {})
    assert found.sources == {}
    (warning,) = found.warnings
    assert warning.startswith("sources has no effect below production: move it to the top level")
    assert "line 2" in warning
    assert load(written(tmp_path, ":sources: {A: {}}\n:production: {}\n"), "production", {}).warnings == ()
