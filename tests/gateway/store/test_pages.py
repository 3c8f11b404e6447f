"""The size of a page."""

import pytest

from gateway.store.pages import page_size
from protocols.errors import InvalidField


@pytest.mark.parametrize(
    ("limit", "size"), [(None, 50), (1, 1), ("1", 1), ("007", 7), (500, 500), ("500", 500)]
)
def test_a_whole_number_in_the_range_is_the_size(limit: object, size: int) -> None:
    assert page_size(limit, 50, 500) == size


@pytest.mark.parametrize(
    "limit", [0, "0", 501, "501", -1, "-1", "", "x", "1.5", 1.5, True, [1], {}, "9" * 5_000]
)
def test_everything_else_is_refused(limit: object) -> None:
    with pytest.raises(InvalidField, match="limit must be a whole number from 1 to 500") as refused:
        page_size(limit, 50, 500)
    assert refused.value.field == "limit"
