"""When a serving gateway reads its settings anew: on SIGHUP, and when a file has changed.

A file counts as changed when it is another one than the last time and has stayed so from one look to the
next: an editor or a copy that is half done is not read. Kubernetes replaces a whole folder by turning a link;
`stat` follows it, so that is seen too.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from gateway.errors import BadSetting
from gateway.settings import Settings
from gateway.settings.reload import Stamp, files_of, merge_reloadable, stamp

Stamps = dict[Path, Stamp]


class ReloadResult(NamedTuple):
    """What came of reading anew.

    Attributes:
        settings: what holds now; None: what was read is wrong, and the old value stays.
        needs_restart: settings that have changed and need a restart.
        error: what is wrong.
    """

    settings: Settings | None
    needs_restart: tuple[str, ...] = ()
    error: str = ""


class SettingsReloader:
    """Reads the settings of one gateway, again and again.

    Args:
        file: the settings file; it need not exist.
        load: reads and checks everything.
        settings: what was loaded at the start.
    """

    def __init__(self, file: Path, load: Callable[[], Settings], settings: Settings) -> None:
        self._file, self._load, self._settings = file, load, settings
        self._seen = self._stamps()
        self._before = self._seen

    def changed(self) -> bool:
        """Whether a file is another one than when it was last read, and is no longer being written."""
        now = self._stamps()
        is_stable = now == self._before
        self._before = now
        return is_stable and now != self._seen

    def reload(self) -> ReloadResult:
        """Read anew. A wrong file is told once: it is not looked at again before it changes again."""
        self._seen = self._stamps()
        try:
            found = merge_reloadable(self._settings, self._load())
        except BadSetting as error:
            return ReloadResult(None, error=error.message)
        self._settings = found.settings
        self._seen = self._before = self._stamps()  # another file may be named now
        return ReloadResult(found.settings, found.needs_restart)

    def _stamps(self) -> Stamps:
        return {path: stamp(path) for path in (self._file, *files_of(self._settings))}
