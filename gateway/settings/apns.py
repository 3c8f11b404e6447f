"""The section `apns`: Apple."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

from gateway.errors import BadSetting
from gateway.settings.kinds import Port, PositiveInt, PositiveSeconds, Seconds
from gateway.settings.provider_settings import IncompleteCredential, ProviderSettings, is_given
from gateway.settings.ruby_scalars import text_of
from gateway.settings.secret import Secret
from protocols.numbers import whole

SANDBOX_HOST: Final = "api.sandbox.push.apple.com"
_APPLE_HOSTS: Final = {
    # retired binary host -> the HTTP/2 one (Apple: "Establishing a connection to APNs")
    "gateway.push.apple.com": "api.push.apple.com",
    "gateway.sandbox.push.apple.com": "api.sandbox.push.apple.com",
    "api.push.apple.com": "api.push.apple.com",
    "api.sandbox.push.apple.com": "api.sandbox.push.apple.com",
    "api.development.push.apple.com": "api.sandbox.push.apple.com",
}
_APPLE_PORTS: Final = (
    443,
    2197,
)  # any other beside an Apple host is left over from the binary protocol (2195)


class ApnsSettings(ProviderSettings, frozen=True):
    """Apple: one credential (a key, or a certificate) and the way to the server.

    Attributes:
        key_file: path of the p8 key; key: the same as text. At most one of the two.
        key_id: ten characters, from the name of the key file.
        team_id: ten characters, of the Apple developer account.
        certificate_file: PEM with certificate and key together, instead of a p8 key (`:iphonecertfile:`).
        certificate_passphrase: of that PEM's key.
        topic: the app's bundle id; None: what the certificate says.
        environment: which of Apple's hosts is meant where `host` is not given; `auto`: both; the gateway learns for
            each device which of them takes its token.
        host: the server; None: the one of `environment`, with `auto` the production host. `server` is the one in
            force.
        port: its port. Apple offers 443 and 2197 (providers: "Sending notification requests to APNs").
        sandbox_host: with `auto`, the sandbox; None: Apple's, or none where `host` is given.
        sandbox_port: its port.
        ca_file: PEM of authorities to trust instead of the system's.
        deadline_s: how long one request may wait for its answer before it counts as unknown.
        connections_max: at most so many connections a credential and worker. Apple asks for few, long-lived
            ones.
        background_min_interval_s: shortest time between two background pushes to one device; 0: no limit.
        alert: `auto`: `aps.alert` is a text, or Apple's object where there is a title; `text`: always a text, title and
            message joined (Rhodes up to 3.x reads no object).
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
        """Host name in force: `host`, or Apple's for `environment`."""
        if self.host is not None:
            return self.host
        return SANDBOX_HOST if self.environment == "sandbox" else "api.push.apple.com"

    @property
    def sandbox(self) -> tuple[str, int] | None:
        """Host and port of the second server that `auto` tries; None: there is only `server`."""
        if self.environment != "auto":
            return None
        if self.sandbox_host is None and self.host is not None:
            return None  # a host of the operator's own must not make the gateway ask Apple's sandbox
        return self.sandbox_host or SANDBOX_HOST, self.sandbox_port

    def incomplete(self) -> Iterator[IncompleteCredential]:
        """A p8 key needs its id and its team."""
        if self.key is None and self.key_file is None:
            return
        given = "key_file" if self.key is None else "key"
        for name in ("key_id", "team_id"):
            if not getattr(self, name):
                yield IncompleteCredential(name, "a p8 key needs it", given)

    def ineffective(self) -> Iterator[str]:
        """Background pushes have no minimum interval yet."""
        if self.background_min_interval_s:
            yield "background_min_interval_s"

    @classmethod
    def from_rhoconnect(cls, section: Mapping[str, Any]) -> dict[str, Any]:
        """The certificate and the server; the retired names mean Apple's HTTP/2 hosts (contract §8)."""
        return _certificate(section) | _server(section)

    @classmethod
    def apps_from_rhoconnect(cls, section: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """A certificate for each app, from `:iphonecertificates:`."""
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
