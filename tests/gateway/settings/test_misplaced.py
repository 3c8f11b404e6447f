"""Settings of a file that have no effect cause a warning with their name and line."""

from pathlib import Path

import pytest

from gateway.errors import BadSetting
from gateway.settings import Settings, load
from gateway.settings.environment import setting_paths
from gateway.settings.misplaced import BESIDE
from tests.gateway.settings.test_loading import written

SECTION = ":production:\n  :gateway: {drain_s: 5}\n"
NAMES = sorted({path[0] for path, _ in setting_paths(Settings)})


def warnings(folder: Path, text: str) -> tuple[str, ...]:
    return load(written(folder, text), "production", {}).warnings


@pytest.mark.parametrize("name", NAMES)
def test_a_setting_beside_the_gateway_is_reported_unless_it_is_read_there(tmp_path: Path, name: str) -> None:
    found = warnings(tmp_path, f"{SECTION}  :{name}: localhost\n")
    if name in BESIDE:
        assert found == ()
    else:
        (warning,) = found
        assert warning.startswith(f"{name} has no effect below production: move it below gateway (")
        assert warning.endswith("settings.yml, line 3)")


@pytest.mark.parametrize("name", [*NAMES, "gateway"])
def test_a_setting_at_the_top_level_is_reported(tmp_path: Path, name: str) -> None:
    (warning,) = warnings(tmp_path, f"{SECTION}:{name}: {{a: 1}}\n")
    assert warning.startswith(f"{name} has no effect at the top level: move it below an environment (")
    assert warning.endswith("settings.yml, line 3)")


def test_an_environment_may_have_the_name_of_a_setting(tmp_path: Path) -> None:
    found = load(written(tmp_path, "gateway: {gateway: {drain_s: 5}}\n"), "gateway", {})
    assert (found.drain_s, found.warnings) == (5, ())


def test_rhoconnects_and_an_applications_own_keys_are_not_reported(tmp_path: Path) -> None:
    own = "  :licensefile: x\n  :iphonecertfile: a.pem\n  :fcm_project_id: p\n  :syncserver: http://host\n"
    assert warnings(tmp_path, f"{SECTION}{own}:sources: {{}}\n:colours: {{a: 1}}\n") == ()


def test_a_file_with_the_gateway_at_the_top_level_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="no environment 'production'; gateway belongs below an environment"):
        load(written(tmp_path, ":gateway: {drain_s: 5}\n"), "production", {})
    with pytest.raises(BadSetting, match=r"expected one of: test$"):
        load(written(tmp_path, ":gateway: {}\n:test: {}\n"), "production", {})


@pytest.mark.parametrize(
    ("text", "name", "lines"),
    [
        (f"{SECTION}  gateway: {{drain_s: 6}}\n", "production.gateway", (2, 3)),
        (f"{SECTION}  :redis: a\n  redis: b\n", "production.redis", (3, 4)),
        (f"{SECTION}:production: {{}}\n", "production", (1, 3)),
        (":production:\n  gateway:\n    drain_s: 1\n    drain_s: 2\n", "production.gateway.drain_s", (3, 4)),
    ],
)
def test_a_key_that_is_given_twice_is_reported(
    tmp_path: Path, text: str, name: str, lines: tuple[int, int]
) -> None:
    (warning,) = warnings(tmp_path, text)
    assert warning.startswith(f"{name} is given twice: line {lines[1]} replaces line {lines[0]} (")


@pytest.mark.parametrize(
    "text",
    [
        ":base: &base\n  :redis: a\n:production:\n  <<: *base\n  :redis: b\n",
        ":production: {}\n:test:\n  :redis: a\n  :redis: b\n",
        ":a: &a {redis: a}\n:production:\n  <<: [*a, *a]\n",
    ],
)
def test_a_merge_and_another_environment_repeat_nothing(tmp_path: Path, text: str) -> None:
    assert warnings(tmp_path, text) == ()
