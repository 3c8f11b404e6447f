"""The options table of the documentation agrees with the code: every setting, its default and its variables."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.settings import Settings
from gateway.settings.environment import setting_paths, variable_of

TABLE = Path(__file__).parents[3] / "docs" / "settings.md"
OTHER_NAMES = {
    "redis": ["REDIS", "REDISTOGO_URL", "REDIS_URL"],
    "api_token": ["API_TOKEN"],
    "admin_password": ["PSWRD"],
    "fcm.credentials_file": ["GOOGLE_APPLICATION_CREDENTIALS"],
}


def rows() -> dict[str, tuple[str, list[str], str]]:
    cells = [
        [cell.strip() for cell in line.strip("|\n").split(" | ")]
        for line in TABLE.read_text().partition("\n## Options\n")[2].partition("\n## ")[0].splitlines()
        if line.startswith("| `")
    ]
    return {
        name.strip("|` "): (default.strip("`"), variables.replace("`", "").split(", "), meaning)
        for name, default, variables, meaning in cells
    }


def shown(default: Any) -> str:
    if default is None:
        return "—"
    if isinstance(default, tuple):
        return json.dumps(default)
    return str(default)


def settings() -> list[tuple[str, ...]]:
    found = list(setting_paths())
    sections = {
        place for place, type_ in found if isinstance(type_, type) and issubclass(type_, msgspec.Struct)
    }
    return [place for place, _ in found if place not in sections and place != ("apps",)]


def test_every_setting_has_its_row_and_no_other() -> None:
    assert list(rows()) == [".".join(place) for place in settings()]


@pytest.mark.parametrize("place", settings(), ids=".".join)
def test_a_row_has_default_and_variables(place: tuple[str, ...]) -> None:
    default: Any = Settings()
    for name in place:
        default = getattr(default, name)
    name = ".".join(place)
    said, variables, meaning = rows()[name]
    assert said == shown(default)
    assert variables == [variable_of(place), *OTHER_NAMES.get(name, [])]
    assert meaning
