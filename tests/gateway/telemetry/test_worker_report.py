"""The counts of a report, summed over the labels that it does not have."""

import pytest

from gateway.metrics import DELIVERY_BUCKETS_S, Metrics
from gateway.telemetry import worker_report
from gateway.telemetry.worker_report import CountsBuilder, CredentialLifetime, WorkerCounts


def counts(metrics: Metrics) -> WorkerCounts:
    builder = CountsBuilder()
    builder.add(metrics.values.states())
    return builder.counts()


def test_the_counts_are_summed_over_apps() -> None:
    metrics = Metrics()
    metrics.pings_accepted("http").inc(3)
    metrics.pings_refused("too_many").inc(2)
    for app in ("one", "two"):
        metrics.deliveries("apns", app, "accepted", "").inc(5)
        metrics.deliveries("apns", app, "rejected", "Unregistered").inc()
    metrics.deliveries("fcm", "one", "rejected", "Unregistered").inc()
    metrics.retries("fcm", "UNAVAILABLE").inc(4)
    metrics.delivery_seconds("apns").observe_many([0.001, 0.2, 9999.0])
    metrics.rhoconnect_push_waiting_devices.set(6)
    metrics.credential_expiry_seconds("app", "apns").set(-5)
    metrics.credential_expiry_seconds("former", "apns").set(float("inf"))  # its certificate is not in use
    found = counts(metrics)
    assert found.accepted == {"http": 3}
    assert found.refused == {"too_many": 2}
    assert found.deliveries == {"apns": {"accepted": 10, "rejected": 2}, "fcm": {"rejected": 1}}
    assert found.rejections == {"Unregistered": 3}
    assert found.retries == {"fcm": 4}
    assert found.waiting_devices == 6
    assert found.credential_expiry == (CredentialLifetime("app", "apns", -5),)
    seconds = found.delivery_seconds["apns"]
    assert len(seconds.buckets) == len(DELIVERY_BUCKETS_S) + 1
    assert (sum(seconds.buckets), seconds.buckets[0], seconds.buckets[-1]) == (3, 1, 1)
    assert seconds.total_s == pytest.approx(9999.201)


def test_their_number_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_report, "LABELS_MAX", 2)
    metrics = Metrics()
    for number in range(4):
        metrics.deliveries("apns", "", "rejected", f"reason{number}").inc()
        metrics.credential_expiry_seconds(f"app{number}", "apns").set(10 - number)
    found = counts(metrics)
    assert found.rejections == {"reason0": 1, "reason1": 1, "other": 2}
    assert [one.app for one in found.credential_expiry] == ["app3", "app2"]
