"""What the process environment says: `RHOPUSH_` + path, and the variables that RhoConnect and Google use.

`RHOPUSH_APNS_KEY_ID` is `apns.key_id`. Lists and mappings are JSON. An empty variable counts as not set. A
`RHOPUSH_` variable that is no setting is only warned about: Kubernetes puts such variables beside any
service.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from gateway.settings.convert import Converter, Place, did_you_mean, is_section
from gateway.settings.layers import overlay
from gateway.settings.model import Settings

PREFIX: Final = "RHOPUSH_"

_ALIASES: Final[tuple[tuple[str, Place], ...]] = (
    # from the weakest to the strongest; each is weaker than the RHOPUSH_ variable of the same setting
    ("REDIS_URL", ("redis",)),
    ("REDISTOGO_URL", ("redis",)),
    ("REDIS", ("redis",)),
    ("API_TOKEN", ("api_token",)),
    ("PSWRD", ("admin_password",)),
)
_ELSEWHERE: Final = frozenset({"RHOPUSH_SERVER"})  # the Python client's address
_BUILT: Final = frozenset({"documents", "sources", "warnings"})  # no setting of the environment's


class Said(msgspec.Struct, frozen=True):
    """A layer of settings from the environment.

    Attributes:
        tree: the settings, texts already converted.
        variables: which variable said what, by place.
        warnings: what was noticed and is no error.
    """

    tree: dict[str, Any]
    variables: dict[Place, str]
    warnings: tuple[str, ...]

    def variable(self, place: Place) -> str | None:
        """Which variable said the value at a place, or a mapping around it."""
        around = (place[:length] for length in range(len(place), 0, -1))
        return next((self.variables[above] for above in around if above in self.variables), None)


def ambient(environ: Mapping[str, str]) -> dict[str, Any]:
    """Google's own variable for a service account: it counts where nothing else names one."""
    file = environ.get("GOOGLE_APPLICATION_CREDENTIALS")
    return {"fcm": {"credentials_file": Path(file).absolute()}} if file else {}


def read(environ: Mapping[str, str]) -> Said:
    """The layer that the environment says.

    Raises:
        BadSetting: a value is wrong; the message names the variable.
    """
    names = {variable_of(place): (place, type_) for place, type_ in places()}
    variables = [(name, place, names[variable_of(place)][1]) for name, place in _ALIASES if environ.get(name)]
    own = sorted(name for name in environ if name.startswith(PREFIX) and environ[name])
    variables += [(name, *names[name]) for name in own if name in names]
    tree: dict[str, Any] = {}
    for name, place, type_ in variables:
        tree = overlay(tree, _nested(place, _value(name, place, type_, environ[name])))
    strangers = [name for name in own if name not in names and name not in _ELSEWHERE]
    return Said(
        tree,
        {place: f"environment variable {name}" for name, place, _ in variables},
        tuple(f"{name} is no setting{did_you_mean(name, names)}" for name in strangers),
    )


def variable_of(place: Place) -> str:
    """The environment variable of a setting."""
    return PREFIX + "_".join(place).upper()


def places(kind: type[msgspec.Struct] = Settings, above: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Every setting with its type, sections before what is in them."""
    for field in msgspec.structs.fields(kind):
        if not above and field.name in _BUILT:
            continue
        place = (*above, field.name)
        yield place, field.type
        if is_section(field.type):
            yield from places(field.type, place)


def _value(name: str, place: Place, type_: Any, text: str) -> Any:
    converter = Converter(lambda _: f"environment variable {name}", Path.cwd(), strict=False)
    if not _is_json(place, type_):
        return converter.value(type_, text, place)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise converter.wrong(place, "expected JSON") from error


def _is_json(place: Place, type_: Any) -> bool:
    return is_section(type_) or place == ("apps",) or "tuple" in str(type_)


def _nested(place: Place, value: Any) -> dict[str, Any]:
    for key in reversed(place):
        value = {key: value}
    return dict(value)
