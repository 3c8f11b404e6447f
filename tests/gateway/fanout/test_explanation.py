"""Rows of an explained ping."""

from gateway.fanout.explanation import (
    REASONS,
    LeftOutDevice,
    explanation,
    left_out_row,
    no_validation,
    verdict_row,
)
from gateway.registry.token_marks import MarkFacts
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


def test_verdicts_and_totals() -> None:
    row = {"provider": "fcm", "bytes": 7}
    assert verdict_row(Verdict(VerdictKind.LATER, "x")) == {"verdict": "retry_later", "reason": "x"}
    assert no_validation("apns")["verdict"] == "not_available"
    totals = explanation(3, [row, row], [{"reason": "repeated"}], ["eve"])["totals"]
    assert totals["by_provider"] == {"fcm": 2}
    assert totals["by_reason"] == {"repeated": 1}
    assert (totals["users"], totals["devices"], totals["unknown_users"], totals["bytes"]) == (3, 2, 1, 14)
