"""The location of a setting in its file."""

from pathlib import Path

import pytest

from gateway.settings.document import Document

DOCUMENT = Document(
    Path("settings.yml"), {}, {("test",): 1, ("test", "gateway"): 3, ("test", "gateway", "drain_s"): 4}
)


@pytest.mark.parametrize(
    ("path", "where"),
    [
        (("test", "gateway", "drain_s"), "settings.yml, line 4"),
        (("test", "gateway", "apns", "port"), "settings.yml, line 3"),
        (("live", "redis"), "settings.yml"),
    ],
)
def test_a_value_is_located_by_its_own_line_or_by_that_of_the_mapping_around_it(
    path: tuple[str, ...], where: str
) -> None:
    assert DOCUMENT.where(path) == where
