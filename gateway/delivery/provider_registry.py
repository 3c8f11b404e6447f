"""The providers of this process, found once by the entry points of the installed packages.

A package declares a provider in the entry-point group `rhopush.providers`; the entry point names a `ProviderEntry`. The
providers of the gateway itself are declared in its own `pyproject.toml`.
"""

import importlib
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, Final

from gateway.delivery.provider_entry import ProviderEntry
from gateway.errors import BadProvider, RhoPushError
from gateway.settings import Settings, with_providers

if TYPE_CHECKING:  # the supervisor looks providers up and needs none of what it imports
    from gateway.delivery.providers.base import PushProvider

GROUP: Final = "rhopush.providers"
_BASE: Final = "gateway.delivery.providers.base:PushProvider"


class Providers:
    """Providers by name, in alphabetical order.

    Args:
        entries: each with the source that declares it, for error messages.

    Raises:
        BadProvider: two have one name, or serve one device type; or a name is that of a setting.

    Attributes:
        entries: by name.
        device_types: device type in lower case -> name of the provider that serves it.
        settings_type: the type of settings with the sections of all providers.
    """

    def __init__(self, entries: Iterable[tuple[ProviderEntry, str]]) -> None:
        self._sources: dict[str, str] = {}
        self.entries: dict[str, ProviderEntry] = {}
        self.device_types: dict[str, str] = {}
        for entry, source in sorted(entries, key=lambda one: one[0].name):
            self._add(entry, source)
        self._loaded: dict[str, PushProvider] = {}
        sections = {
            name: entry.settings_type
            for name, entry in self.entries.items()
            if entry.settings_type is not None
        }
        self.settings_type: type[Settings] = with_providers(sections)

    def _add(self, entry: ProviderEntry, source: str) -> None:
        name = entry.name
        if name in self.entries:
            raise BadProvider(f"two providers have the name {name!r}: {self._sources[name]} and {source}")
        for device_type in entry.device_types:
            other = self.device_types.setdefault(device_type, name)
            if other != name:
                raise BadProvider(
                    f"two providers serve the device type {device_type!r}: {self._sources[other]} and {source}"
                )
        self.entries[name], self._sources[name] = entry, source

    def __iter__(self) -> Iterator["PushProvider"]:
        """Every provider's object, imported when first needed. Raises as `get`."""
        for name in self.entries:
            found = self.get(name)
            if found is not None:
                yield found

    def get(self, name: str) -> "PushProvider | None":
        """The object of a provider; None: there is no provider of this name.

        Raises:
            BadProvider: it cannot be imported, or is not a provider.
        """
        found = self._loaded.get(name)
        if found is None and name in self.entries:
            found = self._loaded[name] = self._load(self.entries[name])
        return found

    def object_of(self, name: str, path: str) -> Any:
        """An object that the entry of a provider names.

        Args:
            name: the provider.
            path: the object as `module:NAME`.

        Raises:
            BadProvider: it cannot be imported.
        """
        return _object(path, self._sources[name])

    def demo_devices(self) -> dict[str, Any]:
        """The classes of the devices of `rhopush demo`, by the provider's name
        (`gateway.simulators.demo_device.DemoDevice`).

        Raises:
            BadProvider: one cannot be imported.
        """
        return {
            name: self.object_of(name, entry.demo_device)
            for name, entry in self.entries.items()
            if entry.demo_device
        }

    def simulations(self) -> dict[str, Any]:
        """The simulations of all providers that have one, by name (`gateway.simulators.simulation.Simulation`).

        Raises:
            BadProvider: one cannot be imported.
        """
        return {
            name: self.object_of(name, entry.simulation)
            for name, entry in self.entries.items()
            if entry.simulation
        }

    def credentials(self, settings: Settings) -> Iterator[tuple["PushProvider", str]]:
        """Every provider with each app ("": all others) that has its own settings for it; at the end the providers
        without settings per app. All code that visits the credentials of the settings uses this iterator."""
        providers = list(self)
        for app in ("", *settings.apps):
            for provider in providers:
                if not provider.per_app:
                    continue
                if not app or provider.section(settings, app) != provider.section(settings, ""):
                    yield provider, app
        for provider in providers:
            if not provider.per_app:
                yield provider, ""

    def _load(self, entry: ProviderEntry) -> "PushProvider":
        source = self._sources[entry.name]
        loaded = _object(entry.provider, source)
        if not isinstance(loaded, _object(_BASE, source)) or loaded.name != entry.name:
            raise BadProvider(f"{source}: {entry.provider} is not a provider with the name {entry.name!r}")
        found: PushProvider = loaded
        return found


@cache
def installed() -> Providers:
    """The providers that are installed, looked up once in a process.

    Raises:
        BadProvider: an entry point cannot be used; the message names it.
    """
    found = [(_entry(point), _source(point)) for point in entry_points(group=GROUP)]
    if not found:
        raise BadProvider(
            f"no provider is installed: no package has an entry point of the group {GROUP}; reinstall rhopush"
        )
    return Providers(found)


def _source(point: EntryPoint) -> str:
    package = f" of the package {point.dist.name}" if point.dist is not None else ""
    return f"entry point {point.name} = {point.value}{package}"


def _entry(point: EntryPoint) -> ProviderEntry:
    try:
        found = point.load()
    except Exception as error:
        raise BadProvider(f"{_source(point)}: {_text(error)}") from error
    if not isinstance(found, ProviderEntry):
        raise BadProvider(f"{_source(point)}: the object is not a ProviderEntry")
    if found.name != point.name:
        raise BadProvider(f"{_source(point)}: the provider has another name, {found.name!r}")
    return found


def _object(path: str, source: str) -> Any:
    module, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except Exception as error:
        raise BadProvider(f"{source}: {path}: {_text(error)}") from error


def _text(error: Exception) -> str:
    if isinstance(error, RhoPushError):
        return error.message
    return f"{type(error).__name__}: {error}"
