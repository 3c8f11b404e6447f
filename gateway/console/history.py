"""The time series of the overview: samples of several resolutions, made from the reports of all workers. No I/O.

| series | a sample covers | samples | period |
| --- | --- | --- | --- |
| `5s` | 5 s | 61 | 5 min |
| `1m` | 1 min | 61 | 1 h |
| `15m` | 15 min | 97 | 24 h |

A sample contains counts and no rates, so that a sample of a coarser series is the sum of finer ones. Its length is the
time between the reports that it was made from, not that between two calls: of workers that report every 2 s, a sample
every 5 s has two reports or three, and the rate would differ by half although the load does not. A sample has at most
`SAMPLE_BYTES`: all series together have less than 1 MiB.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from gateway.metrics import DELIVERY_BUCKETS_S
from gateway.telemetry.worker_report import WorkerReport
from protocols.numbers import INT64_MAX, INT64_MIN

REASONS_MAX: Final = 12
"""Most reasons of rejections in a sample; all others are summed as `other`."""
REASON_CHARACTERS: Final = 60
SAMPLE_BYTES: Final = 4_096
OTHER: Final = "other"
KEPT_MS: Final = 3_600_000
"""Age of a worker's last report after which its counts are forgotten: gateways in containers may get a new id at each
start."""


class Series(NamedTuple):
    """One resolution.

    Attributes:
        name: part of its key in Redis.
        step_ms: time that a sample covers.
        samples: number of samples that are stored.
    """

    name: str
    step_ms: int
    samples: int

    @property
    def period_ms(self) -> int:
        """Time that all samples cover."""
        return self.step_ms * (self.samples - 1)


FINE: Final = Series("5s", 5_000, 61)
SERIES: Final = (FINE, Series("1m", 60_000, 61), Series("15m", 900_000, 97))
"""From the finest to the coarsest; each is made from the one before."""


class Sample(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """Counts of one interval, over all gateways.

    Attributes:
        at_ms: end of the interval, epoch ms by Redis' clock.
        span_ms: length of the interval: the mean time between the first and the last report of each worker in it.
        pings: accepted pings.
        refused: refused pings.
        accepted: deliveries that a provider accepted.
        rejected: deliveries that were rejected.
        buckets: accepted deliveries by their latency (`gateway.metrics.DELIVERY_BUCKETS_S`).
        depth: unfinished pings at the end of the interval.
        age_s: age of the oldest of them, in seconds.
        reasons: rejected deliveries by reason.
    """

    at_ms: int
    span_ms: int
    pings: int = 0
    refused: int = 0
    accepted: int = 0
    rejected: int = 0
    buckets: tuple[int, ...] = ()
    depth: int = 0
    age_s: float = 0.0
    reasons: dict[str, int] = {}


class WorkerTotals(NamedTuple):
    """Counts of one worker from its start to its report at `at_ms`."""

    started_ms: int
    at_ms: int
    pings: int = 0
    refused: int = 0
    accepted: int = 0
    rejected: int = 0
    buckets: tuple[int, ...] = ()
    reasons: Mapping[str, int] = {}


def totals(report: WorkerReport) -> WorkerTotals:
    """Return the counts of a report."""
    counts = report.counts
    verdicts = counts.deliveries.values()
    return WorkerTotals(
        report.started_ms,
        report.at_ms,
        sum(counts.accepted.values()),
        sum(counts.refused.values()),
        sum(one.get("accepted", 0) for one in verdicts),
        sum(one.get("rejected", 0) for one in verdicts),
        added(one.buckets for one in counts.delivery_seconds.values()),
        counts.rejections,
    )


class Sampler:
    """Makes samples from successive reports. A worker that is new, or started again, counts from its first report."""

    def __init__(self) -> None:
        self._known: dict[str, WorkerTotals] = {}
        self._at_ms = 0

    def sample(self, reports: Sequence[WorkerReport], at_ms: int, depth: int, age_s: float) -> Sample | None:
        """Return the sample of the time since the last one; None: the first call, or no report is new.

        Args:
            reports: of all workers.
            at_ms: now, by Redis' clock.
            depth: unfinished pings.
            age_s: age of the oldest.
        """
        current = {report.name: totals(report) for report in reports}
        deltas = [_delta(self._known.get(name), now) for name, now in current.items()]
        span_ms = _span_ms(self._known, current, at_ms - self._at_ms)
        first = self._at_ms == 0
        # A worker whose report is missing for a moment must not count as new.
        self._known = {
            name: one for name, one in self._known.items() if at_ms - one.at_ms <= KEPT_MS
        } | current
        if first or span_ms < 0:  # or the clock of Redis was set back
            self._at_ms = at_ms
        if first or span_ms <= 0:
            return None
        self._at_ms = at_ms
        return Sample(
            at_ms,
            span_ms,
            _sum(one.pings for one in deltas),
            _sum(one.refused for one in deltas),
            _sum(one.accepted for one in deltas),
            _sum(one.rejected for one in deltas),
            added(one.buckets for one in deltas),
            depth,
            round(age_s, 1),
            limited(one.reasons for one in deltas),
        )


def _span_ms(before: Mapping[str, WorkerTotals], now: Mapping[str, WorkerTotals], elapsed_ms: int) -> int:
    """Return the mean time between two reports of a worker; 0: no worker has reported since.

    `elapsed_ms`, the time since the last sample, is returned if no worker has two reports. A worker that has not
    reported again has no part in the mean: it counts nothing either.
    """
    spans = [
        one.at_ms - before[name].at_ms
        for name, one in now.items()
        if name in before and before[name].started_ms == one.started_ms
    ]
    if not spans:
        return elapsed_ms
    moved = [span for span in spans if span] or [0]
    return _bounded(sum(moved) // len(moved))


def _delta(before: WorkerTotals | None, now: WorkerTotals) -> WorkerTotals:
    if before is None:
        return WorkerTotals(now.started_ms, now.at_ms)
    if before.started_ms != now.started_ms:
        return now
    return WorkerTotals(
        now.started_ms,
        now.at_ms,
        max(0, now.pings - before.pings),
        max(0, now.refused - before.refused),
        max(0, now.accepted - before.accepted),
        max(0, now.rejected - before.rejected),
        tuple(max(0, value) for value in added((now.buckets, tuple(-one for one in before.buckets)))),
        {
            reason: count - before.reasons.get(reason, 0)
            for reason, count in now.reasons.items()
            if count > before.reasons.get(reason, 0)
        },
    )


def joined(samples: Sequence[Sample]) -> Sample:
    """Return the sum of at least one sample, oldest first; `depth` and `age_s` are the highest."""
    return Sample(
        samples[-1].at_ms,
        _sum(one.span_ms for one in samples),
        _sum(one.pings for one in samples),
        _sum(one.refused for one in samples),
        _sum(one.accepted for one in samples),
        _sum(one.rejected for one in samples),
        added(one.buckets for one in samples),
        max(one.depth for one in samples),
        max(one.age_s for one in samples),
        limited(one.reasons for one in samples),
    )


def added(rows: Iterable[Sequence[int]]) -> tuple[int, ...]:
    """Return the sums of the columns; a short row counts as if zeros followed."""
    sums: list[int] = []
    for row in rows:
        sums += [0] * (len(row) - len(sums))
        for index, value in enumerate(row):
            sums[index] += value
    return tuple(map(_bounded, sums))


def limited(parts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Return the sums by reason, of the `REASONS_MAX` most frequent ones, and of all others together."""
    sums: dict[str, int] = {}
    for part in parts:
        for reason, count in part.items():
            name = reason[:REASON_CHARACTERS]
            sums[name] = sums.get(name, 0) + count
    others = sums.pop(OTHER, 0)
    ordered = sorted(sums.items(), key=lambda one: (-one[1], one[0]))
    others += sum(count for _, count in ordered[REASONS_MAX:])
    found = {reason: _bounded(count) for reason, count in ordered[:REASONS_MAX]}
    return found | {OTHER: _bounded(others)} if others else found


def _sum(numbers: Iterable[int]) -> int:
    return _bounded(sum(numbers))


def _bounded(number: int) -> int:
    """Return a number that Redis and JSON can hold: the reports and samples of another program may have any."""
    return min(max(number, INT64_MIN), INT64_MAX)


def quantile(buckets: Sequence[int], share: float) -> float | None:
    """Return the latency in seconds below which `share` of the deliveries are; None: there are none.

    The value is interpolated within its bucket, as Prometheus' `histogram_quantile` does.
    """
    total = sum(buckets)
    if not total:
        return None
    rank, below, lower = share * total, 0, 0.0
    for bound, count in zip((*DELIVERY_BUCKETS_S, math.inf), buckets, strict=False):
        if count and below + count >= rank:
            return lower if math.isinf(bound) else lower + (bound - lower) * (rank - below) / count
        below += count
        lower = bound
    return lower


def point(sample: Sample) -> dict[str, object]:
    """Return a sample as the scripts of the console draw it: rates a second, and latencies in milliseconds."""
    seconds = max(sample.span_ms, 1) / 1000
    p50, p99 = (quantile(sample.buckets, share) for share in (0.5, 0.99))
    return {
        "at": sample.at_ms,
        "pings": round(sample.pings / seconds, 2),
        "refused": round(sample.refused / seconds, 2),
        "pushes": round(sample.accepted / seconds, 2),
        "rejected": round(sample.rejected / seconds, 2),
        "p50": None if p50 is None else round(p50 * 1000, 1),
        "p99": None if p99 is None else round(p99 * 1000, 1),
        "depth": sample.depth,
        "age": sample.age_s,
        "reasons": sample.reasons,
    }
