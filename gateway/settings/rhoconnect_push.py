"""The settings of rhoconnect-push (config.json or command line) as the gateway's settings (contract §9).

| rhoconnect-push | here |
| --- | --- |
| ansServerPort; PORT in the environment wins | the port |
| ansResponseTimeout (ms; 0: never) | `rhoconnect_push.wait_s`, at most 90 s: devices end a poll after 100 s |
| registrationTimeout (s) | `rhoconnect_push.registration_ttl_s` |
| userAuthHost, -Port, -Url and rcSecure | `rhoconnect_push.user_auth_url` |
| appAuthHost, -Port, -Url and rcSecure | `rhoconnect_push.app_auth_url` |
| authCredentialLifetime (ms), authCredentialCacheEnabled | `rhoconnect_push.auth_cache_s` |
| httpSecure, certificateFile, keyFile | `rhoconnect_push.certificate_file`, `rhoconnect_push.key_file` |
| redisToGoUrl (`redis://DB:PASSWORD@host:port`) | `redis` |
| devAuth*, numClients, ansServerHost | nothing: rhoconnect-push does not read them either |
| socketPoolSize, authCredentialCacheSize, debugLevel | nothing: not needed |
| certificateAuthorityFile, clearDataBase | nothing, with a warning |

A config.json is used alone: settings that it omits have rhoconnect-push's defaults, not those of the command line.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, cast, get_args
from urllib.parse import quote, unquote, urlsplit

import msgspec

from gateway.errors import BadSetting
from gateway.logs.levels import LogLevel
from gateway.settings.kinds import URL_PATTERN
from gateway.settings.model import MetricsSettings, RhoConnectPushSettings, Settings
from gateway.system.secret import Secret
from protocols.json_syntax import find_fault

_METRICS_PORT: Final = "RHOPUSH_METRICS_PORT"
_LOG_LEVEL: Final = "RHOPUSH_LOG_LEVEL"
_LEVELS: Final[tuple[str, ...]] = get_args(LogLevel)
WAIT_MAX_S: Final = 90.0
"""Longest wait of a poll: Windows devices end it after 100 s, Android devices after 120 s (contract §9.1)."""

# Defaults of a config.json, and the options for which the command line has a different default.
_FILE_DEFAULTS: Final[dict[str, str]] = {
    "httpSecure": "y",
    "rcSecure": "y",
    "keyFile": "privatekey.pem",
    "certificateFile": "certificate.pem",
    "appAuthHost": "localhost",
    "appAuthPort": "5002",
    "appAuthUrl": "/appAuthUrl",
    "userAuthHost": "localhost",
    "userAuthPort": "5003",
    "userAuthUrl": "/userAuthUrl",
    "ansServerPort": "5000",
    "ansResponseTimeout": "300000",
    "registrationTimeout": "2592000",
    "clearDataBase": "n",
    "authCredentialCacheEnabled": "n",
    "authCredentialLifetime": "60000",
}
LINE_DEFAULTS: Final[dict[str, str]] = _FILE_DEFAULTS | {
    "httpSecure": "n",
    "rcSecure": "n",
    "appAuthPort": "9292",
    "appAuthUrl": "/rc/v1/system/rps_login",
    "userAuthPort": "9292",
    "userAuthUrl": "/rc/v1/app/rps_login",
    "ansServerPort": "8675",
    "authCredentialCacheEnabled": "y",
}
_NUMBER: Final = re.compile(r"-?\d{1,13}(?:\.\d{1,9})?", re.ASCII)
_PORT_MAX: Final = 65_535
_SHOWN: Final = 40
"""Number of characters of an invalid value in its error."""
_UNUSED: Final = frozenset(
    {
        *("devAuthHost", "devAuthPort", "devAuthUrl", "socketPoolSize", "authCredentialCacheSize"),
        *("debugLevel", "numClients", "ansServerHost", "certificateAuthorityFile", "redisToGoUrl"),
    }
)


class TranslatedSettings(NamedTuple):
    """The settings that correspond to rhoconnect-push's.

    Attributes:
        settings: the settings of the service alone.
        port: port on which it listens.
        warnings: texts about settings that differ from the given ones.
    """

    settings: Settings
    port: int
    warnings: tuple[str, ...]


def read_config(path: Path) -> dict[str, str]:
    """Read a config.json, with rhoconnect-push's defaults for omitted settings.

    Raises:
        BadSetting: the file cannot be read, or is not a JSON object.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise BadSetting(f"{path}: {error.strerror}", field="config") from error
    try:
        found = msgspec.json.decode(text)
    except (ValueError, RecursionError) as error:
        raise BadSetting(f"{path}: not valid JSON: {find_fault(text).text}", field="config") from error
    if not isinstance(found, dict):
        raise BadSetting(f"{path}: expected a JSON object", field="config")
    return _FILE_DEFAULTS | {name: _text(path, name, value) for name, value in found.items()}


def translate(
    given: Mapping[str, str], environ: Mapping[str, str], data_dir: Path, metrics_port: int | None = None
) -> TranslatedSettings:
    """Return the gateway's settings for those of rhoconnect-push.

    Args:
        given: all settings, by rhoconnect-push's names.
        environ: the process environment: `PORT`, `REDISTOGO_URL`, `REDIS`, `RHOPUSH_METRICS_PORT`,
            `RHOPUSH_LOG_LEVEL`.
        data_dir: folder of the locks.
        metrics_port: port of a listener for metrics; None: from the environment, or none.

    Raises:
        BadSetting: a value is not a number, not a port, not an address, or not a level.
    """
    number = _numbers(given)
    wait_s = number("ansResponseTimeout") / 1000
    cached = given["authCredentialCacheEnabled"] == "y"
    secure = given["httpSecure"] != "n"
    rhoconnect_push = RhoConnectPushSettings(
        port=_port("ansServerPort", given["ansServerPort"]),
        user_auth_url=_url(given, "userAuth"),
        app_auth_url=_url(given, "appAuth"),
        wait_s=min(wait_s, WAIT_MAX_S) if wait_s else WAIT_MAX_S,
        registration_ttl_s=max(1, int(number("registrationTimeout"))),
        auth_cache_s=number("authCredentialLifetime") / 1000 if cached else 0.0,
        certificate_file=Path(given["certificateFile"]) if secure else None,
        key_file=Path(given["keyFile"]) if secure else None,
    )
    redis = given.get("redisToGoUrl") or environ.get("REDISTOGO_URL") or environ.get("REDIS")
    settings = Settings(
        redis=Secret(_redis(redis or "redis://localhost:6379")),
        rhoconnect_push=rhoconnect_push,
        data_dir=data_dir,
        metrics=_metrics(metrics_port, environ),
        log_level=_log_level(environ),
    )
    port = _port("PORT", environ["PORT"]) if environ.get("PORT") else rhoconnect_push.port
    return TranslatedSettings(settings, port, tuple(_warnings(given, wait_s)))


def _metrics(port: int | None, environ: Mapping[str, str]) -> MetricsSettings:
    text = environ.get(_METRICS_PORT, "")
    if port is None and text:
        if not (text.isdecimal() and len(text) <= 5 and int(text) <= 65_535):
            raise BadSetting(f"{_METRICS_PORT}: expected a port, found {text!r}", field="metrics.port")
        port = int(text)
    return MetricsSettings(port)


def _log_level(environ: Mapping[str, str]) -> LogLevel:
    level = environ.get(_LOG_LEVEL) or "info"
    if level not in _LEVELS:
        raise BadSetting(
            f"{_LOG_LEVEL}: expected one of {', '.join(_LEVELS)}, found {level!r}", field="log_level"
        )
    return cast("LogLevel", level)


def _warnings(given: Mapping[str, str], wait_s: float) -> list[str]:
    warnings = [f"{name} is not a setting of rhoconnect-push" for name in given if name not in _KNOWN]
    if not 0 < wait_s <= WAIT_MAX_S:
        warnings.append(
            f"ansResponseTimeout: polls wait {WAIT_MAX_S:.0f} s, since Windows devices give up after 100 s"
        )
    if given["clearDataBase"] == "y":
        warnings.append("clearDataBase has no effect: the registrations are kept. Run FLUSHDB to delete them")
    if given["httpSecure"] != "n" and given.get("certificateAuthorityFile"):
        warnings.append("certificateAuthorityFile: put intermediate certificates behind the certificate")
    return warnings


_KNOWN: Final = _UNUSED | frozenset(_FILE_DEFAULTS)


def _text(path: Path, name: str, value: Any) -> str:
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return str(value)
    raise BadSetting(f"{path}: {name}: expected a text or a number", field=name)


def _numbers(given: Mapping[str, str]) -> Any:
    return lambda name: _number(name, given[name])


def _number(name: str, text: str) -> float:
    if not _NUMBER.fullmatch(text):
        raise BadSetting(f"{name}: expected a number, found {text[:_SHOWN]!r}", field=name)
    number = float(text)
    if not 0 <= number <= 1e12:
        raise BadSetting(f"{name}: out of range", field=name)
    return number


def _port(name: str, text: str) -> int:
    number = _number(name, text)
    if not number.is_integer() or number > _PORT_MAX:
        raise BadSetting(
            f"{name}: expected a port from 0 to {_PORT_MAX}, found {text[:_SHOWN]!r}", field=name
        )
    return int(number)


def _url(given: Mapping[str, str], whose: str) -> str:
    scheme = "https" if given["rcSecure"] == "y" else "http"
    authority = f"{given[f'{whose}Host']}:{given[f'{whose}Port']}"
    url = f"{scheme}://{authority}{given[f'{whose}Url']}"
    if not (re.match(URL_PATTERN, url) and _has_port(url)):
        names = f"{whose}Host, {whose}Port"
        raise BadSetting(
            f"{names}: expected a host and a port, found {authority.rpartition('@')[2][:_SHOWN]!r}",
            field=f"{whose}Host",
        )
    return url


def _has_port(url: str) -> bool:
    """Return whether the port of a URL is a number in range, or absent."""
    try:
        _ = urlsplit(url).port
    except ValueError:
        return False
    return True


def _redis(text: str) -> str:
    """`redis://DB:PASSWORD@host:port`, whose user part is the database and whose path says nothing."""
    if "://" not in text:
        return text
    url = urlsplit(text)
    if url.scheme != "redis":
        return text
    db = url.username if url.username and url.username.isdecimal() else "0"
    login = f":{quote(unquote(url.password), safe='')}@" if url.password else ""
    try:
        port = url.port or 6379
    except ValueError as error:
        raise BadSetting("redisToGoUrl: the port is not a number", field="redisToGoUrl") from error
    return f"redis://{login}{url.hostname or '127.0.0.1'}:{port}/{db}"
