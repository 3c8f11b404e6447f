"""Loading: from a file, an environment name and the process environment to one frozen `Settings`.

The layers, each overlaid on the previous one: the providers' own variables (`environment.ambient`), RhoConnect's own
keys, `:gateway:`, the other variables of the process environment. Then each value is converted to its type, each
unknown key is refused, each relative path is resolved, and each app inherits the settings that it does not set itself.
"""

import importlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from gateway.errors import BadSetting
from gateway.settings import environment, rhoconnect, sources, webhooks
from gateway.settings.convert import Converter, SettingPath
from gateway.settings.credentials import one_credential
from gateway.settings.document import Document
from gateway.settings.layers import overlay
from gateway.settings.misplaced import misplaced
from gateway.settings.model import App, Settings
from gateway.settings.networks import InvalidNetwork, networks

DEFAULT_PATH: Final = Path("settings/settings.yml")


def load(
    path: Path | None, env: str | None, environ: Mapping[str, str], kind: type[Settings] = Settings
) -> Settings:
    """Read the settings.

    Args:
        path: the file; None: `settings/settings.yml` if there is one, else the defaults.
        env: the environment whose part of the file applies; None: `RHO_ENV`, `RACK_ENV`, then `development`.
        environ: the process environment.
        kind: the type with the sections of all providers (`with_providers`).

    Raises:
        BadSetting: a setting is unknown or invalid; the message names it, its location and the expected value.
    """
    env = env or environ.get("RHO_ENV") or environ.get("RACK_ENV") or "development"
    file = _open(path)
    section = _section(file, env)
    gateway = _mapping(file, section.get("gateway"), (env, "gateway"))
    given = environment.read(environ, kind)
    sections = kind.provider_types()
    translated = rhoconnect.translate(section, sections)
    tree: dict[str, Any] = {}
    for layer in (environment.ambient(environ, kind), translated, gateway, given.tree):
        tree = overlay(tree, layer, sections)

    def locate(setting_path: SettingPath) -> str:
        ambient = environment.ambient_variable(setting_path, _at(tree, setting_path), environ, kind)
        is_ours = _is_ours(setting_path, gateway)
        keys = ("gateway", *setting_path) if is_ours else rhoconnect.origin(setting_path, sections)
        return given.variable(setting_path) or ambient or file.where((env, *keys))

    return _settings(
        kind,
        tree,
        Converter(locate, _app_folder(file.path)),
        sources=sources.read(file.root.get("sources"), section),
        origins={".".join(path): locate(path) for path in _leaves(tree)},
        warnings=(
            *given.warnings,
            *misplaced(file, env, section, {path[0] for path, _ in environment.setting_paths(kind)}),
        ),
    )


def _settings(kind: type[Settings], tree: dict[str, Any], convert: Converter, **ready: Any) -> Settings:
    tree.setdefault("data_dir", "data")  # converted like a given value: relative to the app
    listed = convert.mapping(tree.pop("apps", None), ("apps",))
    ready["webhooks"] = webhooks.read(convert, tree.pop("webhooks", None))
    settings = convert.struct(kind, tree, (), apps={}, **ready)
    one_credential(convert, settings.app(""), ())
    _check_proxies(convert, settings)
    apps = {app_id: _app(kind.app_type, app_id, listed[app_id], tree, convert) for app_id in listed}
    ready["warnings"] = (*ready["warnings"], *_ineffective(settings, apps))
    return convert.struct(kind, tree, (), apps=apps, **ready)


def _check_proxies(convert: Converter, settings: Settings) -> None:
    try:
        networks(settings.http.trusted_proxies)
    except InvalidNetwork as error:
        raise convert.error(("http", "trusted_proxies"), str(error)) from error


def _ineffective(settings: Settings, apps: Mapping[str, App]) -> list[str]:
    """Return warnings about settings that are valid but have no effect, for the log of the start."""
    everywhere = [settings.app(""), *apps.values()]
    names = {
        f"{section}.{name}": None
        for section in settings.provider_types()
        for app in everywhere
        for name in app.provider(section).ineffective()
    }
    found = [f"{name} has no effect in this version" for name in names]
    if settings.rhoconnect_push.mode == "client" and settings.push_server is None:
        found.append(
            "rhoconnect_push.mode: client requires push_server, which is not set: RhoConnect Push devices get no pushes"
        )
    return found


def _app(kind: type[App], app_id: str, given: Any, tree: Mapping[str, Any], convert: Converter) -> App:
    """Return one app's settings: its own, overlaid on those of all apps."""
    setting_path = ("apps", app_id)
    own = convert.mapping(given, setting_path)
    types = {field.name: field.type for field in msgspec.structs.fields(kind)}
    convert.only_known(types, own, setting_path)
    parts: dict[str, Any] = {}
    for name, section in types.items():
        tree_of_app = convert.mapping(own.get(name), (*setting_path, name))
        everywhere = convert.mapping(tree.get(name), (name,))
        merged = overlay({name: everywhere}, {name: tree_of_app}, types)[name]
        parts[name] = convert.struct(section, merged, (*setting_path, name))
    app = kind(**parts)
    one_credential(convert, app, setting_path)
    return app


def _open(path: Path | None) -> Document:
    if path is None and not DEFAULT_PATH.exists():
        return Document(DEFAULT_PATH, {}, {})
    # Imported only here: workers and many commands read no file.
    reader = importlib.import_module("gateway.settings.yaml_document")
    read: Document = reader.read(DEFAULT_PATH if path is None else path)
    return read


def _section(file: Document, env: str) -> Mapping[str, Any]:
    """Return the section of the environment. A file that has only other environments is an error."""
    if env in file.root:
        return _mapping(file, file.root[env], (env,))
    reserved = ("sources", "gateway")
    others = [name for name, value in file.root.items() if name not in reserved and isinstance(value, dict)]
    if not others and "gateway" not in file.root:
        return {}
    expected = f"expected one of: {', '.join(others)}" if others else "gateway belongs below an environment"
    raise BadSetting(f"{file.path} has no environment {env!r}; {expected}", field=env)


def _mapping(file: Document, value: Any, setting_path: SettingPath) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadSetting(
            f"{setting_path[-1]}: expected a mapping ({file.where(setting_path)})", field=setting_path[-1]
        )
    return value


def _leaves(tree: Mapping[str, Any], above: SettingPath = ()) -> Iterator[SettingPath]:
    """Yield the path of each value that a layer sets."""
    for key, value in tree.items():
        path = (*above, str(key))
        if isinstance(value, Mapping):
            yield from _leaves(value, path)
        elif value is not None:
            yield path


def _at(tree: Mapping[str, Any], setting_path: SettingPath) -> Any:
    value: Any = tree
    for key in setting_path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _is_ours(setting_path: SettingPath, gateway: Mapping[str, Any]) -> bool:
    """Return whether a setting is below `:gateway:`; else it came from RhoConnect's own keys."""
    value: Any = gateway
    for key in setting_path:
        if not isinstance(value, Mapping) or key not in value:
            return False
        value = value[key]
    return True


def _app_folder(path: Path) -> Path:
    """Return the app's folder: RhoConnect's paths are relative to it; its settings are in its folder `settings`
    (contract §8)."""
    folder = path.absolute().parent
    return folder.parent if folder.name == "settings" else folder
