"""Names of settings in earlier versions are refused, and the error has the present name."""

from pathlib import Path

import pytest

from gateway.errors import BadSetting
from gateway.settings.environment import setting_paths, variable_of
from gateway.settings.loading import load
from gateway.settings.renamed import former_paths, present_path, renaming

SECTION = (
    *("mode", "host", "port", "redis", "user_auth_url", "app_auth_url", "auth_cache_s", "wait_s"),
    *("queue_max", "collapse_unnamed", "secret", "certificate_file", "key_file"),
)
"""Settings of the section whose own names never changed."""


def complaint(folder: Path, text: str = ":test: {}\n", environ: dict[str, str] | None = None) -> BadSetting:
    file = folder / "settings.yml"
    file.write_text(text)
    with pytest.raises(BadSetting) as caught:
        load(file, "test", environ or {})
    return caught.value


@pytest.mark.parametrize(
    ("gateway", "said", "field"),
    [
        ("rps: {mode: client}", "rps: is now called rhoconnect_push", "rps"),
        (":rps:", "rps: is now called rhoconnect_push", "rps"),
        (
            "rps: {old_ids: true, port: 1, registration_s: 5}",
            "rps: is now called rhoconnect_push; rps.old_ids is now called rhoconnect_push.accept_unsigned_ids; "
            "rps.registration_s is now called rhoconnect_push.registration_ttl_s",
            "rps",
        ),
        (
            "rhoconnect_push: {old_ids: true}",
            "rhoconnect_push.old_ids: is now called rhoconnect_push.accept_unsigned_ids",
            "rhoconnect_push.old_ids",
        ),
        (
            ":rhoconnect_push: {:registration_s: 5}",
            "rhoconnect_push.registration_s: is now called rhoconnect_push.registration_ttl_s",
            "rhoconnect_push.registration_s",
        ),
    ],
)
def test_an_old_name_in_the_file_is_refused(tmp_path: Path, gateway: str, said: str, field: str) -> None:
    error = complaint(tmp_path, f":test:\n  :gateway:\n    {gateway}\n")
    assert error.message == f"{said} ({tmp_path}/settings.yml, line 3)"
    assert error.field == field


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        *(
            (f"RHOPUSH_RPS_{name.upper()}", f"RHOPUSH_RHOCONNECT_PUSH_{name.upper()}", "1")
            for name in SECTION
        ),
        ("RHOPUSH_RPS", "RHOPUSH_RHOCONNECT_PUSH", "{}"),
        *(
            (f"{section}_{old}", f"RHOPUSH_RHOCONNECT_PUSH_{new}", "1")
            for section in ("RHOPUSH_RPS", "RHOPUSH_RHOCONNECT_PUSH")
            for old, new in (("OLD_IDS", "ACCEPT_UNSIGNED_IDS"), ("REGISTRATION_S", "REGISTRATION_TTL_S"))
        ),
        ("RHOPUSH_RPS_REGISTRATION_TTL_S", "RHOPUSH_RHOCONNECT_PUSH_REGISTRATION_TTL_S", "1"),
    ],
)
def test_an_old_variable_is_refused(tmp_path: Path, old: str, new: str, text: str) -> None:
    assert complaint(tmp_path, environ={old: text}).message == f"{old}: is now called {new}"


def test_an_old_name_in_a_variable_for_the_section_is_refused(tmp_path: Path) -> None:
    error = complaint(tmp_path, environ={"RHOPUSH_RHOCONNECT_PUSH": '{"old_ids": true}'})
    assert error.message == (
        "rhoconnect_push.old_ids: is now called rhoconnect_push.accept_unsigned_ids "
        "(environment variable RHOPUSH_RHOCONNECT_PUSH)"
    )


@pytest.mark.parametrize(
    "environ",
    [
        {"RHOPUSH_RPS_PORT": "tcp://10.0.0.1:8675"},
        {"RHOPUSH_RPS_SERVICE_HOST": "10.0.0.1"},
        {"RHOPUSH_RPS_PORT_8675_TCP_ADDR": "10.0.0.1"},
    ],
)
def test_a_service_link_with_an_old_name_is_only_warned_about(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    (warning,) = load(None, "test", environ | {"RHOPUSH_DATA_DIR": str(tmp_path)}).warnings
    assert warning.startswith(f"{next(iter(environ))} is ")


def test_an_empty_old_variable_counts_as_not_set(tmp_path: Path) -> None:
    environ = {"RHOPUSH_RPS_MODE": "", "RHOPUSH_DATA_DIR": str(tmp_path)}
    assert load(None, "test", environ).warnings == ()


def test_a_key_of_rhoconnect_with_an_old_name_of_ours_is_ignored(tmp_path: Path) -> None:
    file = tmp_path / "settings.yml"
    file.write_text(":test: {:rps: true, :redis: 'db:1'}")
    assert load(file, "test", {}).redis is not None


def test_no_present_name_is_an_old_one() -> None:
    paths = [path for path, _ in setting_paths()]
    assert [path for path in paths if present_path(path) != path or renaming(path, {}) is not None] == []
    former = [variable_of(one) for path in paths for one in former_paths(path)]
    assert not {variable_of(path) for path in paths} & set(former)
    assert len(former) == len(set(former))
