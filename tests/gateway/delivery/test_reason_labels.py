"""Metric labels of a lane's reasons."""

from structlog.testing import capture_logs

from gateway.delivery.reason_labels import ReasonLabels


def test_a_reason_outside_the_tables_is_logged_at_most_once_a_minute() -> None:
    labels = ReasonLabels("apns:A", frozenset({"Unregistered"}))
    with capture_logs() as logs:
        assert labels("Unregistered") == "Unregistered"
        assert labels("Invented by the provider") == labels("Another one") != "Another one"
    assert [(log["event"], log["reason"]) for log in logs] == [
        ("unknown_provider_reason", "Invented by the provider")
    ]
