"""Files by which a gateway connects to the simulators: keys, certificates and settings."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import yaml

from gateway.simulators.simulation import ClientFiles

TOPIC: Final = "com.example.app"
"""The topic, and the Android package, in the generated settings."""


def write_client_files(folder: Path, clients: Mapping[str, ClientFiles], env: str = "development") -> Path:
    """Write the files that a gateway needs into `folder`, each with mode 600; returns the path of the settings.

    Args:
        folder: the target folder, created if it does not exist.
        clients: provider -> its files and settings (`Simulation.client_files`).
        env: the environment of the settings.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    files = {name: content for client in clients.values() for name, content in client.files.items()}
    app = {key: value for client in clients.values() for key, value in client.app.items()}
    gateway = {provider: dict(client.section) for provider, client in clients.items()}
    settings = {env: {**app, "gateway": gateway}}
    files["settings.yml"] = yaml.safe_dump(settings, sort_keys=False).encode()
    for name, content in files.items():
        path = folder / name
        path.touch(mode=0o600)
        path.write_bytes(content)
    return folder / "settings.yml"
