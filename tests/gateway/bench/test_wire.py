import json

import pytest

from gateway.bench.wire import CALLER_KEY, USER, broadcast, gorush_template, ping_template
from gateway.tracing.traceparent import is_unsampled
from protocols.ping.parse import from_json


def parts(request: bytes) -> tuple[dict[str, str], bytes]:
    head, _, body = request.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")[1:]
    return dict(line.split(": ", 1) for line in lines), body


def test_every_request_of_the_template_is_complete_and_has_its_own_user() -> None:
    headers, body = parts((ping_template() % (42, 9_999_999)).encode())
    assert headers["Content-Length"] == str(len(body))
    submission = from_json(body)
    assert submission.ping.users == (USER % 42,)
    assert submission.ping.message == "Order 9999999 is on its way"
    assert (submission.api_token, submission.unknown) == (CALLER_KEY, ())


def test_requests_with_many_users_differ_only_in_the_users() -> None:
    headers, body = parts((ping_template(named=100) % (*range(100), 7)).encode())
    assert headers["Content-Length"] == str(len(body))
    assert json.loads(body).pop("user_id") == [USER % number for number in range(100)]
    one = json.loads(parts((ping_template() % (0, 7)).encode())[1])
    assert json.loads(body) | {"user_id": [USER % 0]} == one


@pytest.mark.parametrize("count", [1, 100])
def test_every_notification_of_a_request_to_gorush_has_a_token_of_its_own(count: int) -> None:
    headers, body = parts((gorush_template("com.example.app", count) % (42, 9_999_999)).encode())
    assert headers["Content-Length"] == str(len(body))
    notifications = json.loads(body)["notifications"]
    tokens = [token for one in notifications for token in one["tokens"]]
    assert len(set(tokens)) == len(notifications) == count
    assert {len(token) for token in tokens} == {64}
    assert notifications[0]["message"] == "Order 9999999 is on its way"


def test_a_broadcast_names_every_user_once() -> None:
    headers, body = parts(broadcast(1000))
    assert headers["Content-Length"] == str(len(body))
    assert json.loads(body)["user_id"] == [USER % number for number in range(1000)]


def test_an_awaited_ping_differs_only_in_wait() -> None:
    headers, body = parts((ping_template(wait=True) % (42, 7)).encode())
    assert headers["Content-Length"] == str(len(body))
    waited, plain = from_json(body), from_json(parts((ping_template() % (42, 7)).encode())[1])
    assert (waited.wait, plain.wait) == (True, False)
    assert waited.ping == plain.ping


def test_a_traced_ping_differs_only_in_its_header() -> None:
    traced, body = parts((ping_template(traced=True) % (7, 7, 42, 7)).encode())
    plain, same = parts((ping_template() % (42, 7)).encode())
    assert body == same
    trace = traced.pop("traceparent")
    assert traced == plain
    assert is_unsampled(trace)
    assert trace.endswith("0000007-00")
