"""Files with which a gateway can use the simulators: keys, certificates and settings."""

from pathlib import Path
from typing import Any, Final

import yaml

from gateway.simulators.apns import ApnsSimulator
from gateway.simulators.fcm import FcmSimulator

TOPIC: Final = "com.example.app"
"""The topic, and the Android package, in the generated settings."""


def write_client_files(
    folder: Path, apns: ApnsSimulator, fcm: FcmSimulator, env: str = "development"
) -> Path:
    """Write keys, certificates and settings into `folder`, each file mode 600, and return the path of the settings.

    Args:
        folder: the target folder; created if it is missing.
        apns: a started simulator.
        fcm: a started simulator.
        env: the environment of the settings.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    certificate = apns.client_certificate([TOPIC])
    key = apns.signing_key
    files = {
        "apns-ca.pem": apns.ca_pem,
        "fcm-ca.pem": fcm.ca_pem,
        f"AuthKey_{key.key_id}.p8": key.pem,
        "push-certificate.pem": certificate.pem,
        "service-account.json": fcm.service_account.json,
        "settings.yml": yaml.safe_dump(_settings(apns, fcm, env), sort_keys=False).encode(),
    }
    for name, content in files.items():
        path = folder / name
        path.touch(mode=0o600)
        path.write_bytes(content)
    return folder / "settings.yml"


def _settings(apns: ApnsSimulator, fcm: FcmSimulator, env: str) -> dict[str, Any]:
    key = apns.signing_key
    to_apns = {
        "key_file": f"AuthKey_{key.key_id}.p8",
        "key_id": key.key_id,
        "team_id": key.team_id,
        "topic": TOPIC,
        "host": apns.hosting.reached_at,
        "port": apns.port,
        "ca_file": "apns-ca.pem",
    }
    to_fcm = {
        "credentials_file": "service-account.json",
        "endpoint": fcm.endpoint,
        "ca_file": "fcm-ca.pem",
    }
    gateway = {"apns": to_apns, "fcm": to_fcm}
    return {env: {"fcm_project_id": fcm.project_id, "package_name": TOPIC, "gateway": gateway}}
