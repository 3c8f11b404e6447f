"""The position and description of a JSON fault, without any decoder's error text."""

import tracemalloc

import msgspec
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from protocols import json_syntax
from protocols.json_syntax import find_fault

UNIT = 1 << 14
"""A 32nd of the longest text here, which is twice as long as the parts in which its encoding is checked."""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "it ends too early (byte 0, line 1, column 1)"),
        (b'{"a":1', "it ends too early (byte 6, line 1, column 7)"),
        (b'{"a":"x', "it ends too early (byte 7, line 1, column 8)"),
        (b'"\\', "it ends too early (byte 2, line 1, column 3)"),
        (b'"\\u12', "it ends too early (byte 5, line 1, column 6)"),
        (b"nul", "it ends too early (byte 3, line 1, column 4)"),
        (b"1.", "it ends too early (byte 2, line 1, column 3)"),
        (b"1e+", "it ends too early (byte 3, line 1, column 4)"),
        (b"-", "it ends too early (byte 1, line 1, column 2)"),
        (b'{"a":"\xff"}', "is not UTF-8 (byte 6, line 1, column 7)"),
        (b'{"\xff":1}', "is not UTF-8 (byte 2, line 1, column 3)"),
        (b'{"a":\n"\xed\xa0\x80"}', "is not UTF-8 (byte 7, line 2, column 2)"),
        (b'{"a":1}\xff', "is not UTF-8 (byte 7, line 1, column 8)"),
        (b'{"a":"\xc3', "is not UTF-8 (byte 6, line 1, column 7)"),
        (b'{"a":}', "invalid character (byte 5, line 1, column 6)"),
        (b'{"a":\n\ttru}', "invalid character (byte 10, line 2, column 5)"),
        (b"{'a':1}", "expected a name in double quotes (byte 1, line 1, column 2)"),
        (b'{"a" 1}', "expected ':' (byte 5, line 1, column 6)"),
        (b'{"a":1 "b":2}', "expected ',' or '}' (byte 7, line 1, column 8)"),
        (b'["a" "b"]', "expected ',' or ']' (byte 5, line 1, column 6)"),
        (b'{"a":1]', "expected ',' or '}' (byte 6, line 1, column 7)"),
        (b"[1, ]", "trailing comma in a list (byte 4, line 1, column 5)"),
        (b'{"a":1,}', "trailing comma in an object (byte 7, line 1, column 8)"),
        (b'{"a":01}', "invalid number (byte 6, line 1, column 7)"),
        (b'{"a":1.e5}', "invalid number (byte 7, line 1, column 8)"),
        (b'{"a":1.5e}', "invalid number (byte 9, line 1, column 10)"),
        (b'{"a":-x}', "invalid number (byte 6, line 1, column 7)"),
        (b'"\n"', "control character in a text (byte 1, line 1, column 2)"),
        (b'"\x01', "control character in a text (byte 1, line 1, column 2)"),
        (b'"\\x"', "invalid escape in a text (byte 1, line 1, column 2)"),
        (b'"\\u12g4"', "invalid escape in a text (byte 5, line 1, column 6)"),
        (b"{} x", "trailing characters (byte 3, line 1, column 4)"),
        (
            b'"\\ud83d\\ude00 \\ud800x"',
            "an escaped surrogate (\\ud800 to \\udfff) without its other half (byte 14,",
        ),
        (b'"\\udc00"', "an escaped surrogate (\\ud800 to \\udfff) without its other half (byte 1,"),
        (b'"\\ud800\\u0041"', "an escaped surrogate (\\ud800 to \\udfff) without its other half (byte 1,"),
        (b"\xef\xbb\xbf{}", "begins with a byte order mark"),
        (b"[1e999]", "a number is out of range (byte 1, line 1, column 2)"),
        (b'{"a":-' + b"1" * 5_000 + b"}", "a number is out of range (byte 5, line 1, column 6)"),
        (b"[" * 300 + b"]" * 300, "it is nested too deeply"),
    ],
)
def test_each_fault_is_named_with_its_place(text: bytes, words: str) -> None:
    assert find_fault(text).text.startswith(words)


PIECES = [
    b'"',
    b"\\",
    b"u",
    b"d800",
    b"\\ud83d\\ude00",
    b"\\u0041",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b" ",
    b"\n",
    b"0",
    b"1",
    b"-",
    b".",
    b"e",
    b"+",
    b"true",
    b"null",
    b"nul",
    b'"a"',
    b'"a":',
    b"\x00",
    "é".encode(),
    b"\xff",
]


@given(st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join))
def test_a_text_has_a_fault_exactly_if_the_decoder_refuses_it(text: bytes) -> None:
    """msgspec decides; only numbers that it cannot represent are beyond the syntax."""
    fault = find_fault(text)
    try:
        msgspec.json.decode(text)
    except msgspec.ValidationError:
        assert fault.out_of_range
    except (ValueError, RecursionError):
        assert "(byte " in fault.text
    else:
        assert fault.text == "it holds a value that cannot be read"


SCALARS = st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False) | st.text(max_size=8)


@given(st.recursive(SCALARS, st.lists, max_leaves=20))
@example(["\n" * 70, *([1] * 300)])  # more than one match takes
def test_a_text_that_is_cut_short_ends_too_early(value: object) -> None:
    text = orjson.dumps([value])
    for end in range(1, len(text)):
        words = find_fault(text[:end]).text
        assert words.startswith(("it ends too early (", "is not UTF-8 ("))


@pytest.mark.parametrize(
    "text",
    [
        b"[" + b"1," * (16 * UNIT) + b"x",
        b"[" + b"[[[[1]]]]," * (3 * UNIT) + b"x",
        b"[" * (32 * UNIT),
        b'"' + b"\\n" * (16 * UNIT) + b"\x01",
        b'"' + b"a" * (32 * UNIT),
        b"{" + b'"a":1,' * (5 * UNIT),
        b" " * (32 * UNIT) + b"x",
        b"[" + b"1" * (32 * UNIT) + b"]",
        b"[1." + b"1" * (32 * UNIT) + b"e999]",
        b'"' + "é".encode() * (16 * UNIT) + b"\xff",
        b"-" * (32 * UNIT),
        b"[" + b"1e100," * (5 * UNIT) + b"x",
    ],
    ids=lambda text: text[:12].decode(errors="replace"),
)
def test_the_search_needs_memory_for_few_copies_of_the_text(
    monkeypatch: pytest.MonkeyPatch, text: bytes
) -> None:
    monkeypatch.setattr(json_syntax, "_UTF8_STEP", 16 * UNIT)
    tracemalloc.start()
    try:
        fault = find_fault(text)
        assert tracemalloc.get_traced_memory()[1] < 100 * UNIT
    finally:
        tracemalloc.stop()
    assert "(byte " in fault.text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"[" + b"[1]," * 300 + b"x", "it is not JSON at this position or after it (byte "),
        (b"[" * 1_000, "it is nested too deeply (byte "),
    ],
)
def test_the_search_ends_after_so_many_steps(
    monkeypatch: pytest.MonkeyPatch, text: bytes, words: str
) -> None:
    monkeypatch.setattr(json_syntax, "STEPS_MAX", 3_000)
    assert find_fault(text).text.startswith(words)
    monkeypatch.undo()
    assert not find_fault(text).text.startswith(words)
