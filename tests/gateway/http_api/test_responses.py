"""Answers as values and as bytes."""

import json

import pytest

from gateway.errors import ApiTokenRefused, BadSetting, PossiblyAccepted, QueueFull, TooManyRequests
from gateway.http_api import responses
from protocols.errors import InvalidField
from protocols.http1.response import REASONS, HttpResponse, encode
from protocols.ping.model import Ping
from protocols.ping.parse import Submission, from_params


@pytest.mark.parametrize(
    ("error", "status", "retry", "named"),
    [
        (InvalidField("no", field="badge"), 400, None, False),
        (QueueFull("full"), 503, "2", False),
        (PossiblyAccepted("lost"), 503, "2", True),
        (TooManyRequests("slow", retry_after_s=60), 429, "60", False),
    ],
)
def test_errors_as_json(error: InvalidField, status: int, retry: str | None, named: bool) -> None:
    answer = responses.of_error(error, "id")
    headers = dict(answer.headers)
    assert answer.status == status
    assert headers.get("Retry-After") == retry
    assert ("X-Ping-Id" in headers) == named
    inside = {"code": error.code, "message": error.message, "field": error.field}
    assert json.loads(answer.body) == {"error": inside}


def test_rhoconnects_error_texts_are_sent_as_text() -> None:
    answer = responses.of_error(ApiTokenRefused("No API token provided"))
    assert (answer.status, answer.body) == (422, b"No API token provided")
    assert dict(answer.headers)["Content-Type"] == "text/plain; charset=utf-8"


def test_both_paths_give_the_same_reason() -> None:
    for status, reason in REASONS.items():
        answer = HttpResponse(status, ())
        assert responses.response(answer).reason == reason
        assert encode(answer, "", close=False).startswith(f"HTTP/1.1 {status} {reason}\r\n".encode())


def test_internal_errors_show_no_details() -> None:
    answer = responses.of_error(BadSetting("the key file /secret/place is unreadable"))
    assert answer.status == 500
    assert b"secret" not in answer.body


def test_warnings_are_bounded_and_safe() -> None:
    names = tuple(f"name\r\n{number}" + "x" * 100 for number in range(25))
    text = responses.warning(Submission(Ping(), unknown=names, unread="text/plain\r\n; ü" + "x" * 100))
    assert text.isascii()
    assert text.isprintable()
    assert text.count(", ") == 20
    assert text.endswith(" and 5 more")
    assert len(text) < 2_000


def test_a_warning_counts_the_omitted_names() -> None:
    for count, end in (
        (20, "x19"),
        (21, "x19 and 1 more"),
        (33, "x19 and 13 more"),
        (1_000, "x19 and 980 more"),
    ):
        text = responses.warning(from_params({f"x{number}": 1 for number in range(count)}))
        assert text.endswith(f", {end}"), count
    text = responses.warning(from_params({f"x{number}": 1 for number in range(40)} | {"user_id": 7}))
    assert text.endswith(" and 21 more")
    assert responses.warning(from_params({"user_id": "bob"})) == ""


def test_an_integer_beyond_64_bits_becomes_the_nearest_one() -> None:
    value = {"counts": [2**70, -(2**70), True], "pair": (2**64, "x"), 5: None}
    answer = responses.of_json(value)
    assert json.loads(answer.body) == {
        "counts": [2**64 - 1, -(2**63), True],
        "pair": [2**64 - 1, "x"],
        "5": None,
    }
    assert json.loads(responses.html_safe_json([2**70, "<"])) == [2**64 - 1, "<"]
