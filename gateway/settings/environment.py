"""Settings from the process environment: `RHOPUSH_` + path, and the variables that RhoConnect and Google use.

`RHOPUSH_APNS_KEY_ID` is `apns.key_id`. Lists and mappings are JSON. An empty variable counts as not set. A variable
with a setting's name of an earlier version is refused. An unknown `RHOPUSH_` variable only causes a warning: Kubernetes
adds such variables to every pod for a service whose name begins with `rhopush` (Kubernetes, "Discovering services";
Docker's links have the same form). Such a variable may have a setting's own name: for example
`RHOPUSH_METRICS_PORT=tcp://10.0.0.1:80` of a service `rhopush-metrics`. It is recognised by its value, and ignored with
a warning.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from gateway.errors import BadSetting
from gateway.settings.convert import Converter, SettingPath, did_you_mean, is_section
from gateway.settings.kinds import Port, PortOrAny
from gateway.settings.layers import overlay
from gateway.settings.model import Settings
from gateway.settings.renamed import former_paths
from protocols.credential_text import is_path

PREFIX: Final = "RHOPUSH_"

# From the weakest to the strongest; each is weaker than the RHOPUSH_ variable of the same setting.
_ALIASES: Final[tuple[tuple[str, SettingPath], ...]] = (
    ("REDIS_URL", ("redis",)),
    ("REDISTOGO_URL", ("redis",)),
    ("REDIS", ("redis",)),
    ("API_TOKEN", ("api_token",)),
    ("PSWRD", ("admin_password",)),
)
_LINK: Final = re.compile(r"\s*(tcp|udp|sctp)://[^\s/]+:\d{1,5}\s*", re.I)
"""The value of a service link's variable `NAME_PORT`."""
_OTHER_VARIABLES: Final = frozenset({"RHOPUSH_SERVER"})  # the address that the Python client uses
_LINKS_OFF: Final = "enableServiceLinks: false disables them"
_PORTS: Final = (Port, PortOrAny, PortOrAny | None)
_BUILT: Final = frozenset({"documents", "origins", "sources", "warnings"})  # not settable by the environment


class EnvironmentLayer(msgspec.Struct, frozen=True):
    """The settings layer of the environment.

    Attributes:
        tree: the settings, converted from text.
        variables: name of the variable that gave each value, by path.
        warnings: texts about variables that are not errors.
    """

    tree: dict[str, Any]
    variables: dict[SettingPath, str]
    warnings: tuple[str, ...]

    def variable(self, setting_path: SettingPath) -> str | None:
        """Return the variable that gave the value at a path, or a mapping around it."""
        around = (setting_path[:length] for length in range(len(setting_path), 0, -1))
        return next((self.variables[above] for above in around if above in self.variables), None)


def ambient(environ: Mapping[str, str], kind: type[Settings] = Settings) -> dict[str, Any]:
    """Return the files named by a provider's own variable, such as Google's, which apply if no setting names one."""
    tree: dict[str, Any] = {}
    for setting_path, variable in _file_variables(kind):
        file = environ.get(variable, "").strip()
        if file:
            # A value that cannot be a path stays unchanged: the converter reports it.
            path = str(Path.cwd() / file) if is_path(file) else file
            tree = overlay(tree, _nested(setting_path, path))
    return tree


def ambient_variable(
    setting_path: SettingPath, value: Any, environ: Mapping[str, str], kind: type[Settings] = Settings
) -> str | None:
    """Return the provider's own variable if a setting's value came from it."""
    variable = dict(_file_variables(kind)).get(setting_path)
    if variable is None or len(setting_path) != 2:
        return None
    section, field = setting_path
    given = ambient(environ, kind).get(section, {}).get(field)
    return f"environment variable {variable}" if given is not None and given == value else None


def _file_variables(kind: type[Settings]) -> Iterator[tuple[SettingPath, str]]:
    for name, section in kind.provider_types().items():
        for field, variable in section.file_variables.items():
            yield (name, field), variable


def read(environ: Mapping[str, str], kind: type[Settings] = Settings) -> EnvironmentLayer:
    """Read the settings layer of the environment.

    Args:
        environ: the process environment.
        kind: the type of the settings.

    Raises:
        BadSetting: a value is invalid, or a variable has a name of an earlier version; the message names the variable.
    """
    names = {variable_of(setting_path): (setting_path, type_) for setting_path, type_ in setting_paths(kind)}
    variables = [
        (name, setting_path, names[variable_of(setting_path)][1])
        for name, setting_path in _ALIASES
        if environ.get(name)
    ]
    own = sorted(name for name in environ if name.startswith(PREFIX) and environ[name].strip())
    former = _former_variables()
    types = {**former, **names}
    links = [name for name in own if name in types and _is_link(environ[name], types[name][1])]
    own = [name for name in own if name not in links]
    for name in own:
        if name in former:
            present = former[name][0]
            raise BadSetting(f"{name}: is now called {variable_of(present)}", field=".".join(present))
    variables += [(name, *names[name]) for name in own if name in names]
    tree: dict[str, Any] = {}
    for name, setting_path, type_ in variables:
        tree = overlay(tree, _nested(setting_path, _value(name, setting_path, type_, environ[name])))
    unknown = [name for name in own if name not in names and name not in _OTHER_VARIABLES]
    return EnvironmentLayer(
        tree,
        {setting_path: f"environment variable {name}" for name, setting_path, _ in variables},
        (
            *(f"{name} is a service link of Kubernetes, not a setting: {_LINKS_OFF}" for name in links),
            *(f"{name} is not a setting{did_you_mean(name, names)}" for name in unknown),
        ),
    )


def variable_of(setting_path: SettingPath) -> str:
    """Return the environment variable of a setting."""
    return PREFIX + "_".join(setting_path).upper()


def setting_paths(
    kind: type[msgspec.Struct] = Settings, above: SettingPath = ()
) -> Iterator[tuple[SettingPath, Any]]:
    """Yield every setting with its type, each section before its content."""
    for field in msgspec.structs.fields(kind):
        if not above and field.name in _BUILT:
            continue
        setting_path = (*above, field.name)
        yield setting_path, field.type
        if is_section(field.type):
            yield from setting_paths(field.type, setting_path)


def _former_variables() -> dict[str, tuple[SettingPath, Any]]:
    """Return the variables of earlier versions: the present setting of each, and its type."""
    return {
        variable_of(former): (setting_path, type_)
        for setting_path, type_ in setting_paths()
        for former in former_paths(setting_path)
    }


def _is_link(value: str, type_: Any) -> bool:
    """Return whether a variable with a setting's name is a service link: an address for a setting that is a number."""
    return type_ in _PORTS and _LINK.fullmatch(value) is not None


def _value(name: str, setting_path: SettingPath, type_: Any, text: str) -> Any:
    converter = Converter(lambda _: f"environment variable {name}", Path.cwd(), strict=False)
    if not _is_json(setting_path, type_):
        return converter.value(type_, text, setting_path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        kind = "list" if "tuple" in str(type_) else "mapping"
        raise converter.error(setting_path, f"expected a {kind} as JSON") from error


def _is_json(setting_path: SettingPath, type_: Any) -> bool:
    return is_section(type_) or setting_path in (("apps",), ("webhooks",)) or "tuple" in str(type_)


def _nested(setting_path: SettingPath, value: Any) -> dict[str, Any]:
    for key in reversed(setting_path):
        value = {key: value}
    return dict(value)
