"""Files and folders with secrets that other users of this machine may read or change: told by name, at the start and by
`rhopush check`.
"""

from collections.abc import Iterator
from pathlib import Path

from gateway.server.data_dir import ID_FILE
from gateway.settings import Settings
from gateway.system.private_files import file_warnings, folder_warnings


def exposed(settings: Settings) -> list[str]:
    """A sentence about each of them."""
    warnings = folder_warnings(settings.data_dir)
    warnings += file_warnings(settings.data_dir / "api_token", "api_token")
    warnings += file_warnings(settings.data_dir / ID_FILE, "the secret of legacy devices' ids")
    reported: set[Path] = set()
    for setting, path in _credentials(settings):
        if path not in reported:
            reported.add(path)
            warnings += file_warnings(path, setting)
    return warnings


def _credentials(settings: Settings) -> Iterator[tuple[str, Path]]:
    """Every file that the settings name and that holds a key, with the setting that names it."""
    parts = {"": (settings.apns, settings.fcm)}
    parts |= {f"apps.{name}.": (app.apns, app.fcm) for name, app in settings.apps.items()}
    for prefix, (apns, fcm) in parts.items():
        named = {
            f"{prefix}apns.key_file": apns.key_file,
            f"{prefix}apns.certificate_file": apns.certificate_file,
            f"{prefix}fcm.credentials_file": fcm.credentials_file,
        }
        yield from ((setting, path) for setting, path in named.items() if path is not None)
    key_file = settings.rhoconnect_push.key_file or settings.rhoconnect_push.certificate_file
    if key_file is not None:
        yield (
            "rhoconnect_push.key_file"
            if settings.rhoconnect_push.key_file
            else "rhoconnect_push.certificate_file",
            key_file,
        )
