"""The exact nesting limit of lists and objects."""

from collections.abc import Callable
from typing import Any

import pytest

from protocols.ping.limits import DEPTH_MAX, is_deeper


@pytest.mark.parametrize("most", [1, 2, DEPTH_MAX])
@pytest.mark.parametrize(
    "wrap", [lambda inner: [inner], lambda inner: {"a": inner}], ids=["lists", "objects"]
)
def test_a_value_may_have_exactly_the_deepest_nesting(wrap: Callable[[Any], Any], most: int) -> None:
    value: Any = "x"
    for _ in range(most):
        value = wrap(value)
    assert not is_deeper(value, most)
    assert is_deeper(wrap(value), most)
    assert not is_deeper([1, value[0] if isinstance(value, list) else value["a"]], most), "side by side"
