"""Google's table of error codes, and the codes that concern the token."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.fcm.simulator import REASONS as SIMULATED
from protocols.fcm.simulator import explain
from protocols.fcm.verdicts import judge
from protocols.verdict import ACCEPTED, Remedy, Verdict, VerdictKind

FCM_ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"
TOKEN_TEXT = "The registration token is not a valid FCM registration token"


def body(status: str, code: str | None, message: str = "", *details: dict[str, Any]) -> bytes:
    fcm = [] if code is None else [{"@type": FCM_ERROR, "errorCode": code}]
    return json.dumps(
        {"error": {"code": 1, "message": message, "status": status, "details": [*details, *fcm]}}
    ).encode()


def violation(*fields: str) -> dict[str, Any]:
    return {
        "@type": BAD_REQUEST,
        "fieldViolations": [{"field": field, "description": "x"} for field in fields],
    }


@pytest.mark.parametrize(
    ("http", "said", "verdict"),
    [
        (
            400,
            body("INVALID_ARGUMENT", "INVALID_ARGUMENT"),
            Verdict(VerdictKind.REJECTED, "INVALID_ARGUMENT"),
        ),
        (
            401,
            body("UNAUTHENTICATED", "THIRD_PARTY_AUTH_ERROR"),
            Verdict(VerdictKind.LATER, "THIRD_PARTY_AUTH_ERROR"),
        ),
        (
            401,
            body("UNAUTHENTICATED", None),
            Verdict(VerdictKind.LATER, "UNAUTHENTICATED", remedy=Remedy.REFRESH, retry_at_once=True),
        ),
        (
            403,
            body("PERMISSION_DENIED", "SENDER_ID_MISMATCH"),
            Verdict(VerdictKind.REJECTED, "SENDER_ID_MISMATCH"),
        ),
        (
            403,
            body("PERMISSION_DENIED", None),
            Verdict(VerdictKind.LATER, "PERMISSION_DENIED", remedy=Remedy.HALT),
        ),
        (404, body("NOT_FOUND", "UNREGISTERED"), Verdict(VerdictKind.REJECTED, "UNREGISTERED", dead=True)),
        (404, body("NOT_FOUND", None), Verdict(VerdictKind.LATER, "NOT_FOUND", remedy=Remedy.HALT)),
        (
            429,
            body("RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED"),
            Verdict(VerdictKind.LATER, "QUOTA_EXCEEDED", 60.0, remedy=Remedy.THROTTLE),
        ),
        (429, b"", Verdict(VerdictKind.LATER, "HTTP 429", 60.0, remedy=Remedy.THROTTLE)),
        (500, body("INTERNAL", "INTERNAL"), Verdict(VerdictKind.LATER, "INTERNAL")),
        (503, body("UNAVAILABLE", "UNAVAILABLE"), Verdict(VerdictKind.LATER, "UNAVAILABLE")),
        (500, body("UNKNOWN", "UNSPECIFIED_ERROR"), Verdict(VerdictKind.LATER, "UNSPECIFIED_ERROR")),
        (400, body("UNKNOWN", "UNSPECIFIED_ERROR"), Verdict(VerdictKind.REJECTED, "UNSPECIFIED_ERROR")),
        (400, body("INVALID_ARGUMENT", None), Verdict(VerdictKind.REJECTED, "INVALID_ARGUMENT")),
        (400, b"", Verdict(VerdictKind.REJECTED, "HTTP 400")),
        (404, b"<html>not found</html>", Verdict(VerdictKind.LATER, "HTTP 404", remedy=Remedy.HALT)),
        (405, b"", Verdict(VerdictKind.REJECTED, "HTTP 405")),
        (408, b"", Verdict(VerdictKind.LATER, "HTTP 408")),
        (421, b"", Verdict(VerdictKind.LATER, "HTTP 421", remedy=Remedy.RECONNECT, retry_at_once=True)),
        (502, b"", Verdict(VerdictKind.LATER, "HTTP 502")),
        (302, b"", Verdict(VerdictKind.LATER, "HTTP 302")),
        (500, body("NEW", "BRAND_NEW"), Verdict(VerdictKind.LATER, "BRAND_NEW")),
    ],
)
def test_each_response_has_its_verdict(http: int, said: bytes, verdict: Verdict) -> None:
    assert judge(http, (), said) == verdict


def test_a_response_of_200_is_accepted() -> None:
    assert judge(200, (), b'{"name":"projects/p/messages/1"}') is ACCEPTED


@pytest.mark.parametrize(
    ("said", "dead"),
    [
        (body("INVALID_ARGUMENT", "INVALID_ARGUMENT", TOKEN_TEXT), True),
        (body("INVALID_ARGUMENT", "INVALID_ARGUMENT", "Invalid token", violation("message.token")), True),
        (body("INVALID_ARGUMENT", "INVALID_ARGUMENT", "Invalid id", violation("message.fid")), True),
        (body("INVALID_ARGUMENT", "INVALID_ARGUMENT", TOKEN_TEXT, violation("message.data[0].value")), False),
        (
            body("INVALID_ARGUMENT", "INVALID_ARGUMENT", "", violation("message.token", "message.data")),
            False,
        ),
        (body("INVALID_ARGUMENT", "INVALID_ARGUMENT", "Message too big"), False),
        # Without an FcmError the response does not come from FCM.
        (body("INVALID_ARGUMENT", None, TOKEN_TEXT), False),
    ],
)
def test_which_invalid_argument_is_the_tokens(said: bytes, dead: bool) -> None:
    assert judge(400, (), said) == Verdict(VerdictKind.REJECTED, "INVALID_ARGUMENT", dead=dead)


@pytest.mark.parametrize("http", [429, 500, 503])
def test_retry_after_wins(http: int) -> None:
    assert judge(http, [(b"retry-after", b"7")], b"").delay_s == 7.0


def test_retry_after_delays_only_what_is_later_and_not_once() -> None:
    headers = [(b"retry-after", b"7")]
    assert judge(400, headers, b"").delay_s is None
    assert judge(401, headers, b"") == Verdict(
        VerdictKind.LATER, "HTTP 401", remedy=Remedy.REFRESH, retry_at_once=True
    )


def test_a_date_is_understood_with_the_time() -> None:
    headers = [(b"retry-after", b"Tue, 14 Nov 2023 22:14:20 GMT")]
    assert judge(503, headers, b"", 1_700_000_000.0).delay_s == 60.0
    assert judge(429, headers, b"").delay_s == 60.0  # not parsed: the minute that Google requests


@pytest.mark.parametrize(
    ("reason", "kind", "dead"),
    [
        ("UNREGISTERED", VerdictKind.REJECTED, True),
        ("BadRegistrationToken", VerdictKind.REJECTED, True),
        ("INVALID_ARGUMENT", VerdictKind.REJECTED, False),
        ("InvalidMessage", VerdictKind.REJECTED, False),
        ("SENDER_ID_MISMATCH", VerdictKind.REJECTED, False),
        ("QUOTA_EXCEEDED", VerdictKind.LATER, False),
        ("UNAVAILABLE", VerdictKind.LATER, False),
        ("INTERNAL", VerdictKind.LATER, False),
        ("AccessTokenExpired", VerdictKind.LATER, False),
        ("PermissionDenied", VerdictKind.LATER, False),
    ],
)
def test_the_simulators_responses_are_parsed(reason: str, kind: VerdictKind, dead: bool) -> None:
    verdict = judge(SIMULATED[reason].status, (), explain(reason, ()))
    assert (verdict.kind, verdict.dead) == (kind, dead)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["error", "details", "@type", "errorCode", "fieldViolations", "field", "message", "status"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)


@given(st.integers(100, 599), JSON)
def test_no_answer_raises(http: int, said: Any) -> None:
    verdict = judge(http, (), json.dumps(said).encode())
    assert verdict.kind in VerdictKind
    assert len(verdict.reason) <= 64


def test_details_of_every_wrong_shape() -> None:
    for details in (5, "x", {}, [5], [[]], [{"@type": FCM_ERROR, "errorCode": {}}], [{"@type": FCM_ERROR}]):
        said = json.dumps({"error": {"status": "UNAVAILABLE", "details": details}}).encode()
        assert judge(503, (), said).kind is VerdictKind.LATER
    said = body("X", "INVALID_ARGUMENT", "", {"@type": BAD_REQUEST, "fieldViolations": [5, {"field": []}]})
    assert judge(400, (), said).kind is VerdictKind.REJECTED
