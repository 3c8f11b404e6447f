"""The record of a push: displayed and hidden content."""

from protocols.simulation.record import SimulatedRecord, Summary, readable, source_names, text_of, time_in_id


def record(**changes: object) -> SimulatedRecord:
    fields = {
        "at_s": 1.0,
        "provider": "apns",
        "connection": 1,
        "token": "0123456789abcdef",
        "topic": "com.example.app",
        "status": 200,
        "reason": "",
        "headers": {},
        "payload": {"aps": {"alert": "a secret message"}},
        **changes,
    }
    return SimulatedRecord(**fields)  # type-checked by the test itself


def test_a_line_has_the_shortened_token_and_the_content() -> None:
    pushed = record(summary=Summary("hi", 3, "a.mp3", "2000", ("A", "B")))
    assert pushed.line() == "apns 01234567… 'hi' sync=A,B badge=3 sound=a.mp3 vibrate=2000"
    assert pushed.accepted


def test_a_refusal_has_its_reason() -> None:
    assert record(status=410, reason="Unregistered").line() == "apns 01234567… 410 Unregistered"
    assert record(status=0, reason="silence").line() == "apns 01234567… - silence"
    assert not record(status=410).accepted


def test_repr_has_neither_token_nor_payload() -> None:
    shown = repr(record())
    assert "0123456789abcdef" not in shown
    assert "secret" not in shown


def test_headers_are_kept_without_secrets_and_pseudo_headers() -> None:
    headers = {":path": "/3/device/ab", "authorization": "bearer x", "apns-topic": "t"}
    assert readable(headers) == {"apns-topic": "t"}


def test_source_names_of_either_provider() -> None:
    assert source_names(["A", "B"]) == source_names("A, B") == ("A", "B")
    assert source_names("") == source_names(None) == source_names(7) == ()


def test_the_time_of_an_id_is_read() -> None:
    assert time_in_id("01a22fb1-ab10-7a7b-80de-0cc82edd0000") == 0x01A22FB1AB10
    assert time_in_id("01a22fb1ab107a7b80de0cc82edd0000") == 0x01A22FB1AB10
    assert time_in_id("face") is None
    assert time_in_id("01a22fb1ab104a7b80de0cc82edd0000") is None  # a random UUID


def test_a_nested_value_has_no_text() -> None:
    assert [text_of(value) for value in ("a", 5, None, True, {"a": 1}, [1])] == [
        "a",
        "5",
        "None",
        "True",
        "",
        "",
    ]
    assert source_names(["A", ["B"]]) == ("A", "")
