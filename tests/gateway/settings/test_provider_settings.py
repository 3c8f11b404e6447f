"""The section of a provider that the gateway has no word of is a section like ours."""

from pathlib import Path
from typing import ClassVar

import pytest

from gateway.errors import BadSetting
from gateway.settings import ProviderSettings, Secret, Settings, from_json, load, to_json, with_providers
from gateway.settings.reload import files_of, merge_reloadable
from tests.gateway.settings.test_loading import written


class PigeonSettings(ProviderSettings, frozen=True):
    credential_fields: ClassVar[tuple[str, ...]] = ("ring", "ring_file")
    rhoconnect_keys: ClassVar[dict[str, str]] = {"loft": "pigeon_loft"}
    file_variables: ClassVar[dict[str, str]] = {"ring_file": "PIGEON_RING"}

    ring: Secret | None = None
    ring_file: Path | None = None
    loft: str = "roof"
    speed: int = 1


KIND = with_providers({**Settings.provider_types(), "pigeon": PigeonSettings})


def read(folder: Path, text: str, **environ: str) -> Settings:
    return load(written(folder, text), "production", environ, KIND)


def pigeon(settings: Settings, app: str = "") -> PigeonSettings:
    found = settings.app(app).provider("pigeon")
    assert isinstance(found, PigeonSettings)
    return found


def test_it_comes_from_the_file_the_environment_and_rhoconnects_keys(tmp_path: Path) -> None:
    text = "production: {pigeon_loft: tower, gateway: {pigeon: {speed: 7, ring: hush}}}"
    assert pigeon(read(tmp_path, text)) == PigeonSettings(Secret("hush"), None, "tower", 7)
    assert pigeon(read(tmp_path, text, RHOPUSH_PIGEON_SPEED="8", RHOPUSH_PIGEON_LOFT="barn")) == (
        PigeonSettings(Secret("hush"), None, "barn", 8)
    )
    assert read(tmp_path, text).warnings == ()
    assert pigeon(read(tmp_path, "production: {}", PIGEON_RING="/a")).ring_file == Path("/a")


def test_an_app_has_its_own_over_those_of_all(tmp_path: Path) -> None:
    text = """
    production:
      gateway:
        pigeon: {speed: 7, ring: hush}
        apps: {com.x: {pigeon: {ring_file: own.txt}}}
    """
    settings = read(tmp_path, text)
    assert pigeon(settings, "com.x") == PigeonSettings(None, tmp_path / "own.txt", "roof", 7)
    assert pigeon(settings, "com.y") == pigeon(settings)
    assert pigeon(settings).configured
    assert files_of(settings) == (tmp_path / "own.txt",)
    assert from_json(to_json(settings), KIND) == settings
    assert "hush" not in repr(settings)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("pigeon: {sped: 7}", r"pigeon\.sped: unknown setting; did you mean speed\? .*line"),
        ("pigeon: {speed: fast}", r"pigeon\.speed: expected a whole number, found text"),
        ("pigeon: {ring: a, ring_file: b}", r"pigeon\.ring: give one credential, not ring and ring_file"),
        ("apps: {com.x: {pidgeon: {}}}", r"apps\.com\.x\.pidgeon: unknown setting; did you mean pigeon"),
        ("apps: {com.x: {pigeon: {sped: 1}}}", r"apps\.com\.x\.pigeon\.sped: unknown setting"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(BadSetting, match=complaint):
        read(tmp_path, f"production: {{gateway: {{{text}}}}}")


def test_without_the_provider_its_section_is_no_setting(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="pigeon: unknown setting"):
        load(written(tmp_path, "production: {gateway: {pigeon: {}}}"), "production", {})


def test_a_reload_takes_the_section_over(tmp_path: Path) -> None:
    old = read(tmp_path, "production: {gateway: {pigeon: {speed: 7}}}")
    new = read(tmp_path, "production: {gateway: {pigeon: {speed: 8}}}")
    assert merge_reloadable(old, new) == (new, ())
    assert type(merge_reloadable(old, new).settings) is KIND


def test_only_the_gateways_providers_need_no_type() -> None:
    assert with_providers(Settings.provider_types()) is Settings
