"""Verdicts about the responses of the RhoConnect Push service."""

import pytest

from protocols.rhoconnect_push.verdicts import judge
from protocols.verdict import ACCEPTED, Remedy, Verdict, VerdictKind


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (200, ACCEPTED),
        (204, ACCEPTED),
        (400, Verdict(VerdictKind.REJECTED, "InvalidRequest")),
        (401, Verdict(VerdictKind.LATER, "Unauthorized")),
        (403, Verdict(VerdictKind.REJECTED, "Forbidden")),
        (404, Verdict(VerdictKind.REJECTED, "NotRegistered", dead=True)),
        (410, Verdict(VerdictKind.REJECTED, "NotRegistered", dead=True)),
        (408, Verdict(VerdictKind.LATER, "HTTP 408")),
        (413, Verdict(VerdictKind.REJECTED, "PayloadTooLarge")),
        (418, Verdict(VerdictKind.REJECTED, "HTTP 418")),
        (421, Verdict(VerdictKind.LATER, "HTTP 421")),
        (429, Verdict(VerdictKind.LATER, "TooManyRequests", remedy=Remedy.THROTTLE)),
        (499, Verdict(VerdictKind.REJECTED, "HTTP 499")),
        (500, Verdict(VerdictKind.LATER, "HTTP 500")),
        (503, Verdict(VerdictKind.LATER, "HTTP 503")),
        (302, Verdict(VerdictKind.LATER, "HTTP 302")),
        (399, Verdict(VerdictKind.LATER, "HTTP 399")),
    ],
)
def test_each_status_has_its_verdict(status: int, verdict: Verdict) -> None:
    assert judge(status, (), b"") == verdict


def test_retry_after_is_the_delay() -> None:
    assert judge(503, [(b"retry-after", b"9")], b"").delay_s == 9.0
