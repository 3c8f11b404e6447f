"""A `settings.yml` as plain values, with the line of each value. `gateway.settings.yaml_document` reads it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from gateway.settings.convert import SettingPath


class Document(msgspec.Struct, frozen=True):
    """The content of a file.

    Attributes:
        path: the file, as given.
        root: the mappings, lists and scalars of the file; keys have no leading colon.
        lines: line of each value (from 1), by its path of keys.
        repeated: lines of the last two values of a key that a mapping has several times, by its path of keys.
    """

    path: Path
    root: dict[str, Any]
    lines: dict[SettingPath, int]
    repeated: Mapping[SettingPath, tuple[int, int]] = {}

    def where(self, setting_path: SettingPath) -> str:
        """Return file and line of a value, or of the nearest mapping around it."""
        for length in range(len(setting_path), 0, -1):
            line = self.lines.get(setting_path[:length])
            if line is not None:
                return f"{self.path}, line {line}"
        return str(self.path)
