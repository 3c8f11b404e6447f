"""What the legacy service's answers mean."""

import pytest

from protocols.rhoconnect_push.verdicts import judge
from protocols.verdict import ACCEPTED, Kind, Verdict


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (200, ACCEPTED),
        (204, ACCEPTED),
        (400, Verdict(Kind.REJECTED, "InvalidRequest")),
        (401, Verdict(Kind.LATER, "Unauthorized")),
        (403, Verdict(Kind.REJECTED, "Forbidden")),
        (404, Verdict(Kind.REJECTED, "NotRegistered", dead=True)),
        (410, Verdict(Kind.REJECTED, "NotRegistered", dead=True)),
        (413, Verdict(Kind.REJECTED, "PayloadTooLarge")),
        (418, Verdict(Kind.REJECTED, "HTTP 418")),
        (429, Verdict(Kind.LATER, "TooManyRequests")),
        (499, Verdict(Kind.REJECTED, "HTTP 499")),
        (500, Verdict(Kind.LATER, "HTTP 500")),
        (503, Verdict(Kind.LATER, "HTTP 503")),
        (302, Verdict(Kind.LATER, "HTTP 302")),
        (399, Verdict(Kind.LATER, "HTTP 399")),
    ],
)
def test_each_status(status: int, verdict: Verdict) -> None:
    assert judge(status, (), b"") == verdict


def test_retry_after() -> None:
    assert judge(503, [(b"retry-after", b"9")], b"").delay_s == 9.0
