"""Keys, order and answers of the lines of a bulk request, without a connection."""

import json

import pytest

from gateway.client.bulk_lines import BulkLines, BulkResult, encode

ACCEPTED = {"ping_id": "1"}
FULL = {"error": {"code": "queue_full", "message": "full", "field": None, "retry_after_s": 2}, "line": 1}
WRONG = {"error": {"code": "invalid_field", "message": "badge must be", "field": "badge"}, "line": 1}


def test_each_line_has_a_key_of_its_own() -> None:
    found = [
        json.loads(encode(item))
        for item in ({"user_id": "a", "badge": None}, b'{"user_id": "a"}', '{"user_id": "a"}')
    ]
    keys = {line.pop("idempotency_key") for line in found}
    assert found == [{"user_id": "a"}] * 3
    assert len(keys) == 3


@pytest.mark.parametrize(
    ("item", "line"),
    [
        (b'{"idempotency_key": "k"}\r\n', b'{"idempotency_key": "k"}\n'),
        (b'{"idempotency_key":\n"k"}', b'{"idempotency_key": "k"}\n'),
        (b"{no json", b"{no json\n"),
        ("[]", b"[]\n"),
        (b'\xef\xbb\xbf{"idempotency_key": "k"}', b'{"idempotency_key": "k"}\n'),
        (b" \n", b""),
        ("", b""),
    ],
)
def test_a_line_with_a_key_or_without_json_is_unchanged(item: bytes | str, line: bytes) -> None:
    assert encode(item) == line


@pytest.mark.parametrize("item", ['{"user_id": "\ud800"}', {"user_id": "\ud800"}, "{no json \ud800"])
def test_an_item_that_is_no_unicode_is_left_to_the_gateway(item: str | dict[str, str]) -> None:
    assert (b"\\ud800" in encode(item)) != (b"\xed\xa0\x80" in encode(item))


def test_a_line_does_not_become_longer_by_escapes() -> None:
    for item in (
        {"message": "\u0436" * 1_000},
        json.dumps({"message": "\u0436" * 1_000}, ensure_ascii=False),
    ):
        line = encode(item)
        assert len(line) < 2_100
        assert json.loads(line)["message"] == "\u0436" * 1_000
    assert json.loads(encode({"message": "\ud800"}))["message"] == "\ud800"


def sent(*items: bytes) -> BulkLines:
    lines = BulkLines()
    for item in items:
        lines.add(item)
    lines.begin()
    lines.send()
    return lines


def test_results_have_the_numbers_of_the_items() -> None:
    lines = sent(b"{}", b"", b"{")
    assert lines.answer(ACCEPTED) is None
    assert lines.answer(WRONG) is None
    assert lines.take() == [
        BulkResult(1, "1"),
        BulkResult(3, None, "invalid_field", "badge must be", "badge"),
    ]
    assert (lines.take(), len(lines), lines.unanswered) == ([], 0, False)


def test_a_temporarily_refused_line_is_sent_again_and_keeps_its_position() -> None:
    lines = sent(b"{}", b'{"idempotency_key":"k"}', b"{}")
    lines.answer(ACCEPTED)
    assert lines.answer(FULL) == 2
    lines.answer(ACCEPTED)
    assert [result.line for result in lines.take()] == [1]
    assert (lines.unanswered, lines.waiting) == (False, True)
    lines.begin()
    assert lines.send() == b'{"idempotency_key":"k"}\n'
    lines.answer({"ping_id": "2"})
    assert not lines.waiting
    assert lines.take() == [BulkResult(2, "2"), BulkResult(3, "1")]


def test_a_result_has_the_warning_of_its_line() -> None:
    lines = sent(b"{}", b"{}")
    lines.answer({"ping_id": "1", "warning": "not understood: mesage"})
    lines.answer(ACCEPTED)
    assert [result.warning for result in lines.take()] == ["not understood: mesage", ""]


def test_lines_without_an_answer_are_sent_again() -> None:
    lines = sent(b'{"idempotency_key":"a"}', b'{"idempotency_key":"b"}')
    lines.answer(ACCEPTED)
    lines.add(b'{"idempotency_key":"c"}')
    lines.begin()
    assert lines.send() == b'{"idempotency_key":"b"}\n{"idempotency_key":"c"}\n'


@pytest.mark.parametrize("answer", [{}, {"error": {}}])
def test_an_answer_of_unknown_form_is_an_error(answer: dict[str, object]) -> None:
    with pytest.raises(LookupError):
        sent(b"{}").answer(answer)
    with pytest.raises(LookupError):
        BulkLines().answer(ACCEPTED)
