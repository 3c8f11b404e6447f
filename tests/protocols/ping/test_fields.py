"""Each parameter's rule, row by row (contract §1.2 and §10)."""

import math
from collections.abc import Callable
from typing import Any

import pytest

from protocols.errors import InvalidField
from protocols.ping import fields


@pytest.mark.parametrize(
    ("value", "logins", "understood"),
    [
        ("bob", ("bob",), True),
        ("a,b", ("a,b",), True),  # one user of that name
        (["a", "b", "a"], ("a", "b"), True),
        ([["a", "b"]], ("a", "b"), True),  # [array_of_users] in RhoConnect's Ruby example
        ([["a", ["b", []]], "c"], ("a", "b", "c"), True),
        (None, (), True),
        ("", (), True),
        ([], (), True),
        ([""], (), True),
        (5, (), False),
        (True, (), False),
        ({"a": 1}, (), False),
        (["a", 5, None, {}], ("a",), False),
    ],
)
def test_user_id_becomes_logins(value: Any, logins: tuple[str, ...], understood: bool) -> None:
    assert fields.users(value) == (logins, understood)


def test_deeply_nested_users_need_no_recursion() -> None:
    nested: Any = "bob"
    for _ in range(100_000):
        nested = [nested]
    with pytest.raises(InvalidField, match="user_id is nested deeper than 64 levels"):
        fields.users(nested)
    while type(nested) is list:  # taken apart by hand: freeing it at once would recurse deeply too
        nested = nested[0]


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("Product", ("Product",)),
        ("Product,Customer", ("Product", "Customer")),
        (" Product , Customer,,Product ", ("Product", "Customer")),
        ("all", ("all",)),
        ("ALL", ("all",)),
        ("abc", ("abc",)),  # three letters, but not "all"
        ("Product, All", ("all",)),
        (["Product", "Customer"], ("Product", "Customer")),
        ([["Product"], "Customer"], ("Product", "Customer")),
        (["A,B"], ("A,B",)),  # a list's names are whole
        (["all", "Product"], ("all",)),
        ("", ()),
        ([], ()),
    ],
)
def test_sources(value: Any, names: tuple[str, ...]) -> None:
    assert fields.sources(value, "sources") == names


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (5, 5),
        ("5", 5),
        ("5x", 5),
        ("x", 0),
        ("", 0),
        (" 7", 7),
        ("+3", 3),
        ("1_000", 1000),
        ("1__0", 1),
        (2.9, 2),
        ("2.9", 2),
        (0, 0),
        (2**31 - 1, 2**31 - 1),
        ("²", 0),
        ("٣", 0),
    ],
)
def test_badge_as_to_i_reads_it(value: Any, number: int) -> None:
    assert fields.number(value, "badge") == number


@pytest.mark.parametrize(("value", "number"), [("5x", 5), ("x", 0), (" 7", 7), (2.9, 2)])
def test_vibrate_as_to_i_reads_it(value: Any, number: int) -> None:
    assert fields.milliseconds(value, "vibrate") == number


@pytest.mark.parametrize(
    "value", [fields.milliseconds("", "vibrate"), fields.text("", "sound"), fields.message("", "message")]
)
def test_an_empty_text_counts_as_absent(value: Any) -> None:
    assert value is None


def test_an_empty_vibrate_is_none() -> None:
    assert fields.milliseconds("", "vibrate") is None
    assert fields.milliseconds("2000", "vibrate") == 2000
    assert fields.milliseconds(0, "vibrate") == 0


@pytest.mark.parametrize(
    ("value", "truth"),
    [
        (True, True),
        (False, False),
        ("true", True),
        ("1", True),
        ("yes", True),
        ("on", True),
        ("x", True),
        ("false", False),
        ("FALSE", False),
        ("0", False),
        ("no", False),
        ("off", False),
        ("", False),
        (" false ", False),
        (1, True),
        (0, False),
        (0.5, True),
        (0.0, False),
    ],
)
def test_words_and_numbers_are_true_or_false(value: Any, truth: bool) -> None:
    assert fields.flag(value, "async") is truth


@pytest.mark.parametrize(
    ("value", "seconds"), [(0, 0), (60, 60), ("60", 60), (60.0, 60), (2_419_200, 2_419_200)]
)
def test_a_time_to_live_is_whole_seconds(value: Any, seconds: int) -> None:
    assert fields.seconds(value, "ttl_s") == seconds


@pytest.mark.parametrize(
    "value", [-1, "-1", 2_419_201, "2419201", "1000000000", "9" * 60, "-" + "9" * 60, -1.0]
)
def test_a_time_to_live_out_of_range_is_refused_with_its_range(value: Any) -> None:
    with pytest.raises(InvalidField, match="ttl_s must be from 0 to 2419200 seconds"):
        fields.seconds(value, "ttl_s")


@pytest.mark.parametrize("value", ["1h", "1.5", "", "soon", "--1", "+1", "\u0661"])
def test_a_time_to_live_that_is_no_number_is_refused_by_its_form(value: str) -> None:
    with pytest.raises(InvalidField, match=r"ttl_s must be whole seconds, as 3600$"):
        fields.seconds(value, "ttl_s")


def test_priorities_and_collapse_ids_are_read() -> None:
    assert [fields.priority(word, "priority") for word in ("high", "NORMAL", "")] == ["high", "normal", None]
    assert fields.collapse_id("a" * 64, "collapse_id") == "a" * 64
    assert fields.collapse_id("", "collapse_id") is None
    assert fields.collapse_id("ä" * 32, "collapse_id") == "ä" * 32


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        (fields.sources, 5),
        (fields.sources, True),
        (fields.sources, {"a": 1}),
        (fields.sources, ["a", None]),
        (fields.number, [1]),
        (fields.number, {}),
        (fields.number, True),
        (fields.number, -1),
        (fields.number, 2**31),
        (fields.number, "-1"),
        (fields.number, "9" * 5000),
        (fields.number, 1e300),
        (fields.number, float("inf")),
        (fields.number, float("nan")),
        (fields.milliseconds, []),
        (fields.milliseconds, -5),
        (fields.seconds, -1),
        (fields.seconds, 2_419_201),
        (fields.seconds, "1h"),
        (fields.seconds, ""),
        (fields.seconds, 1.5),
        (fields.seconds, True),
        (fields.seconds, "9" * 10),
        (fields.seconds, "٣"),
        (fields.text, 5),
        (fields.text, ["x"]),
        (fields.text, {}),
        (fields.flag, []),
        (fields.flag, {}),
        (fields.priority, "urgent"),
        (fields.priority, 10),
        (fields.priority, []),
        (fields.collapse_id, 5),
        (fields.collapse_id, "a\nb"),
        (fields.collapse_id, "a\0"),
        (fields.collapse_id, " a"),
        (fields.collapse_id, "a" * 65),
        (fields.collapse_id, "ä" * 33),
        (fields.collapse_id, "a\x7f"),
        (fields.message, 2**64),
        (fields.message, [{"a": -(2**63) - 1}]),
        (fields.message, {"a": float("inf")}),
    ],
)
def test_other_values_are_refused_by_name(rule: Callable[[Any, str], Any], value: Any) -> None:
    with pytest.raises(InvalidField) as refused:
        rule(value, "this_field")
    assert refused.value.field == "this_field"
    assert refused.value.message.startswith("this_field ")


@pytest.mark.parametrize(
    "value",
    [
        "text",
        0,
        5,
        False,
        True,
        1.5,
        [],
        {},
        {"title": "a", "body": "b"},
        [1, [2]],
        2**64 - 1,
        -(2**63),
        "\0",
    ],
)
def test_any_message_is_passed_as_it_is(value: Any) -> None:
    assert fields.message(value, "message") == value


def test_an_empty_message_is_none() -> None:
    assert fields.message("", "message") is None


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def test_nesting_is_bounded_exactly() -> None:
    # The number itself is one level more than the lists around it.
    assert fields.message(nested(fields.DEPTH_MAX - 1), "message") is not None
    with pytest.raises(InvalidField, match="nested deeper than 64 levels"):
        fields.message(nested(fields.DEPTH_MAX), "message")


def test_a_refusal_names_the_kind_and_never_the_value() -> None:
    with pytest.raises(InvalidField, match=r"^sound must be a text, not an object$"):
        fields.text({"secret": "value"}, "sound")


@pytest.mark.parametrize("size", [0, 1, fields.USERS_STEP - 1, fields.USERS_STEP, fields.USERS_STEP + 1])
@pytest.mark.parametrize("odd", [[], ["", "user0"], [7, None], [["nested", ["deep"]], "user1"]])
def test_a_long_list_in_steps_gives_the_same_result(size: int, odd: list[Any]) -> None:
    value = [f"user{n}" for n in range(size)] + odd
    steps, found = 0, None
    reading = fields.users_in_steps(value)
    while found is None:
        try:
            next(reading)
            steps += 1
        except StopIteration as end:
            found = end.value
    assert found == fields.users(value)
    assert steps == -(-len(value) // fields.USERS_STEP)


@pytest.mark.parametrize(
    ("value", "epoch_ms"),
    [
        (1_796_119_200, 1_796_119_200_000),
        (1_796_119_200.25, 1_796_119_200_250),
        ("1796119200.2509", 1_796_119_200_250),
        (fields.EPOCH_S_MAX, fields.EPOCH_S_MAX * 1000),
        (-5, 0),
        (-1e308, 0),
        ("-5", 0),
        ("-0.5", 0),
        ("2026-12-01T10:00:00Z", 1_796_119_200_000),
        ("2026-12-01t10:00:00.5z", 1_796_119_200_500),
        ("2026-12-01T10:00:00.5000000000000000000000000Z", 1_796_119_200_500),
        ("2026-12-01 05:30:00-04:30", 1_796_119_200_000),
        ("2016-12-31T23:59:60Z", 1_483_228_800_000),
        ("0001-01-01T00:00:00+23:59", 0),
        ("9999-12-31T23:59:59-23:59", 253_402_387_139_000),
    ],
)
def test_an_instant_is_read_as_epoch_milliseconds(value: object, epoch_ms: int) -> None:
    assert fields.instant_ms(value, "deliver_at") == epoch_ms


@pytest.mark.parametrize(
    "value",
    [
        *(True, None, [], {}, "", "x", math.inf, math.nan, "--5", "- 5", "+5", "1e9", "1_000", "\u0661"),
        *(fields.EPOCH_S_MAX + 1, str(fields.EPOCH_S_MAX + 1), 1_796_119_200_000, 10**400, 1e306, 1e308),
        *("2026-12-01", "2026-12-01T10:00Z", "2026-12-01T10:00:00", "2026-12-01T10:00:00 Z"),
        *("2026-02-30T10:00:00Z", "2026-12-01T24:00:00Z", "2026-12-01T10:60:00Z", "2026-12-01T10:00:61Z"),
        *("2026-12-01T10:00:00+24:00", "2026-12-01T10:00:00+0100", "2026-W49-2T10:00:00Z", "9" * 300),
    ],
)
def test_other_values_are_no_instant(value: object) -> None:
    with pytest.raises(InvalidField) as refused:
        fields.instant_ms(value, "deliver_at")
    assert refused.value.field == "deliver_at"
