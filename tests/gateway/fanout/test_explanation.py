"""Rows of an explained ping."""

import pytest

from gateway.fanout.explanation import (
    REASONS,
    LeftOutDevice,
    explanation,
    left_out_row,
    no_validation,
    verdict_row,
)
from gateway.registry.token_marks import MarkFacts, facts
from protocols.devices import Device, mask
from protocols.verdict import Verdict, VerdictKind

PHONE = Device("ab", "Apple", "apple", "cd" * 32, "phone", "app")


def test_each_reason_has_a_text_and_no_token_is_shown() -> None:
    for reason, text in REASONS.items():
        row = left_out_row(LeftOutDevice("bob", PHONE, reason, "apns"), None)
        assert (row["reason"], row["text"], row["token"]) == (reason, text, mask(PHONE.pin))


def test_a_repeated_device_and_a_dead_token_have_more() -> None:
    row = left_out_row(LeftOutDevice("bob", PHONE, "repeated", same_as="ef"), None)
    assert row["same_as"] == "ef"
    row = left_out_row(LeftOutDevice("bob", PHONE, "dead_token"), MarkFacts("Unregistered", 0))
    assert (row["since"], row["provider_reason"]) == ("1970-01-01T00:00:00+00:00", "Unregistered")
    assert "since" not in left_out_row(LeftOutDevice("bob", PHONE, "dead_token"), MarkFacts("", None))


@pytest.mark.parametrize("at", ["999999999999999", "253402300800000", "-1", "x", "", "9" * 70])
def test_a_mark_whose_instant_no_date_can_show_is_damaged(at: str) -> None:
    mark = facts(f"0123456789abcdef:{at}:gone:01234567::Unregistered".encode())
    assert mark == MarkFacts("", None)
    assert "since" not in left_out_row(LeftOutDevice("bob", PHONE, "dead_token"), mark)


def test_the_last_instant_of_a_date_is_shown() -> None:
    mark = facts(b"0123456789abcdef:253402300799999:gone:01234567::Unregistered")
    row = left_out_row(LeftOutDevice("bob", PHONE, "dead_token"), mark)
    assert (row["since"], row["provider_reason"]) == ("9999-12-31T23:59:59+00:00", "Unregistered")


def test_verdicts_and_totals() -> None:
    row = {"provider": "fcm", "bytes": 7}
    assert verdict_row(Verdict(VerdictKind.LATER, "x")) == {"verdict": "retry_later", "reason": "x"}
    assert no_validation("apns")["verdict"] == "not_available"
    totals = explanation(3, [row, row], [{"reason": "repeated"}], ["eve"])["totals"]
    assert totals["by_provider"] == {"fcm": 2}
    assert totals["by_reason"] == {"repeated": 1}
    assert (totals["users"], totals["devices"], totals["unknown_users"], totals["bytes"]) == (3, 2, 1, 14)
