"""Plain YAML scalars, as Ruby reads them."""

from pathlib import Path

from gateway.settings.yaml_document import read


def test_a_text_that_looks_like_a_date_or_time_stays_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "settings.yml"
    file.write_text("a: 2026-11-30\nb: 2001-12-14 21:59:43 -5\nc: 2026-13-45\nd: 2001-12-14T21:59:43Z\n")
    assert read(file).root == {
        "a": "2026-11-30",
        "b": "2001-12-14 21:59:43 -5",
        "c": "2026-13-45",
        "d": "2001-12-14T21:59:43Z",
    }
