"""Warnings about files and folders with secrets that other users of this machine can read or change, for the start of
the gateway and for `rhopush check`.
"""

from collections.abc import Iterator
from pathlib import Path

from gateway.server.data_dir import ID_FILE
from gateway.settings import Settings
from gateway.system.private_files import file_warnings, folder_warnings


def exposed(settings: Settings) -> list[str]:
    """Return one warning for each exposed file or folder."""
    warnings = folder_warnings(settings.data_dir)
    warnings += file_warnings(settings.data_dir / "api_token", "api_token")
    warnings += file_warnings(settings.data_dir / ID_FILE, "the secret of RhoConnect Push ids")
    reported: set[Path] = set()
    for setting, path in _credentials(settings):
        if path not in reported:
            reported.add(path)
            warnings += file_warnings(path, setting)
    return warnings


def _credentials(settings: Settings) -> Iterator[tuple[str, Path]]:
    """Yield every key file that the settings name, with the name of the setting."""
    apps = {"": settings.app("")} | {f"apps.{name}.": app for name, app in settings.apps.items()}
    for prefix, app in apps.items():
        for name, section in settings.provider_types().items():
            for field in section.secret_files:
                path = getattr(app.provider(name), field)
                if path is not None:
                    yield f"{prefix}{name}.{field}", path
    key_file = settings.rhoconnect_push.key_file or settings.rhoconnect_push.certificate_file
    if key_file is not None:
        yield (
            "rhoconnect_push.key_file"
            if settings.rhoconnect_push.key_file
            else "rhoconnect_push.certificate_file",
            key_file,
        )
