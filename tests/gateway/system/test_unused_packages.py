"""Optional packages that libraries must not import."""

import importlib
import sys

import pytest

from gateway.system.unused_packages import UNUSED, unused_packages_hidden


@pytest.fixture
def unloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the packages from the imported modules, to get the state of a new process."""
    for name in [*sys.modules]:
        if name.partition(".")[0] in UNUSED:
            monkeypatch.delitem(sys.modules, name)


@pytest.mark.parametrize("name", UNUSED)
def test_they_cannot_be_imported_inside_and_can_be_imported_afterwards(unloaded: None, name: str) -> None:
    with unused_packages_hidden(), pytest.raises(ModuleNotFoundError):
        importlib.import_module(name)
    assert importlib.import_module(name).__name__ == name


def test_they_are_found_again_after_an_error(unloaded: None) -> None:
    with pytest.raises(RuntimeError), unused_packages_hidden():
        raise RuntimeError
    assert not set(UNUSED) & sys.modules.keys()


def test_a_package_that_is_imported_already_stays(unloaded: None) -> None:
    rich = importlib.import_module("rich")
    with unused_packages_hidden():
        assert importlib.import_module("rich") is rich
    assert sys.modules["rich"] is rich
