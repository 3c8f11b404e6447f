import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import InputError, InvalidField, MalformedBody
from protocols.ping.model import Ping
from protocols.ping.overrides import plain
from protocols.resque.job import CLASSES, SHOWN_CHARACTERS, parse, reason, shown


def item(*args: Any, klass: Any = CLASSES[0]) -> bytes:
    return json.dumps({"class": klass, "args": args}).encode()


@pytest.mark.parametrize("klass", CLASSES)
def test_rhoconnects_job_is_a_ping(klass: str) -> None:
    job = parse(
        item({"user_id": ["a"], "message": "hi", "async": True, "api_token": "t", "odd": 1}, klass=klass)
    )
    assert job.ping == Ping(users=("a",), message="hi", ingress="resque")
    assert job.unknown == ("odd",)


@pytest.mark.parametrize(
    ("job", "words"),
    [
        (b"", r"is not JSON: it ends too early \(byte 0, line 1, column 1\)$"),
        (b"\xff", r"is not JSON: is not UTF-8 \(byte 0, line 1, column 1\)$"),
        (b'{"class":"\xff"}', r"is not JSON: is not UTF-8 \(byte 10, line 1, column 11\)$"),
        (b"[" * 100_000, "is not JSON: it "),
        (b"[]", "has no class"),
        (b'{"args":[{}]}', "has no class"),
        (item({}, klass=5), "has no class"),
        (
            item({}, klass="Rhoconnect::BulkDataJob"),
            "'Rhoconnect::BulkDataJob', which this worker does not process",
        ),
        (item(), "one hash"),
        (item({}, {}), "one hash"),
        (item("x"), "one hash"),
        (b'{"class":"PingJob","args":{}}', "one hash"),
    ],
)
def test_an_item_that_is_not_a_ping_job_is_refused(job: bytes, words: str) -> None:
    with pytest.raises(MalformedBody, match=words):
        parse(job)


def test_a_wrong_parameter_is_named() -> None:
    with pytest.raises(InvalidField) as caught:
        parse(item({"user_id": "a", "badge": []}))
    assert reason(caught.value).startswith("badge: ")
    assert reason(MalformedBody("the job has no class")) == "the job has no class"


def test_a_failure_can_be_queued_again_and_shows_no_token() -> None:
    assert shown(item({"user_id": "a", "api_token": "t"}, "b")) == {
        "class": "Rhoconnect::PingJob",
        "args": [{"user_id": "a"}, "b"],
    }


@pytest.mark.parametrize("text", [b"x" * 5_000, b"[1]", b"\xff\xff"])
def test_an_item_that_is_not_a_job_is_shown_as_text(text: bytes) -> None:
    assert shown(text) == {
        "class": "Rhoconnect::PingJob",
        "args": [text.decode("utf-8", "replace")[:SHOWN_CHARACTERS]],
    }


@pytest.mark.parametrize(
    "text",
    [
        b'{"class":"PingJob","args":[{"api_token":"hush","user_id":"a"}',
        b'{"class":"PingJob","args":[{"api_token" : "hu\\"sh',
        b'[{"api_token":"hush"}]',
        b'{"class":"PingJob","args":[{"api_token":"hush"},' + b"9" * 400 + b"]}",
        b'{"class":"PingJob","args":[{"api_token":"hush"},' + b"[" * 300 + b"]" * 300 + b"]}",
    ],
)
def test_the_text_of_a_job_shows_no_token(text: bytes) -> None:
    payload = shown(text)
    assert "hu" not in str(payload)
    assert b"hu" not in msgspec.json.encode(payload)


def test_the_class_of_a_failure_is_cut() -> None:
    assert shown(item({}, klass="x" * 5_000))["class"] == "x" * SHOWN_CHARACTERS


@given(st.one_of(st.binary(), st.recursive(st.none() | st.text() | st.integers(), st.lists).map(item)))
def test_garbage_raises_nothing_else(text: bytes) -> None:
    json.dumps(shown(text))
    with pytest.raises(InputError):
        parse(text)


def test_a_job_has_the_parameters_of_other_providers() -> None:
    job = parse(item({"user_id": "bob", "courier": {"lane": 3}}), {"courier": plain})
    assert (job.ping.additions, job.unknown) == ({"courier": {"lane": 3}}, ())
