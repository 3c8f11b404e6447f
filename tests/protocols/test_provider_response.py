"""Common parts of all providers' responses."""

import pytest

from protocols.provider_response import RETRY_AFTER_MAX_S, answered_s, reason_or_status, retry_after_s

NOW_S = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT


@pytest.mark.parametrize(
    ("value", "delay_s"),
    [
        (b"30", 30.0),
        (b"0", 0.0),
        (b" 7 ", 7.0),
        (b"86400", RETRY_AFTER_MAX_S),
        (b"86401", None),
        (b"99999999", None),
        (b"Tue, 14 Nov 2023 22:14:20 GMT", 60.0),
        (b"Tue, 14 Nov 2023 22:00:00 GMT", 0.0),
        (b"Fri, 14 Nov 2031 22:14:20 GMT", None),
        (b"-5", None),
        (b"1.5", None),
        (b"soon", None),
        (b"", None),
        (b"Tue, 14 Nov 2023 22:14:20", 60.0),
        (b"Tue, 14 Nov 2023 22:14:20 -0000", 60.0),
        (b"9" * 5_000, None),
        (b"1_0", None),
        (b"+5", None),
        ("\u0663".encode(), None),
        (b"nan", None),
        (b"1e3", None),
        (b"Tue, 14 Nov 99999999999 22:14:20 GMT", None),
        (b"Tue, 14 Nov 0001 00:00:00 +2359", 0.0),
        (b"Tue, 14 Nov 2023 22:14:20 +" + b"9" * 12, None),
        (b"Tue, 14 Nov 2023 22:14:20 +" + b"9" * 4_400, None),
        (b"Fri, 31 Dec 9999 23:59:59 -2359", None),
        (b"\xff\xfe", None),
        (b"Tue, 99 Nov 2023 22:14:20 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: bytes, delay_s: float | None) -> None:
    headers = [(b":status", b"503"), (b"retry-after", value)]
    assert retry_after_s(headers, NOW_S) == delay_s


def test_a_date_needs_the_time() -> None:
    assert retry_after_s([(b"retry-after", b"Tue, 14 Nov 2023 22:14:20 GMT")], None) is None
    assert retry_after_s([], NOW_S) is None


@pytest.mark.parametrize("reason", [None, 5, [], "", "has space", "x" * 65, "5xx", 'a"b', "Grün"])
def test_a_text_that_is_not_a_name_never_becomes_a_label(reason: object) -> None:
    assert reason_or_status(reason, 503) == "HTTP 503"


def test_a_name_is_kept() -> None:
    assert reason_or_status("SomethingNew_2", 400) == "SomethingNew_2"


@pytest.mark.parametrize("ahead_s", [-86_400, -3_600, 3_600, 86_400])
@pytest.mark.parametrize(
    "date", ["Tue, 14 Nov 2023 22:14:20 GMT", "Tue, 14 Nov 2023 22:14:20 -0000", "Tue Nov 14 22:14:20 2023"]
)
def test_a_date_is_held_against_the_providers_own_clock(ahead_s: int, date: str) -> None:
    headers = [(b"date", b"Tue, 14 Nov 2023 22:13:20 GMT"), (b"retry-after", date.encode())]
    assert retry_after_s(headers, NOW_S + ahead_s) == 60.0
    assert retry_after_s([(b"date", b"soon"), headers[1]], NOW_S) == 60.0
    assert answered_s(headers) == NOW_S
    assert answered_s(headers[1:]) is None
