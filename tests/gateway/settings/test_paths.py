"""Settings that name a file."""

import json
from pathlib import Path

from tests.gateway.settings.test_convert import KEY_TEXT, complaint


def test_a_key_in_the_place_of_a_path_in_the_file_is_not_shown(tmp_path: Path) -> None:
    said = complaint(tmp_path, f"apns: {{key_file: {json.dumps(KEY_TEXT)}}}", {})
    assert "MIGH" not in said
    assert "apns.key takes the text itself" in said and "settings.yml, line" in said
