"""Names of settings in earlier versions. They are refused, and the error names the present setting.

An old name is not read as an alias: a file with both names would be ambiguous.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

_Path = tuple[str, ...]

_SECTION: Final = "rhoconnect_push"
_SECTIONS: Final = {"rps": _SECTION}
_SETTINGS: Final[Mapping[_Path, _Path]] = {
    (_SECTION, "old_ids"): (_SECTION, "accept_unsigned_ids"),
    (_SECTION, "registration_s"): (_SECTION, "registration_ttl_s"),
}


def present_path(setting_path: _Path) -> _Path:
    """Return the path of a setting in this version; unchanged if it was never renamed."""
    section = _SECTIONS.get(setting_path[0], setting_path[0])
    path = (section, *setting_path[1:])
    return _SETTINGS.get(path, path)


def former_paths(setting_path: _Path) -> Iterator[_Path]:
    """Yield the paths of a setting in earlier versions, including paths that mix old and new names."""
    names = {setting_path, *(former for former, present in _SETTINGS.items() if present == setting_path)}
    sections = {former for former, present in _SECTIONS.items() if present == setting_path[0]}
    names |= {(former, *name[1:]) for former in sections for name in names}
    yield from names - {setting_path}


def renaming(setting_path: _Path, value: Any) -> str | None:
    """Return the error text for a setting with an old name, or with old names below it.

    Args:
        setting_path: the setting as it was given.
        value: the given value; a mapping if it is a section.

    Returns:
        The end of the error text; None if the name does not come from an earlier version.
    """
    present = present_path(setting_path)
    if present == setting_path:
        return None
    text = f"is now called {'.'.join(present)}"
    for name in value if isinstance(value, Mapping) else ():
        below = (*setting_path, str(name))
        if present_path(below)[-1] != below[-1]:
            text += f"; {'.'.join(below)} is now called {'.'.join(present_path(below))}"
    return text
