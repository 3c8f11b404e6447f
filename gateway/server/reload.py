"""Detection of changed settings: on SIGHUP, and when a file has changed.

A file counts as changed if it differs from the last load and two successive checks, at least `STABLE_S` apart, find it
equal, so that a file that is still being written is not read. Kubernetes replaces a whole folder by switching a
symbolic link; `stat` follows the link, so this is detected, too.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from gateway.errors import BadSetting
from gateway.settings import Settings
from gateway.settings.reload import Stamp, files_of, merge_reloadable, stamp

STABLE_S: Final = 0.4
"""Shortest time between two checks. The caller checks whenever it is awake: several times within a millisecond."""

Stamps = dict[Path, Stamp]


class ReloadResult(NamedTuple):
    """The result of a reload.

    Attributes:
        settings: the new settings; None: the files are invalid, and the previous settings stay in force.
        needs_restart: changed settings that take effect only after a restart.
        error: the reason of a failed reload.
    """

    settings: Settings | None
    needs_restart: tuple[str, ...] = ()
    error: str = ""


class SettingsReloader:
    """Reloads the settings of one gateway.

    Args:
        file: the settings file; it need not exist.
        load: reads and checks all settings.
        settings: the settings of the start.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        file: Path,
        load: Callable[[], Settings],
        settings: Settings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._file, self._load, self._settings = file, load, settings
        self._clock = clock
        self._checked_s = clock()
        self._seen = self._stamps()
        self._before = self._seen
        self._has_file = self._seen[file] is not None

    def changed(self) -> bool:
        """Return whether a file differs from the last load and is no longer being written.

        Less than `STABLE_S` after the last check or load, the files are not checked.
        """
        now_s = self._clock()
        if now_s - self._checked_s < STABLE_S:
            return False
        self._checked_s = now_s
        now = self._stamps()
        is_stable = now == self._before
        self._before = now
        return is_stable and now != self._seen

    def reload(self) -> ReloadResult:
        """Load the settings. An invalid file is reported once: it is loaded again only after a further change.

        A file that no longer exists is invalid: without it the defaults would apply, which name no credentials.
        """
        self._seen = self._stamps()
        try:
            found = merge_reloadable(self._settings, self._load())
        except BadSetting as error:
            return ReloadResult(None, error=error.message)
        if self._has_file and stamp(self._file) is None:
            return ReloadResult(None, error=f"{self._file} does not exist any longer")
        self._settings = found.settings
        self._before = self._stamps()  # the settings may name other files now
        self._checked_s = self._clock()
        known = {path: self._seen.get(path, found_now) for path, found_now in self._before.items()}
        self._seen = known  # a file that changed while it was loaded differs
        self._has_file = known[self._file] is not None
        return ReloadResult(found.settings, found.needs_restart)

    def _stamps(self) -> Stamps:
        return {path: stamp(path) for path in (self._file, *files_of(self._settings))}
