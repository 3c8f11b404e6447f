"""The section `apns`: Apple Push Notification service."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

from gateway.errors import BadSetting
from gateway.settings.kinds import Port, PositiveInt, PositiveSeconds, Seconds
from gateway.settings.provider_settings import IncompleteCredential, ProviderSettings, is_given
from gateway.settings.ruby_scalars import text_of
from gateway.system.secret import Secret
from protocols.numbers import whole

SANDBOX_HOST: Final = "api.sandbox.push.apple.com"
_APPLE_HOSTS: Final = {
    # host of the retired binary protocol -> HTTP/2 host (Apple: "Establishing a connection to APNs")
    "gateway.push.apple.com": "api.push.apple.com",
    "gateway.sandbox.push.apple.com": "api.sandbox.push.apple.com",
    "api.push.apple.com": "api.push.apple.com",
    "api.sandbox.push.apple.com": "api.sandbox.push.apple.com",
    "api.development.push.apple.com": "api.sandbox.push.apple.com",
}
_DISPLACED: Final[dict[str, tuple[str, ...]]] = {
    "key": ("key_file", "certificate_file", "certificate_passphrase"),
    "key_file": ("key", "certificate_file", "certificate_passphrase"),
    # A certificate contains its own topics.
    "certificate_file": ("key", "key_file", "certificate_passphrase", "topic"),
    "environment": ("host", "port", "sandbox_host", "sandbox_port"),
    "host": ("port",),
    "sandbox_host": ("sandbox_port",),
}
_APPLE_PORTS: Final = (443, 2197)
"""Any other port beside an Apple host belongs to the binary protocol (2195)."""


class ApnsSettings(ProviderSettings, frozen=True):
    """APNs: one credential (a key or a certificate), and the server.

    Attributes:
        key_file: path of the p8 key; key: the key as text. At most one of the two.
        key_id: ten characters; required with a key.
        team_id: ten characters, of the Apple developer account; required with a key.
        certificate_file: PEM or PKCS#12 file with both certificate and key, instead of a p8 key (`:iphonecertfile:`).
        certificate_passphrase: passphrase of the key in that file.
        topic: the app's bundle id; None: the topic of the certificate.
        environment: the Apple host if `host` is not given; with `auto`, the gateway uses both hosts and stores which of
            them accepts each device's token.
        host: the server; None: the host of `environment`, with `auto` the production host. `server` is the
            effective one.
        port: port of the server. Apple offers 443 and 2197 (providers: "Sending notification requests to APNs").
        sandbox_host: the sandbox server for `auto`; None: Apple's, or none if `host` is given.
        sandbox_port: port of the sandbox server.
        ca_file: PEM with certificate authorities that replace the system's.
        deadline_s: time limit of one request, after which its outcome counts as unknown.
        connections_max: largest number of connections per credential and worker. Apple asks for few, long-lived
            ones.
        background_min_interval_s: minimum interval of background pushes to one device; 0: no limit. It has no
            effect yet.
        alert: `auto`: `aps.alert` is a text, or Apple's object if there is a title; `text`: always a text, title and
            message joined (Rhodes up to 3.x does not read the object).
    """

    credential_fields = ("key", "key_file", "certificate_file")
    secret_files = ("key_file", "certificate_file")
    rhoconnect_keys: ClassVar[Mapping[str, str]] = {
        "certificate_file": "iphonecertfile",
        "certificate_passphrase": "iphonepassphrase",
        "host": "iphoneserver",
        "port": "iphoneport",
    }

    key_file: Path | None = None
    key: Secret | None = None
    key_id: str | None = None
    team_id: str | None = None
    certificate_file: Path | None = None
    certificate_passphrase: Secret | None = None
    topic: str | None = None
    environment: Literal["production", "sandbox", "auto"] = "production"
    host: str | None = None
    port: Port = 443
    sandbox_host: str | None = None
    sandbox_port: Port = 443
    ca_file: Path | None = None
    deadline_s: PositiveSeconds = 15.0
    connections_max: PositiveInt = 4
    background_min_interval_s: Seconds = 0.0
    alert: Literal["auto", "text"] = "auto"

    @property
    def server(self) -> str:
        """The effective host name: `host`, or Apple's for `environment`."""
        if self.host is not None:
            return self.host
        return SANDBOX_HOST if self.environment == "sandbox" else "api.push.apple.com"

    @property
    def sandbox(self) -> tuple[str, int] | None:
        """Host and port of the second server that `auto` uses; None: `server` alone is used."""
        if self.environment != "auto":
            return None
        if self.sandbox_host is None and self.host is not None:
            return None  # a custom host must not make the gateway connect to Apple's sandbox
        return self.sandbox_host or SANDBOX_HOST, self.sandbox_port

    def incomplete(self) -> Iterator[IncompleteCredential]:
        """Yield the missing settings of a p8 key: its id and its team."""
        if self.key is None and self.key_file is None:
            return
        given = "key_file" if self.key is None else "key"
        for name in ("key_id", "team_id"):
            if not getattr(self, name):
                yield IncompleteCredential(name, "required with a p8 key", given)

    def ineffective(self) -> Iterator[str]:
        """Yield the interval of background pushes, which has no effect yet."""
        if self.background_min_interval_s:
            yield "background_min_interval_s"

    @classmethod
    def displaced(cls) -> dict[str, tuple[str, ...]]:
        """Return the rules for credentials, and for servers: another host has a port of its own."""
        return _DISPLACED

    @classmethod
    def from_rhoconnect(cls, section: Mapping[str, Any]) -> dict[str, Any]:
        """Return the certificate and the server; retired host names become Apple's HTTP/2 hosts (contract §8)."""
        return _certificate(section) | _server(section)

    @classmethod
    def apps_from_rhoconnect(cls, section: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Return one certificate for each app, from `:iphonecertificates:`."""
        listed = section.get("iphonecertificates") or {}
        if not isinstance(listed, dict):
            raise BadSetting(
                "iphonecertificates: expected a mapping by device_app_id", field="iphonecertificates"
            )
        for app_id, entry in listed.items():
            if not isinstance(entry, dict):
                where = f"iphonecertificates.{app_id}"
                raise BadSetting(f"{where}: expected a mapping with iphonecertfile", field=where)
        return {app_id: _certificate(entry) for app_id, entry in listed.items()}


def _certificate(section: Mapping[str, Any]) -> dict[str, Any]:
    entry: dict[str, Any] = {}
    if is_given(section, "iphonecertfile"):
        entry["certificate_file"] = section["iphonecertfile"]
        if is_given(section, "iphonepassphrase"):
            entry["certificate_passphrase"] = text_of(section["iphonepassphrase"])
    return entry


def _server(section: Mapping[str, Any]) -> dict[str, Any]:
    if not is_given(section, "iphoneserver"):
        return {}
    host, port = section["iphoneserver"], section.get("iphoneport")
    apple = _APPLE_HOSTS.get(host) if isinstance(host, str) else None
    if apple is not None:
        return {"host": apple, "port": port if port in _APPLE_PORTS else 443}
    return {"host": host} if port is None else {"host": host, "port": _number(port)}


def _number(value: Any) -> Any:
    number = whole(value) if isinstance(value, str) else None
    return value if number is None else number
