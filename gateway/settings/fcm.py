"""The section `fcm`: Firebase Cloud Messaging."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from gateway.settings.kinds import ORIGIN_PATTERN, PositiveInt, PositiveSeconds
from gateway.settings.provider_settings import ProviderSettings
from gateway.system.secret import Secret


class FcmSettings(ProviderSettings, frozen=True):
    """Firebase Cloud Messaging, HTTP v1.

    Attributes:
        credentials_file: path of a JSON file with a Google credential; credentials: its content as text, or
            `metadata` for the metadata server. At most one of the two.
        project_id: Firebase project (`:fcm_project_id:`); None: the project of the credential.
        package_name: Android package to which messages are restricted (`:package_name:`).
        endpoint: scheme, host and port of the API.
        ca_file: PEM with certificate authorities that replace the system's.
        deadline_s: time limit of one request, after which its outcome counts as unknown.
        connections_max: largest number of connections per credential and worker.
        per_minute: the project's quota of messages, over all gateways (600,000 is Google's default).
        style: `notification` adds the notification block to a message; `data` leaves the display to the app.
        sync_priority: Android's priority of messages without visible content, unless the ping sets a priority.
    """

    credential_fields = ("credentials", "credentials_file")
    secret_files = ("credentials_file",)
    rhoconnect_keys: ClassVar[Mapping[str, str]] = {
        "project_id": "fcm_project_id",
        "package_name": "package_name",
    }
    file_variables: ClassVar[Mapping[str, str]] = {"credentials_file": "GOOGLE_APPLICATION_CREDENTIALS"}

    credentials_file: Path | None = None
    credentials: Secret | None = None
    project_id: str | None = None
    package_name: str | None = None
    endpoint: Annotated[str, Meta(pattern=ORIGIN_PATTERN)] = "https://fcm.googleapis.com"
    ca_file: Path | None = None
    deadline_s: PositiveSeconds = 15.0
    connections_max: PositiveInt = 8
    per_minute: PositiveInt = 600_000
    style: Literal["notification", "data"] = "notification"
    sync_priority: Literal["high", "normal"] = "high"
