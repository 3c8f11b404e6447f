"""RhoConnect's own push keys as the gateway's settings (contract §8).

The keys are directly below the environment, beside `:gateway:`, which takes precedence. The gateway ignores
RhoConnect's other keys.
"""

from collections.abc import Mapping
from typing import Any

from gateway.errors import BadSetting
from gateway.settings.provider_settings import ProviderSettings, is_given
from gateway.settings.ruby_scalars import text_of

Sections = Mapping[str, type[ProviderSettings]]


def origin(setting_path: tuple[str, ...], sections: Sections) -> tuple[str, ...]:
    """Return the keys below the environment from which a setting came, if it came from RhoConnect's own keys."""
    if setting_path[0] == "apps":
        return ("iphonecertificates",)
    section = sections.get(setting_path[0])
    key = None if section is None or len(setting_path) != 2 else section.rhoconnect_keys.get(setting_path[1])
    return setting_path if key is None else (key,)


def translate(section: Mapping[str, Any], sections: Sections) -> dict[str, Any]:
    """Return the settings that correspond to RhoConnect's own keys, as a tree of the gateway's names.

    Args:
        section: the content of one environment, keys without colons.
        sections: the providers' sections of the settings.

    Raises:
        BadSetting: a key has a form that RhoConnect does not accept either.
    """
    tree: dict[str, Any] = {
        name: text_of(section[name]) for name in ("api_token", "push_server") if is_given(section, name)
    }
    if is_given(section, "redis"):
        tree |= _addresses(section["redis"])
    apps: dict[str, dict[str, Any]] = {}
    for name, kind in sections.items():
        tree[name] = kind.from_rhoconnect(section)
        for app_id, entry in kind.apps_from_rhoconnect(section).items():
            apps.setdefault(app_id, {})[name] = entry
    return {**tree, "apps": apps}


def _addresses(value: Any) -> dict[str, Any]:
    """Return the addresses. Element 0 of a list holds users, clients and jobs; documents are in all (contract §7)."""
    if not isinstance(value, list):
        return {"redis": value}
    if not value:
        raise BadSetting("redis: the list of addresses is empty", field="redis")
    return {"redis": value[0], "documents": value}
