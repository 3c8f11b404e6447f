"""RhoConnect's own push keys, in the gateway's words (contract §8).

They stand directly below the environment, beside `:gateway:`. What `:gateway:` says about the same thing
wins. Other keys of RhoConnect's are none of ours and are left alone.
"""

from collections.abc import Mapping
from typing import Any, Final

from gateway.errors import BadSetting
from gateway.settings.ruby_scalars import text_of
from protocols.numbers import whole

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

_SETTING_PATHS: Final[Mapping[tuple[str, ...], tuple[str, ...]]] = {
    # the gateway's place of a setting -> the key of RhoConnect's that says the same
    ("apns", "certificate_file"): ("iphonecertfile",),
    ("apns", "certificate_passphrase"): ("iphonepassphrase",),
    ("apns", "host"): ("iphoneserver",),
    ("apns", "port"): ("iphoneport",),
    ("fcm", "project_id"): ("fcm_project_id",),
    ("fcm", "package_name"): ("package_name",),
    ("apps",): ("iphonecertificates",),
}


def origin(setting_path: tuple[str, ...]) -> tuple[str, ...]:
    """The keys below the environment that a setting came from, if it came from RhoConnect's own."""
    return _SETTING_PATHS.get(setting_path) or _SETTING_PATHS.get(setting_path[:1]) or setting_path


def translate(section: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that RhoConnect's own keys amount to, as a tree of the gateway's names.

    Args:
        section: what stands below one environment, keys without colons.

    Raises:
        BadSetting: a key has a shape that RhoConnect does not know either.
    """
    apns = _certificate(section) | _server(section)
    fcm = {
        name: text_of(section[key])
        for name, key in (("project_id", "fcm_project_id"), ("package_name", "package_name"))
        if _is_set(section, key)
    }
    plain: dict[str, Any] = {
        name: text_of(section[name]) for name in ("api_token", "push_server") if _is_set(section, name)
    }
    if _is_set(section, "redis"):
        plain |= _addresses(section["redis"])
    apps = {app_id: {"apns": entry} for app_id, entry in _certificates(section).items()}
    return {**plain, "apns": apns, "fcm": fcm, "apps": apps}


def _is_set(section: Mapping[str, Any], key: str) -> bool:
    value = section.get(key)
    return value is not None and value != ""


def _addresses(value: Any) -> dict[str, Any]:
    """Element 0 of a list holds all that push needs: users, clients, jobs. Documents are in all (contract §7)."""
    if not isinstance(value, list):
        return {"redis": value}
    if not value:
        raise BadSetting("redis: the list of addresses is empty", field="redis")
    return {"redis": value[0], "documents": value}


def _certificate(section: Mapping[str, Any]) -> dict[str, Any]:
    entry: dict[str, Any] = {}
    if _is_set(section, "iphonecertfile"):
        entry["certificate_file"] = section["iphonecertfile"]
        if _is_set(section, "iphonepassphrase"):
            entry["certificate_passphrase"] = text_of(section["iphonepassphrase"])
    return entry


def _certificates(section: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
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


def _server(section: Mapping[str, Any]) -> dict[str, Any]:
    if not _is_set(section, "iphoneserver"):
        return {}
    host, port = section["iphoneserver"], section.get("iphoneport")
    apple = _APPLE_HOSTS.get(host) if isinstance(host, str) else None
    if apple is not None:
        return {"host": apple, "port": port if port in _APPLE_PORTS else 443}
    return {"host": host} if port is None else {"host": host, "port": _number(port)}


def _number(value: Any) -> Any:
    number = whole(value) if isinstance(value, str) else None
    return value if number is None else number
