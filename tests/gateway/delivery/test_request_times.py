"""The stages of requests, from the first delivery of a take and from one request at a time."""

import pytest

from gateway.delivery.batch import Delivery
from gateway.delivery.request_times import RequestTimes
from gateway.metrics import REQUEST, RESPONSE, Metrics
from tests.gateway.delivery.test_awaited import deliveries


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def planned(number: int) -> list[Delivery]:
    found = deliveries([()] * number)
    found[0].batch.begin_delivery(1_000)
    return found


def responses(metrics: Metrics, status: str) -> float:
    return metrics.provider_responses("apns", status).value


def test_the_wait_of_the_first_counts_for_all_that_begin_together(metrics: Metrics) -> None:
    times = RequestTimes(metrics, "apns")
    times.begun(planned(3)[0], 3, 1_200)
    times.begun(planned(1)[0], 1, 900)  # Redis' clock was set back
    waits = metrics.stage_seconds(REQUEST, "apns")
    assert sum(waits.counts) == 4
    assert waits.total == pytest.approx(0.6)


def test_one_request_at_a_time_is_measured_until_its_response(metrics: Metrics) -> None:
    times, taken = RequestTimes(metrics, "apns"), planned(3)
    measured = metrics.stage_seconds(RESPONSE, "apns")
    times.begun(taken[0], 3, 1_000)
    times.accepted(taken[1:])
    assert sum(measured.counts) == 0
    times.begun(taken[2], 1, 1_000)
    times.accepted(taken[:1])
    assert sum(measured.counts) == 1
    times.accepted(taken[2:])
    assert sum(measured.counts) == 1
    assert responses(metrics, "200") == 4


def test_a_request_that_was_not_processed_is_measured_no_further(metrics: Metrics) -> None:
    times, taken = RequestTimes(metrics, "apns"), planned(2)
    times.begun(taken[0], 1, 1_000)
    times.unprocessed(taken[1])
    times.unprocessed(taken[0])
    times.accepted(taken)
    assert sum(metrics.stage_seconds(RESPONSE, "apns").counts) == 0
    times.begun(taken[1], 1, 1_000)
    times.answered(taken[1], 503)
    assert sum(metrics.stage_seconds(RESPONSE, "apns").counts) == 1


def test_responses_are_counted_by_status(metrics: Metrics) -> None:
    times, (delivery,) = RequestTimes(metrics, "apns"), planned(1)
    for status in (410, 410, 0, 999):
        times.answered(delivery, status)
    assert [responses(metrics, label) for label in ("410", "none", "other", "999")] == [2, 1, 1, 0]
