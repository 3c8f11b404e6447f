"""Spellings of push tokens."""

import pytest

from protocols.push_tokens import usual_spelling

TOKEN = "ab12" * 16


@pytest.mark.parametrize(
    "text", [TOKEN, TOKEN.upper(), " ".join([TOKEN[:32], TOKEN[32:].upper()]), f" {TOKEN}\n"]
)
def test_a_hexadecimal_number_has_one_spelling(text: str) -> None:
    assert usual_spelling(text) == TOKEN


@pytest.mark.parametrize("text", ["Not A Number", "dGVzdA:APA91", "", "AB\u0660", "AB\u00a0CD"])
def test_any_other_text_is_unchanged(text: str) -> None:
    assert usual_spelling(text) == text
