"""Settings that name a file. A value that cannot be a path is never shown: it may be the content of that file."""

from typing import Final

from protocols.credential_text import is_path

_TEXT_SETTINGS: Final = {"apns.key_file": "key", "fcm.credentials_file": "credentials"}
"""Settings that take a path -> settings that take the text itself."""


def not_a_path(field: str, value: str) -> str | None:
    """Return the reason why a setting's value is not a path; None: it can be one.

    Args:
        field: the setting, as `apns.key_file`.
        value: the given value. The reason does not contain it.
    """
    if is_path(value):
        return None
    for setting, instead in _TEXT_SETTINGS.items():
        if f".{field}".endswith(f".{setting}"):
            takes = f"{field.rpartition('.')[0]}.{instead}"
            return (
                f"expected the path of a file, found a text that is not a path; {takes} takes the text itself"
            )
    return "expected the path of a file, found a text that is not a path; write the text into a file and name that"
