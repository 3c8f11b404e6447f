"""The layers of settings, RhoConnect's own file as it stands among them, and what is refused."""

import textwrap
from pathlib import Path

import pytest

from gateway.errors import BadSetting
from gateway.settings import ApnsSettings, FcmSettings, Secret, Settings, load

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


def test_an_app_inherits_the_settings_that_it_does_not_set(tmp_path: Path) -> None:
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


@pytest.mark.parametrize("word", ["off", "'off'", "no", "false"])
def test_a_bare_off_is_accepted_where_off_is_a_choice(tmp_path: Path, word: str) -> None:
    settings = loaded(tmp_path, f"auth: {{devices: {word}}}\nrhoconnect_push: {{mode: {word}}}")
    assert (settings.auth.devices, settings.rhoconnect_push.mode) == ("off", "off")


@pytest.mark.parametrize(
    ("gateway", "expected"),
    [
        ("apsn: {}", "apsn: unknown setting; did you mean apns? ("),
        ("apns: {dedline_s: 3}", "apns.dedline_s: unknown setting; did you mean deadline_s? ("),
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
        ("apps: {com.x: {apsn: {}}}", "apps.com.x.apsn: unknown setting; did you mean apns? ("),
        ("apps: {com.x: {apns: {port: 0}}}", "apps.com.x.apns.port: expected a whole number >= 1 ("),
        ("apns: {key: a, key_file: b}", "apns.key: give one credential, not key and key_file ("),
        ("apns: {key: a, team_id: b}", "apns.key_id: required with a p8 key ("),
        (
            "fcm: {endpoint: fcm.example.com}",
            "fcm.endpoint: expected http:// or https:// with a host, optionally a port, and no path (",
        ),
        (
            "rhoconnect_push: {user_auth_url: host/x}",
            "rhoconnect_push.user_auth_url: expected an http:// or https:// address (",
        ),
        (
            "rhoconnect_push: {app_auth_url: 'http://'}",
            "rhoconnect_push.app_auth_url: expected an http:// or https:// address (",
        ),
        ("warnings: []", "warnings: unknown setting ("),
    ],
)
def test_a_wrong_setting_is_named_with_its_line(tmp_path: Path, gateway: str, expected: str) -> None:
    said = complaint(tmp_path, gateway)
    assert said.startswith(expected)
    assert "settings.yml, line" in said


def test_the_line_is_that_of_the_wrong_value(tmp_path: Path) -> None:
    said = complaint(tmp_path, "apns:\n  topic: com.x\n  port: many\n")
    assert said.endswith(
        "settings.yml, line 6)"
    )  # `:production:`, an empty line, `:gateway:`, `apns:`, `topic:`


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (":production: {a: [", "line 1: not valid YAML: the file ends inside a list, a mapping or a text"),
        (":production:\n\tgateway: {}\n", "line 2: not valid YAML: a tab in the indentation; use spaces"),
        (":production:\n  a: @b\n", "line 2: not valid YAML: a value that begins with @ (put it in quotes)"),
        (":production:\n  a: b: c\n", "line 2: not valid YAML: syntax error at column 7 (check"),
        (":production: *a\n", "line 1: not valid YAML: an alias without an anchor"),
        (":production: \x01\n", "not valid YAML: a control character (line 1)"),
        ("- a\n", "expected a mapping of settings, found a list"),
        (":production: !ruby/object:Foo {}\n", "line 1: not valid YAML"),
        (":production: &a {gateway: *a}\n", "not valid YAML"),
        (":production: 3\n", "production: expected a mapping"),
        (
            ":staging: {}\n:test: {}\n",
            "has no environment 'production'; expected one of: staging, test",
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


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xef\xbb\xbf", b"\xff\xfe"])
def test_an_empty_file_is_refused(tmp_path: Path, content: bytes) -> None:
    """The defaults would apply, which have no credentials."""
    file = tmp_path / "settings.yml"
    file.write_bytes(content)
    with pytest.raises(BadSetting, match=r"settings\.yml is empty: a write may have failed"):
        load(file, "production", {})


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match=r"nope\.yml cannot be read: No such file"):
        load(tmp_path / "nope.yml", None, {})


def test_settings_without_effect_are_reported(tmp_path: Path) -> None:
    quiet = load(None, "test", {"RHOPUSH_DATA_DIR": str(tmp_path)})
    said = load(None, "test", {"RHOPUSH_APNS_BACKGROUND_MIN_INTERVAL_S": "1200"})
    assert quiet.warnings == ()
    assert said.warnings == ("apns.background_min_interval_s has no effect in this version",)


@pytest.mark.parametrize(
    "content", [b"# caf\xe9\ndevelopment: {}\n", b"development: {}\n# \x01\n", b"\xff\xfe\x00"]
)
def test_invalid_utf_8_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "settings.yml"
    file.write_bytes(content)
    with pytest.raises(BadSetting) as refused:
        load(file, "development", {})
    assert str(file) in refused.value.message
    assert "\n" not in refused.value.message


@pytest.mark.parametrize("said", ["tok\r\n", " tok \n", "\ufefftok", "\ttok\t"])
def test_white_space_around_a_mounted_secret_is_removed(said: str, tmp_path: Path) -> None:
    settings = load(None, None, {"API_TOKEN": said, "RHOPUSH_DATA_DIR": str(tmp_path)})
    assert settings.api_token is not None
    assert settings.api_token.reveal() == "tok"


@pytest.mark.parametrize(
    ("more", "told"), [({}, True), ({"RHOPUSH_PUSH_SERVER": "http://app@push-server:8675/"}, False)]
)
def test_a_missing_push_server_causes_a_warning(tmp_path: Path, more: dict[str, str], told: bool) -> None:
    settings = load(
        None, None, {"RHOPUSH_RHOCONNECT_PUSH_MODE": "client", "RHOPUSH_DATA_DIR": str(tmp_path)} | more
    )
    assert any("push_server" in warning for warning in settings.warnings) is told


@pytest.mark.parametrize("text", ["[" * 16_000, "{a: " * 16_000, "a: " + "[" * 100])
def test_a_file_with_endless_nesting_is_reported(tmp_path: Path, text: str) -> None:
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
