"""Error responses of the document, compared with those of the API."""

import orjson
import pytest

from gateway.errors import (
    ApiTokenRefused,
    MetricsUnavailable,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    QueueFull,
    RhoPushError,
    ScheduleFull,
    StoreDown,
)
from gateway.http_api import responses
from gateway.http_api.openapi.errors import errors_of, refusals
from protocols.errors import InvalidField, MalformedBody


@pytest.mark.parametrize("kind", [ApiTokenRefused, NotAuthenticated, QueueFull, InvalidField])
def test_an_error_is_described_as_it_is_answered(kind: type[RhoPushError]) -> None:
    answer = responses.of_error(kind("some words"))
    described = refusals([kind])[str(answer.status)].response
    headers = dict(answer.headers)
    (media_type,) = described["content"]
    assert headers["Content-Type"].startswith(media_type)
    assert ("Retry-After" in headers) == ("Retry-After" in described.get("headers", {}))
    example = described["content"][media_type]["examples"][kind.code]["value"]
    if media_type == "application/json":
        assert orjson.loads(answer.body) | {"error": example["error"]} == example
        assert example["error"]["code"] == kind.code


def test_errors_of_one_status_are_described_together() -> None:
    described = refusals([InvalidField, MalformedBody, StoreDown])
    assert list(described) == ["400", "503"]
    examples = described["400"].response["content"]["application/json"]["examples"]
    assert set(examples) == {"invalid_field", "malformed_body"}
    assert (
        "`invalid_field`: A parameter has a wrong type or value." in described["400"].response["description"]
    )


@pytest.mark.parametrize(
    ("further", "name"),
    [
        ((), "ServiceUnavailable"),
        ((QueueFull, ScheduleFull), "ServiceUnavailableQueueFullScheduleFull"),
    ],
)
def test_a_response_has_the_name_of_its_status_and_of_unusual_errors(
    further: tuple[type[RhoPushError], ...], name: str
) -> None:
    assert refusals((*errors_of("/a", "token"), *further))["503"].name == name


def test_a_response_without_the_usual_errors_has_the_names_of_all_its_errors() -> None:
    assert refusals([MetricsUnavailable])["503"].name == "ServiceUnavailableOnlyMetricsUnavailable"
    assert refusals([NotAllowed])["403"].name == "ForbiddenOnlyNotAllowed"
    assert refusals((*errors_of("/a", "device"),))["403"].name == "ForbiddenNotAllowed"
    assert refusals([NotFound])["404"].name == "NotFound"


def test_every_route_may_be_refused_by_the_connection_limit_or_fail_unexpectedly() -> None:
    described = refusals(errors_of("/healthz", "anyone"))
    for status, code in (("503", "connections_full"), ("500", "internal")):
        assert code in described[status].response["content"]["application/json"]["examples"]
    assert "Retry-After" in described["503"].response["headers"]


def test_the_callers_of_a_route_decide_its_errors() -> None:
    assert ApiTokenRefused in errors_of("/a", "token")
    assert ApiTokenRefused not in errors_of("/a", "anyone")
    assert {404} == {kind.status for kind in errors_of("/a/{b}", "anyone")} - {
        kind.status for kind in errors_of("/a", "anyone")
    }
