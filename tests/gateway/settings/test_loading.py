"""The layers of settings, RhoConnect's own file as it stands among them, and what is refused."""

import textwrap
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import BadSetting
from gateway.settings import ApnsSettings, FcmSettings, Secret, Settings, Source, from_json, load, to_json

RHOCONNECT = """
    :sources:
      Product: {:poll_interval: 300, :push_notify: 'true', :partition_type: user, :priority: 1}
      Price: {partition_type: app, push_notify: true}
      Order:
    :development:
      :redis: localhost:6379
    :production:
      :redis: [db1:6379:2:hush, db2:6379]
      :syncserver: http://localhost:9292
      :api_token: my-rhoconnect-token
      :push_server: http://someappname@localhost:8675/
      :iphonecertfile: settings/apple_push_cert.pem
      :iphonepassphrase: 1234
      :iphoneserver: gateway.push.apple.com
      :iphoneport: 2195
      :iphonecertificates:
        com.x.store01: {:iphonecertfile: settings/a.pem, :iphonepassphrase: s}
      :fcm_project_id: my-project
      :package_name: com.example.app
      :cookie_expire: 31536000
"""


def written(folder: Path, text: str) -> Path:
    file = folder / "settings" / "settings.yml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(textwrap.dedent(text))
    return file


def loaded(folder: Path, gateway: str, environ: dict[str, str] | None = None, beside: str = "") -> Settings:
    """A file whose production environment has `gateway` below `:gateway:` and `beside` beside it."""
    body = textwrap.indent(textwrap.dedent(gateway), "    ")
    more = textwrap.indent(textwrap.dedent(beside), "  ")
    return load(written(folder, f":production:\n{more}\n  :gateway:\n{body}\n"), "production", environ or {})


def complaint(folder: Path, gateway: str, environ: dict[str, str] | None = None, beside: str = "") -> str:
    with pytest.raises(BadSetting) as refused:
        loaded(folder, gateway, environ, beside)
    assert "\n" not in refused.value.message
    return refused.value.message


def test_rhoconnects_own_file_works_unchanged(tmp_path: Path) -> None:
    settings = load(written(tmp_path, RHOCONNECT), "production", {})
    assert settings.redis == Secret("db1:6379:2:hush")
    assert settings.api_token == Secret("my-rhoconnect-token")
    assert settings.push_server == Secret("http://someappname@localhost:8675/")
    assert settings.apns.certificate_file == tmp_path / "settings" / "apple_push_cert.pem"
    assert settings.apns.certificate_passphrase == Secret("1234")
    assert (settings.apns.server, settings.apns.port) == ("api.push.apple.com", 443)
    assert (settings.fcm.project_id, settings.fcm.package_name) == ("my-project", "com.example.app")
    assert settings.sources == {
        "Product": Source("user", push_notify=True),
        "Price": Source("app", push_notify=True),
        "Order": Source("user", push_notify=False),
    }
    store01 = settings.app("com.x.store01").apns
    assert (store01.certificate_file, store01.certificate_passphrase) == (
        tmp_path / "settings" / "a.pem",
        Secret("s"),
    )
    assert store01.server == "api.push.apple.com"
    assert settings.app("com.other").apns is settings.apns
    assert settings.data_dir == tmp_path / "data"


@pytest.mark.parametrize(
    ("name", "environ", "redis"),
    [
        ("production", {}, "db1:6379:2:hush"),
        (None, {"RHO_ENV": "production", "RACK_ENV": "development"}, "db1:6379:2:hush"),
        (None, {"RACK_ENV": "production"}, "db1:6379:2:hush"),
        (None, {}, "localhost:6379"),
        ("development", {"RHO_ENV": "production"}, "localhost:6379"),
    ],
)
def test_the_environment_is_found_in_order(
    tmp_path: Path, name: str | None, environ: dict[str, str], redis: str
) -> None:
    assert load(written(tmp_path, RHOCONNECT), name, environ).redis == Secret(redis)


def test_keys_may_have_no_colon(tmp_path: Path) -> None:
    plain = RHOCONNECT.replace("{:", "{").replace(", :", ", ").replace(" :", " ")
    file = written(tmp_path, plain)
    assert ":redis" not in file.read_text()
    assert load(file, "production", {}) == load(written(tmp_path, RHOCONNECT), "production", {})


def test_without_a_file_the_defaults_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load(None, None, {})
    assert settings == Settings(data_dir=tmp_path / "data")
    assert (settings.redis, settings.apns.configured, settings.fcm.configured) == (None, False, False)


@pytest.mark.parametrize(
    ("server", "port", "expected"),
    [
        ("gateway.push.apple.com", "2195", ("api.push.apple.com", 443)),
        ("gateway.sandbox.push.apple.com", "2195", ("api.sandbox.push.apple.com", 443)),
        ("api.push.apple.com", "2197", ("api.push.apple.com", 2197)),
        ("apns.example.com", "2195", ("apns.example.com", 2195)),
        ("127.0.0.1", "'8443'", ("127.0.0.1", 8443)),
    ],
)
def test_apples_retired_hosts_mean_the_new_ones(
    tmp_path: Path, server: str, port: str, expected: tuple[str, int]
) -> None:
    settings = loaded(tmp_path, "{}", beside=f":iphoneserver: {server}\n:iphoneport: {port}")
    assert (settings.apns.server, settings.apns.port) == expected


@pytest.mark.parametrize(
    ("environ", "redis"),
    [
        ({}, "of-the-file"),
        ({"REDIS_URL": "a"}, "a"),
        ({"REDIS_URL": "a", "REDISTOGO_URL": "b"}, "b"),
        ({"REDIS_URL": "a", "REDISTOGO_URL": "b", "REDIS": "c"}, "c"),
        ({"REDIS_URL": "a", "REDISTOGO_URL": "b", "REDIS": "c", "RHOPUSH_REDIS": "d"}, "d"),
        ({"REDIS": ""}, "of-the-file"),
    ],
)
def test_redis_is_found_in_order(tmp_path: Path, environ: dict[str, str], redis: str) -> None:
    assert loaded(tmp_path, "{}", environ, beside=":redis: of-the-file").redis == Secret(redis)


def test_every_kind_of_value_comes_from_the_environment(tmp_path: Path) -> None:
    environ = {
        "RHOPUSH_APNS_KEY_ID": "1234567890",
        "RHOPUSH_APNS_DEADLINE_S": "2.5",
        "RHOPUSH_LIMITS_REQUESTS_PER_S": "100",
        "RHOPUSH_RESQUE_QUEUES": '["ping", "slow"]',
        "RHOPUSH_APPS": '{"com.x": {"fcm": {"package_name": "com.x.android"}}}',
        "RHOPUSH_QUEUE": '{"durability": "aof"}',
        "RHOPUSH_EVENTS_KEYSPACE": "off",
        "API_TOKEN": "t",
        "PSWRD": "p",
    }
    settings = loaded(tmp_path, "apns: {deadline_s: 9, connections_max: 7}", environ)
    assert (settings.apns.key_id, settings.apns.deadline_s, settings.apns.connections_max) == (
        "1234567890",
        2.5,
        7,
    )
    assert (settings.limits.requests_per_s, settings.resque.queues) == (100.0, ("ping", "slow"))
    assert settings.app("com.x").fcm.package_name == "com.x.android"
    assert (settings.queue.durability, settings.events.keyspace) == ("aof", "off")
    assert (settings.api_token, settings.admin_password) == (Secret("t"), Secret("p"))


def test_googles_variable_counts_where_nothing_else_is_said(tmp_path: Path) -> None:
    environ = {"GOOGLE_APPLICATION_CREDENTIALS": "/etc/ambient.json"}
    assert loaded(tmp_path, "{}", environ).fcm.credentials_file == Path("/etc/ambient.json")
    said = loaded(tmp_path, "fcm: {credentials: '{}'}", environ).fcm
    assert (said.credentials, said.credentials_file) == (Secret("{}"), None)


def test_an_app_has_what_it_says_and_the_rest_from_above(tmp_path: Path) -> None:
    settings = loaded(
        tmp_path,
        """
        apns: {key_file: AuthKey.p8, key_id: A, team_id: B, topic: com.x, deadline_s: 3}
        fcm: {credentials_file: account.json, style: data}
        apps:
          com.y: {apns: {topic: com.y}}
          com.z: {apns: {certificate_file: z.pem}, fcm: {project_id: z}}
        """,
    )
    y, z = settings.app("com.y"), settings.app("com.z")
    assert y.apns == ApnsSettings(
        key_file=tmp_path / "AuthKey.p8", key_id="A", team_id="B", topic="com.y", deadline_s=3.0
    )
    assert y.fcm == settings.fcm
    assert (z.apns.certificate_file, z.apns.key_file, z.apns.topic) == (tmp_path / "z.pem", None, None)
    assert z.fcm == FcmSettings(credentials_file=tmp_path / "account.json", style="data", project_id="z")


@pytest.mark.parametrize(
    ("said", "server", "sandbox"),
    [
        ("{}", "api.push.apple.com", None),
        ("{environment: sandbox}", "api.sandbox.push.apple.com", None),
        ("{environment: auto}", "api.push.apple.com", ("api.sandbox.push.apple.com", 443)),
        ("{environment: auto, host: mine}", "mine", None),  # nobody's own host leads to Apple's sandbox
        (
            "{environment: auto, host: mine, sandbox_host: other, sandbox_port: 2197}",
            "mine",
            ("other", 2197),
        ),
        ("{host: mine, sandbox_host: other}", "mine", None),
    ],
)
def test_apples_hosts_by_environment(
    tmp_path: Path, said: str, server: str, sandbox: tuple[str, int] | None
) -> None:
    file = tmp_path / "settings.yml"
    file.write_text(f"development: {{gateway: {{apns: {said}}}}}\n")
    apns = load(file, "development", {}).apns
    assert (apns.server, apns.sandbox) == (server, sandbox)
    changed = load(file, "development", {"RHOPUSH_APNS_ENVIRONMENT": "auto"}).apns
    assert (changed.server, changed.sandbox) == (
        "api.push.apple.com",
        ("api.sandbox.push.apple.com", 443),
    )


def test_a_key_displaces_the_certificate_of_the_old_file(tmp_path: Path) -> None:
    settings = loaded(
        tmp_path,
        "apns: {key: PEM, key_id: A, team_id: B, environment: sandbox}",
        beside=":iphonecertfile: old.pem\n:iphoneserver: gateway.push.apple.com",
    )
    assert (settings.apns.certificate_file, settings.apns.key) == (None, Secret("PEM"))
    assert settings.apns.server == "api.sandbox.push.apple.com"


@pytest.mark.parametrize("word", ["off", "'off'", "no", "false"])
def test_a_bare_off_is_taken_where_off_is_a_choice(tmp_path: Path, word: str) -> None:
    settings = loaded(tmp_path, f"auth: {{devices: {word}}}\nrhoconnect_push: {{mode: {word}}}")
    assert (settings.auth.devices, settings.rhoconnect_push.mode) == ("off", "off")


@pytest.mark.parametrize(
    ("gateway", "expected"),
    [
        ("apsn: {}", "apsn: no such setting; did you mean apns? ("),
        ("apns: {dedline_s: 3}", "apns.dedline_s: no such setting; did you mean deadline_s? ("),
        ("apns: {deadline_s: soon}", "apns.deadline_s: expected a number, found text ("),
        ("apns: {deadline_s: 0}", "apns.deadline_s: expected a number > 0.0 ("),
        ("apns: {key_id: 12}", "apns.key_id: expected text, found a whole number (put it in quotes) ("),
        (
            "apns: {environment: prod}",
            "apns.environment: expected one of production, sandbox, auto, found 'prod' (",
        ),
        ("apns: []", "apns: expected a mapping ("),
        (
            "queue: {durability: false}",
            "queue.durability: expected one of memory, aof, fsync, replicas, found",
        ),
        ("resque: {queues: ping}", "resque.queues: expected a list, found text ("),
        ("resque: {queues: [1]}", "resque.queues: expected text, found a whole number"),
        ("apps: {com.x: {apsn: {}}}", "apps.com.x.apsn: no such setting; did you mean apns? ("),
        ("apps: {com.x: {apns: {port: 0}}}", "apps.com.x.apns.port: expected a whole number >= 1 ("),
        ("apns: {key: a, key_file: b}", "apns.key: give one credential, not key and key_file ("),
        ("apns: {key: a, team_id: b}", "apns.key_id: a p8 key needs it ("),
        (
            "fcm: {endpoint: fcm.example.com}",
            "fcm.endpoint: expected http:// or https:// with a host, perhaps a port, and no path (",
        ),
        (
            "rhoconnect_push: {user_auth_url: host/x}",
            "rhoconnect_push.user_auth_url: expected an http:// or https:// address (",
        ),
        (
            "rhoconnect_push: {app_auth_url: 'http://'}",
            "rhoconnect_push.app_auth_url: expected an http:// or https:// address (",
        ),
        ("warnings: []", "warnings: no such setting ("),
    ],
)
def test_a_wrong_setting_is_named_with_its_place(tmp_path: Path, gateway: str, expected: str) -> None:
    said = complaint(tmp_path, gateway)
    assert said.startswith(expected)
    assert "settings.yml, line" in said


def test_the_line_is_that_of_the_wrong_value(tmp_path: Path) -> None:
    said = complaint(tmp_path, "apns:\n  topic: com.x\n  port: many\n")
    assert said.endswith(
        "settings.yml, line 6)"
    )  # `:production:`, an empty line, `:gateway:`, `apns:`, `topic:`


def test_a_wrong_value_of_rhoconnects_keys_is_named_where_it_stands(tmp_path: Path) -> None:
    said = complaint(tmp_path, "{}", beside=":iphonecertfile: [a]")
    assert said.startswith("apns.certificate_file: expected text")
    assert "line 2" in said


@pytest.mark.parametrize(
    ("variable", "text", "expected"),
    [
        ("RHOPUSH_APNS_PORT", "many", "apns.port: expected a whole number"),
        ("RHOPUSH_RESQUE_QUEUES", "ping", "resque.queues: expected JSON"),
        ("RHOPUSH_FCM_ENDPOINT", "ftp://x", "fcm.endpoint: expected http:// or https:// with a host"),
        ("RHOPUSH_APNS_KEY", "PEM", "apns.key_id: a p8 key needs it"),
        ("RHOPUSH_APNS_KEY_FILE", "a.p8", "apns.key_id: a p8 key needs it"),
        (
            "RHOPUSH_RHOCONNECT_PUSH_MODE",
            "on",
            "rhoconnect_push.mode: expected one of builtin, client, off, found 'on'",
        ),
        ("RHOPUSH_APPS", '{"x": {"fcm": {"style": "loud"}}}', "apps.x.fcm.style: expected one of"),
    ],
)
def test_a_wrong_variable_is_named(tmp_path: Path, variable: str, text: str, expected: str) -> None:
    said = complaint(tmp_path, "{}", {variable: text})
    assert said.startswith(expected)
    assert said.endswith(f"(environment variable {variable})")


def test_a_variable_that_is_no_setting_is_warned_about(tmp_path: Path) -> None:
    environ = {"RHOPUSH_APNS_TOPICS": "x", "RHOPUSH_SERVER": "http://x"}
    warnings = loaded(tmp_path, "{}", environ).warnings
    assert warnings == ("RHOPUSH_APNS_TOPICS is no setting; did you mean RHOPUSH_APNS_TOPIC?",)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (":production: {a: [", "line 1: not valid YAML: the file ends inside of a list, a mapping or a text"),
        (":production:\n\tgateway: {}\n", "line 2: not valid YAML: a tab in the indentation; use spaces"),
        (":production:\n  a: @b\n", "line 2: not valid YAML: a value that begins with @ (put it in quotes)"),
        (":production:\n  a: b: c\n", "line 2: not valid YAML: it cannot be read on at column 7 (look at"),
        (":production: *a\n", "line 1: not valid YAML: an alias without its anchor"),
        (":production: \x01\n", "not valid YAML: a control character (line 1)"),
        ("- a\n", "expected a mapping of settings, found a list"),
        (":production: !ruby/object:Foo {}\n", "line 1: not valid YAML"),
        (":production: &a {gateway: *a}\n", "not valid YAML"),
        (":production: 3\n", "production: expected a mapping"),
        (
            ":staging: {}\n:test: {}\n",
            "says nothing about the environment 'production'; it knows staging, test",
        ),
        (":production: {gateway: 3}\n", "gateway: expected a mapping"),
        (":sources: 3\n", "sources: expected a mapping"),
        (":production: {iphonecertificates: [a]}\n", "iphonecertificates: expected a mapping"),
        (":production: {redis: []}\n", "redis: the list of addresses is empty"),
    ],
)
def test_a_file_that_is_no_settings_is_refused_in_one_line(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(BadSetting) as refused:
        load(written(tmp_path, text), "production", {})
    assert expected in refused.value.message
    assert "\n" not in refused.value.message


def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match=r"nope\.yml cannot be read: No such file"):
        load(tmp_path / "nope.yml", None, {})


@pytest.mark.parametrize(
    ("beside", "source", "pushes"),
    [
        ("{}", "{push_notify: 'true'}", True),
        ("{}", "{push_notify: 'yes'}", False),
        ("{push_notify_default: 'true'}", "{}", True),
        ("{push_notify: 'true'}", "{}", True),
        ("{push_notify_default: 'true'}", "{push_notify: 'false'}", False),
        ("{push_notify_default: 'true'}", "{push_notify: 'false', force_default: true}", True),
    ],
)
def test_what_pushes_by_default(tmp_path: Path, beside: str, source: str, pushes: bool) -> None:
    file = written(tmp_path, f":sources: {{A: {source}}}\n:production: {beside}\n")
    assert load(file, "production", {}).sources["A"].push_notify is pushes


def secrets_of(settings: Settings) -> dict[str, Any]:
    return {"redis": settings.redis, "key": settings.apns.key, "account": settings.fcm.credentials}


def test_no_repr_shows_a_secret_and_the_handover_keeps_them(tmp_path: Path) -> None:
    settings = loaded(
        tmp_path,
        """
        apns: {key: hush-key, key_id: A, team_id: B}
        fcm: {credentials: hush-account}
        apps: {com.x: {apns: {certificate_file: x.pem, certificate_passphrase: hush-phrase}}}
        """,
        {"REDIS": "redis://:hush-redis@db", "API_TOKEN": "hush-token", "PSWRD": "hush-password"},
    )
    assert "hush" not in f"{settings!r} {settings} {settings.apps!r}"
    assert "Secret(***)" in repr(settings)
    received = from_json(to_json(settings))
    assert received == settings
    assert secrets_of(received) == secrets_of(settings)
    assert received.app("com.x").apns.certificate_passphrase == Secret("hush-phrase")


def test_what_has_no_effect_is_said(tmp_path: Path) -> None:
    quiet = load(None, "test", {"RHOPUSH_DATA_DIR": str(tmp_path)})
    said = load(None, "test", {"RHOPUSH_APNS_BACKGROUND_MIN_INTERVAL_S": "1200"})
    assert quiet.warnings == ()
    assert said.warnings == ("apns.background_min_interval_s has no effect in this version",)


@pytest.mark.parametrize(
    "content", [b"# caf\xe9\ndevelopment: {}\n", b"development: {}\n# \x01\n", b"\xff\xfe\x00"]
)
def test_bytes_that_are_no_text_are_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "settings.yml"
    file.write_bytes(content)
    with pytest.raises(BadSetting) as refused:
        load(file, "development", {})
    assert str(file) in refused.value.message
    assert "\n" not in refused.value.message


@pytest.mark.parametrize("said", ["tok\r\n", " tok \n", "\ufefftok", "\ttok\t"])
def test_what_stands_around_a_mounted_secret_is_no_part_of_it(said: str, tmp_path: Path) -> None:
    settings = load(None, None, {"API_TOKEN": said, "RHOPUSH_DATA_DIR": str(tmp_path)})
    assert settings.api_token is not None
    assert settings.api_token.reveal() == "tok"


@pytest.mark.parametrize(
    ("more", "told"), [({}, True), ({"RHOPUSH_PUSH_SERVER": "http://app@push-server:8675/"}, False)]
)
def test_a_push_service_that_is_nowhere_is_warned_of(
    tmp_path: Path, more: dict[str, str], told: bool
) -> None:
    settings = load(
        None, None, {"RHOPUSH_RHOCONNECT_PUSH_MODE": "client", "RHOPUSH_DATA_DIR": str(tmp_path)} | more
    )
    assert any("push_server" in warning for warning in settings.warnings) is told


def test_bytes_of_the_environment_that_are_not_utf_8_are_told(tmp_path: Path) -> None:
    said = complaint(tmp_path, "{}", {"RHOPUSH_LIMITS_BODY_BYTES": "5\udcff"})
    assert said.startswith("limits.body_bytes: ")


@pytest.mark.parametrize("text", ["[" * 16_000, "{a: " * 16_000, "a: " + "[" * 100])
def test_a_file_that_is_nested_without_end_is_told(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadSetting, match=r"settings\.yml, line 1: not valid YAML"):
        load(written(tmp_path, text), "development", {})


@pytest.mark.parametrize("entry", ["10.0.0.0/33", "proxy.example", "10.0.0.1/8"])
def test_a_trusted_proxy_that_is_no_network_is_refused_by_name(tmp_path: Path, entry: str) -> None:
    said = complaint(tmp_path, f"http: {{trusted_proxies: [10.0.0.1, {entry!r}]}}")
    assert said.startswith(f"http.trusted_proxies: {entry!r} ")
    assert "settings.yml, line 4" in said
    environ = {"RHOPUSH_HTTP_TRUSTED_PROXIES": f'["{entry}"]'}
    assert "RHOPUSH_HTTP_TRUSTED_PROXIES" in complaint(tmp_path, "{}", environ)
    settings = loaded(tmp_path, "http: {trusted_proxies: [10.0.0.0/8, '::1']}")
    assert settings.http.trusted_proxies == ("10.0.0.0/8", "::1")


@pytest.mark.parametrize(
    ("written_as", "text"),
    [
        ("2026-11-30", "2026-11-30"),
        ("20261130", "20261130"),
        ("1_000", "1000"),
        ("0123", "83"),
        ("yes", "true"),
        (":secret", "secret"),
        ("1.50", "1.5"),
    ],
)
def test_rhoconnects_own_texts_are_what_ruby_makes_of_them(
    tmp_path: Path, written_as: str, text: str
) -> None:
    settings = load(
        written(tmp_path, f":production:\n  :api_token: {written_as}\t# ours\n"), "production", {}
    )
    assert settings.api_token is not None
    assert settings.api_token.reveal() == text
