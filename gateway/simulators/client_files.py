"""Files with which a gateway can use the simulators: keys, certificates and settings."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import yaml

from gateway.simulators.simulation import ClientFiles

TOPIC: Final = "com.example.app"
"""The topic, and the Android package, in the generated settings."""


def write_client_files(folder: Path, clients: Mapping[str, ClientFiles], env: str = "development") -> Path:
    """Write what a gateway needs into `folder`, each file mode 600, and give the path of its settings.

    Args:
        folder: where to; made if it is not there.
        clients: provider -> its files and settings (`Simulation.client_files`).
        env: the environment that the settings are for.
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
