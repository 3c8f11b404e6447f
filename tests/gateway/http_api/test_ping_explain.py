"""A ping that is to be explained, on both paths."""

from typing import Any

from protocols.errors import InvalidField
from protocols.ping.model import Ping
from tests.gateway.http_api.harness import PING, House, call


class Explanations:
    """Keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Ping, bool]] = []

    async def explain(self, ping: Ping, *, validates: bool) -> dict[str, Any]:
        self.asked.append((ping, validates))
        return {"totals": {}}


async def test_a_ping_that_is_to_be_explained_never_reaches_the_queue(both: House) -> None:
    explanations = both.services.explanations = Explanations()
    ways: list[dict[str, Any]] = [
        {"body": {"user_id": "bob", "message": "a", "explain": True}},
        {"body": {"user_id": "bob", "message": "a"}, "path": PING + "?explain=true"},
        {"body": {"user_id": "bob", "message": "a", "explain": "1"}, "path": "/api/ping"},
        {
            "body": b"user_id=bob&message=a&explain=true&validate=true",
            "headers": {"Content-Type": "application/x-www-form-urlencoded"},
        },
    ]
    for way in ways:
        answer = await call(both, way.pop("body"), **way)
        assert (answer.status, answer.json) == (200, {"totals": {}})
        assert "x-ping-id" not in answer.headers
    assert [(ping.users, ping.message) for ping, _ in explanations.asked] == [(("bob",), "a")] * 4
    assert [validates for _, validates in explanations.asked] == [False, False, False, True]
    bad: list[tuple[dict[str, Any], str, dict[str, Any]]] = [
        ({"explain": True, "wait": True}, "wait", {}),
        ({"explain": True}, "Idempotency-Key", {"headers": {"Idempotency-Key": "k"}}),
        ({"explain": ""}, "explain", {}),
        ({"validate": True}, "validate", {}),
        ({"explain": False}, "explain", {"path": PING + "?explain=true"}),
    ]
    for body, field, options in bad:
        answer = await call(both, {"user_id": "bob", **body}, **options)
        assert (answer.status, answer.error["field"]) == (400, field)
    both.queue.instant_error = InvalidField("too far ahead", field="deliver_at")
    answer = await call(both, {"user_id": "bob", "explain": True, "deliver_at": 4_000_000_000})
    assert (answer.status, answer.error["field"]) == (400, "deliver_at")
    assert (await call(both, {"explain": True}, token="wrong")).status == 422
    assert len(explanations.asked) == 4
    assert both.queue.pings == []
