"""Instants as texts: exact to the millisecond, and without an error for damaged values."""

import pytest

from protocols.instants import MS_MAX, instant_text, ms_of_score


@pytest.mark.parametrize(
    ("epoch_ms", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_796_119_200_250, "2026-12-01T10:00:00.250Z"),
        (1_796_119_200_999, "2026-12-01T10:00:00.999Z"),
        (MS_MAX, "9999-12-31T23:59:59.999Z"),
    ],
)
def test_an_instant_is_text_in_utc_with_milliseconds(epoch_ms: int, text: str) -> None:
    assert instant_text(epoch_ms) == text


@pytest.mark.parametrize(
    ("epoch_ms", "shown_ms"), [(MS_MAX + 1, MS_MAX), (2**63 - 1, MS_MAX), (-1, 0), (-(2**63), 0)]
)
def test_an_instant_that_no_date_can_show_is_shown_as_the_nearest(epoch_ms: int, shown_ms: int) -> None:
    assert instant_text(epoch_ms) == instant_text(shown_ms)


@pytest.mark.parametrize(
    ("score", "epoch_ms"),
    [
        (b"1796119200250", 1_796_119_200_250),
        (b"1796119200250.75", 1_796_119_200_250),
        (b"1.0000000000000001e+18", MS_MAX),
        (b"inf", MS_MAX),
        (b"-inf", 0),
        (b"-5", 0),
    ],
)
def test_a_score_of_redis_is_read_in_each_of_its_forms(score: bytes, epoch_ms: int) -> None:
    assert ms_of_score(score) == epoch_ms
