"""The screenshots of the documentation."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.requirements import need_program

ROOT = Path(__file__).parents[2]
NAMES = {
    "console-demo.png",
    "console-overview-dark.png",
    "console-overview-light.png",
    "console-ping-phone.png",
}


@pytest.mark.timeout(300)  # a gateway, a browser and four pages
def test_the_script_takes_every_picture_of_the_documentation(tmp_path: Path) -> None:
    need_program("chromium", "chromium")
    command = [sys.executable, str(ROOT / "tools" / "screenshots.py"), str(tmp_path), "--seconds", "0.2"]
    subprocess.run(command, check=True, cwd=ROOT)
    assert {file.name for file in tmp_path.iterdir()} == NAMES
    for file in tmp_path.iterdir():
        assert file.read_bytes().startswith(b"\x89PNG")


def test_the_documentation_has_them() -> None:
    assert {file.name for file in (ROOT / "docs" / "images").glob("console-*.png")} == NAMES
    texts = [(ROOT / "docs" / "console.md").read_text(), (ROOT / "README.md").read_text()]
    for name in NAMES:
        assert any(f"images/{name}" in text for text in texts), name
