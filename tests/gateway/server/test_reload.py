"""Detection of changed files, check by check, with a clock under control."""

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.server.reload import STABLE_S, SettingsReloader
from gateway.settings import Settings, load, loading

GOOD = "development: {gateway: {drain_s: %d, apns: {ca_file: ca.pem}}}"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "settings.yml").write_text(GOOD % 1)
    return tmp_path / "settings.yml"


def reloader(file: Path, read: Callable[[], Settings]) -> SettingsReloader:
    """A reloader whose checks are a second apart."""
    return SettingsReloader(file, read, read(), itertools.count().__next__)


@pytest.fixture
def reading(file: Path) -> SettingsReloader:
    return reloader(file, lambda: load(file, None, {}))


def test_unchanged_files_are_no_change(reading: SettingsReloader) -> None:
    assert [reading.changed() for _ in range(3)] == [False, False, False]


def test_a_change_counts_when_two_checks_find_it_equal(reading: SettingsReloader, file: Path) -> None:
    file.write_text(GOOD % 22)
    assert not reading.changed()
    file.write_text(GOOD % 333)
    assert not reading.changed()
    assert reading.changed()
    settings = reading.reload().settings
    assert settings is not None and settings.drain_s == 333
    assert not reading.changed()


def test_checks_within_a_moment_do_not_show_that_a_file_is_complete(file: Path) -> None:
    now_s = [0.0]
    reading = SettingsReloader(
        file, lambda: load(file, None, {}), load(file, None, {}), clock=lambda: now_s[0]
    )
    for text in ("development:", GOOD % 22):
        file.write_text(text)
        now_s[0] += STABLE_S
        assert [reading.changed() for _ in range(3)] == [False, False, False]
        now_s[0] += STABLE_S / 2
        assert not reading.changed()
    now_s[0] += STABLE_S
    assert reading.changed()


def test_an_invalid_file_is_refused_once_and_the_corrected_one_accepted(
    reading: SettingsReloader, file: Path
) -> None:
    file.write_text("development: {gateway: {drain: 1}}")
    assert [reading.changed(), reading.changed()] == [False, True]
    found = reading.reload()
    assert found.settings is None
    assert "drain: unknown setting; did you mean drain_s?" in found.error
    assert [reading.changed(), reading.changed()] == [False, False]
    file.write_text(GOOD % 22)
    assert [reading.changed(), reading.changed()] == [False, True]
    settings = reading.reload().settings
    assert settings is not None and settings.drain_s == 22


def test_a_credentials_file_counts_like_the_settings(reading: SettingsReloader, file: Path) -> None:
    (file.parent / "ca.pem").write_text("new")
    assert [reading.changed(), reading.changed()] == [False, True]


def test_what_needs_a_restart_is_named(reading: SettingsReloader, file: Path) -> None:
    file.write_text("development: {redis: 'elsewhere:1', gateway: {drain_s: 5}}")
    found = reading.reload()
    assert found.needs_restart == ("redis",)
    assert found.settings is not None and found.settings.redis is None


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("lose", [Path.unlink, lambda file: file.write_text("")], ids=["removed", "emptied"])
def test_a_file_that_was_removed_or_emptied_changes_nothing_until_it_is_there_again(
    file: Path, named: bool, lose: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a named file the defaults would apply: they have no credentials."""
    monkeypatch.setattr(loading, "DEFAULT_PATH", file)
    path = file if named else None
    reading = reloader(file, lambda: load(path, None, {}))
    lose(file)
    assert [reading.changed(), reading.changed()] == [False, True]
    found = reading.reload()
    assert found.settings is None
    assert str(file) in found.error
    assert [reading.changed(), reading.changed()] == [False, False]
    assert reading.reload().settings is None  # by SIGHUP
    file.write_text(GOOD % 22)
    assert [reading.changed(), reading.changed()] == [False, True]
    settings = reading.reload().settings
    assert settings is not None and settings.drain_s == 22


def test_a_file_that_is_created_later_applies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "settings.yml"
    monkeypatch.setattr(loading, "DEFAULT_PATH", file)
    reading = reloader(file, lambda: load(None, None, {}))
    assert reading.reload().settings is not None
    file.write_text(GOOD % 22)
    settings = reading.reload().settings
    assert settings is not None and settings.drain_s == 22


def test_a_change_during_the_load_is_loaded_too(file: Path) -> None:
    contents = [GOOD % 333, GOOD % 22]

    def read() -> Settings:
        found = load(file, None, {})
        if len(contents) == 1:
            file.write_text(contents.pop())
        return found

    reading = SettingsReloader(file, read, load(file, None, {}), itertools.count().__next__)
    file.write_text(contents.pop())
    first = reading.reload().settings
    assert first is not None and first.drain_s == 22
    assert reading.changed()
    second = reading.reload().settings
    assert second is not None and second.drain_s == 333
    assert not reading.changed()
