"""rhoconnect-push's settings in the gateway's words: its own config.json, every key, its defaults."""

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import BadSetting
from gateway.settings.rhoconnect_push import LINE_DEFAULTS, TranslatedSettings, read_config, translate
from gateway.settings.serialization import from_json, to_json

# As it comes with rhoconnect-push.
SHIPPED = {
    "httpSecure": "n",
    "rcSecure": "n",
    "devAuthHost": "localhost",
    "devAuthUrl": "/rc/v1/app/rps_login",
    "devAuthPort": "9292",
    "userAuthHost": "localhost",
    "userAuthUrl": "/rc/v1/app/rps_login",
    "userAuthPort": "9292",
    "appAuthHost": "localhost",
    "appAuthUrl": "/rc/v1/system/rps_login",
    "appAuthPort": "9292",
    "ansResponseTimeout": "300000",
    "ansServerPort": "8675",
    "registrationTimeout": "2592000",
    "clearDataBase": "n",
    "socketPoolSize": 1,
    "debugLevel": "1",
}


def translated(tmp_path: Path, config: dict[str, Any] | None, **environ: str) -> TranslatedSettings:
    """A config.json's meaning; None: the command line's without options."""
    said = LINE_DEFAULTS
    if config is not None:
        path = tmp_path / "config.json"
        path.write_text(json.dumps(config))
        said = read_config(path)
    return translate(said, environ, tmp_path / "data")


def test_the_shipped_config(tmp_path: Path) -> None:
    found = translated(tmp_path, SHIPPED)
    rhoconnect_push = found.settings.rhoconnect_push
    assert found.port == 8675
    assert rhoconnect_push.mode == "builtin"
    assert rhoconnect_push.user_auth_url == "http://localhost:9292/rc/v1/app/rps_login"
    assert rhoconnect_push.app_auth_url == "http://localhost:9292/rc/v1/system/rps_login"
    assert (rhoconnect_push.wait_s, rhoconnect_push.registration_ttl_s, rhoconnect_push.auth_cache_s) == (
        90.0,
        2_592_000,
        0.0,
    )
    assert rhoconnect_push.certificate_file is None
    assert found.settings.redis is not None
    assert found.settings.redis.reveal() == "redis://localhost:6379/0"
    assert [warning.partition(":")[0] for warning in found.warnings] == ["ansResponseTimeout"]


def test_the_command_lines_defaults(tmp_path: Path) -> None:
    found = translated(tmp_path, None)
    assert found.port == 8675
    assert found.settings.rhoconnect_push.user_auth_url == "http://localhost:9292/rc/v1/app/rps_login"
    assert found.settings.rhoconnect_push.auth_cache_s == 60.0
    assert found.settings.rhoconnect_push.certificate_file is None


def test_missing_keys_of_a_config_have_their_own_defaults(tmp_path: Path) -> None:
    found = translated(tmp_path, {})
    rhoconnect_push = found.settings.rhoconnect_push
    assert found.port == 5000
    assert rhoconnect_push.user_auth_url == "https://localhost:5003/userAuthUrl"
    assert rhoconnect_push.app_auth_url == "https://localhost:5002/appAuthUrl"
    assert (rhoconnect_push.certificate_file, rhoconnect_push.key_file) == (
        Path("certificate.pem"),
        Path("privatekey.pem"),
    )


@pytest.mark.parametrize(
    ("key", "value", "meaning"),
    [
        ("ansResponseTimeout", "30000", ("wait_s", 30.0)),
        ("ansResponseTimeout", 0, ("wait_s", 90.0)),
        ("registrationTimeout", 60, ("registration_ttl_s", 60)),
        ("authCredentialCacheEnabled", "y", ("auth_cache_s", 60.0)),
        ("rcSecure", "y", ("app_auth_url", "https://localhost:9292/rc/v1/system/rps_login")),
        ("httpSecure", "y", ("key_file", Path("privatekey.pem"))),
    ],
)
def test_each_setting_of_rhoconnect_push_is_translated(
    tmp_path: Path, key: str, value: Any, meaning: tuple[str, Any]
) -> None:
    rhoconnect_push = translated(tmp_path, {**SHIPPED, key: value}).settings.rhoconnect_push
    assert getattr(rhoconnect_push, meaning[0]) == meaning[1]


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://localhost:6379", "redis://localhost:6379/0"),
        ("redis://3:secret@host:7000/ignored", "redis://:secret@host:7000/3"),
        ("redis://redistogo:p%40ss@host:7000/", "redis://:p%40ss@host:7000/0"),
        ("rediss://host:7000/1", "rediss://host:7000/1"),
        ("localhost:6379:1", "localhost:6379:1"),
    ],
)
def test_the_redis_url_of_a_config_becomes_an_address(tmp_path: Path, url: str, address: str) -> None:
    redis = translated(tmp_path, {**SHIPPED, "redisToGoUrl": url}).settings.redis
    assert redis is not None
    assert redis.reveal() == address


def test_the_environment_names_redis_and_port(tmp_path: Path) -> None:
    found = translated(tmp_path, SHIPPED, REDISTOGO_URL="redis://2:pw@there:1", REDIS="redis://no", PORT="81")
    assert found.settings.redis is not None
    assert (found.settings.redis.reveal(), found.port) == ("redis://:pw@there:1/2", 81)


def test_the_environment_has_the_level_of_the_log(tmp_path: Path) -> None:
    levels = {
        level: translated(tmp_path, SHIPPED, RHOPUSH_LOG_LEVEL=level) for level in ("", "debug", "error")
    }
    assert [one.settings.log_level for one in levels.values()] == ["info", "debug", "error"]
    with pytest.raises(BadSetting) as raised:
        translated(tmp_path, SHIPPED, RHOPUSH_LOG_LEVEL="loud")
    assert raised.value.message == (
        "RHOPUSH_LOG_LEVEL: expected one of debug, info, warning, error, found 'loud'"
    )


def test_ignored_settings_are_reported(tmp_path: Path) -> None:
    config = {**SHIPPED, "ansResponseTimeout": 1000, "clearDataBase": "y", "colour": "red"}
    warnings = translated(tmp_path, config).warnings
    assert [warning.partition(":")[0] for warning in warnings] == [
        "colour is not a setting of rhoconnect-push",
        "clearDataBase has no effect",
    ]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("[]", "expected a JSON object"),
        ("{", r"not valid JSON: it ends too early \(byte 1, line 1, column 2\)$"),
        ("[" * 100_000, "not valid JSON: it "),
        ('{"ansServerPort": []}', "ansServerPort: expected a text or a number"),
        ('{"ansResponseTimeout": "long"}', "ansResponseTimeout: expected a number, found 'long'"),
        ('{"registrationTimeout": "-1"}', "registrationTimeout: out of range"),
        ('{"redisToGoUrl": "redis://host:port"}', "redisToGoUrl: the port is not a number"),
        ('{"ansServerPort": 99999}', "ansServerPort: expected a port from 0 to 65535, found '99999'"),
        (
            '{"userAuthPort": 99999}',
            "userAuthHost, userAuthPort: expected a host and a port, found 'localhost:99999'",
        ),
        (
            '{"appAuthHost": "/", "appAuthPort": 1}',
            "appAuthHost, appAuthPort: expected a host and a port, found '/:1'",
        ),
    ],
)
def test_an_error_is_reported_in_one_line(tmp_path: Path, config: str, message: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(config)
    with pytest.raises(BadSetting, match=message.replace("[]", r"\[\]")):
        translate(read_config(path), {}, tmp_path)


@pytest.mark.parametrize("name", LINE_DEFAULTS)
@pytest.mark.parametrize(
    "value", ["", "0", "-1", "1.5", "65535", "65536", "1000000000000", "x", "/", "?", "a b", "[", "\u0665"]
)
def test_a_worker_takes_every_value_that_is_not_refused(tmp_path: Path, name: str, value: str) -> None:
    for environ in ({}, {"PORT": value}):
        try:
            found = translate(LINE_DEFAULTS | {name: value}, environ, tmp_path)
        except BadSetting:
            continue
        assert 0 <= found.port <= 65_535
        assert from_json(to_json(found.settings)) == found.settings


def test_a_missing_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="No such file"):
        read_config(tmp_path / "config.json")


@pytest.mark.parametrize("text", ["1_0", " 5", "\u0665", "nan", "inf", "1e3", "--1", "+1", "9" * 5_000, ""])
def test_a_number_is_ascii_digits(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadSetting, match="expected a number") as caught:
        translated(tmp_path, {"registrationTimeout": text})
    assert len(str(caught.value)) < 200


def test_a_config_that_is_nested_without_end(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(b'{"a":' * 50_000)
    with pytest.raises(BadSetting, match="not valid JSON"):
        read_config(path)
