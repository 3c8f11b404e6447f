"""Rules of the simulated FCM: permissions, refusals and faults."""

import json
from typing import Any

import orjson
import pytest

from protocols.fcm.simulator import ANSWERS, REASONS, Account, FcmOptions, FcmRules, FcmSession
from protocols.headers import Header
from protocols.simulation.faults import FaultAction
from protocols.simulation.record import SimulatedAnswer, Summary
from tests.support.certificates import RSA

NOW_S = 1_700_000_000.0
ACCOUNT = Account("push@p", "key-1", RSA.public_key(), "my-project")
MESSAGE: dict[str, Any] = {"message": {"token": "device:1", "data": {"alert": "hi", "do_sync": "A,B"}}}
PATH = "/v1/projects/my-project/messages:send"
ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"


def session(**options: Any) -> FcmSession:
    rules = FcmRules([ACCOUNT], b"secret", FcmOptions(**options))
    return rules.session()


def ask(
    connection: FcmSession,
    body: Any = MESSAGE,
    *,
    path: str = PATH,
    bearer: str | None = "Bearer GOOD",
    now_s: float = NOW_S,
) -> SimulatedAnswer:
    headers: list[Header] = [(b":method", b"POST"), (b":path", path.encode())]
    if bearer is not None:
        good = connection.rules.tokens.issue(ACCOUNT, NOW_S)
        headers.append((b"authorization", bearer.replace("GOOD", good).encode()))
    return connection.answer(headers, body if isinstance(body, bytes) else orjson.dumps(body), now_s)


def error(answer: SimulatedAnswer) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(answer.body)["error"]
    assert found["code"] == answer.status
    return found


def test_a_message_is_accepted_and_named() -> None:
    connection = session()
    names = [orjson.loads(ask(connection).body)["name"] for _ in range(2)]
    assert names[0].startswith("projects/my-project/messages/0:1700000000000000%")
    assert names[0] != names[1]


def test_a_record_contains_the_message_and_no_authorization() -> None:
    record = ask(session()).record
    assert record is not None
    assert (record.provider, record.token, record.topic, record.status) == (
        "fcm",
        "device:1",
        "my-project",
        200,
    )
    assert record.summary == Summary("hi", None, None, None, ("A", "B"))
    assert "authorization" not in record.headers
    assert record.payload == MESSAGE


def test_validate_only_sends_nothing() -> None:
    answer = ask(session(), {**MESSAGE, "validateOnly": True})
    assert orjson.loads(answer.body)["name"] == "projects/my-project/messages/fake_message_id"
    assert answer.record is not None
    assert answer.record.notes == ("validate_only: not sent",)


def test_the_android_notification_is_summed_up_too() -> None:
    notification = {"body": "hello", "sound": "s", "notification_count": 4}
    record = ask(session(), {"message": {"topic": "news", "android": {"notification": notification}}}).record
    assert record is not None
    assert (record.token, record.summary) == ("topic:news", Summary("hello", 4, "s"))


ROUTES = [
    ({"path": "/v1/projects/my-project/messages"}, 404, "NOT_FOUND", None),
    ({"path": "/fcm/send"}, 404, "NOT_FOUND", None),
    ({"bearer": None}, 401, "UNAUTHENTICATED", "CREDENTIALS_MISSING"),
    ({"bearer": "key=abc"}, 401, "UNAUTHENTICATED", "CREDENTIALS_MISSING"),
    ({"bearer": "Bearer stale"}, 401, "UNAUTHENTICATED", "ACCESS_TOKEN_EXPIRED"),
    ({"now_s": NOW_S + 3600}, 401, "UNAUTHENTICATED", "ACCESS_TOKEN_EXPIRED"),
    ({"path": PATH.replace("my-", "their-")}, 403, "PERMISSION_DENIED", "IAM_PERMISSION_DENIED"),
]


@pytest.mark.parametrize(("changes", "status", "name", "reason"), ROUTES)
def test_credentials_that_may_not_send(
    changes: dict[str, Any], status: int, name: str, reason: str | None
) -> None:
    found = error(ask(session(), **changes))
    assert (found["code"], found["status"]) == (status, name)
    assert [detail.get("reason") for detail in found["details"]] == ([reason] if reason else [])


def test_only_post_sends() -> None:
    get: list[Header] = [(b":method", b"GET"), (b":path", PATH.encode())]
    assert session().answer(get, b"", NOW_S).status == 405


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"message":{"token":"x","foo":1}}'])
def test_unparsable_requests_get_no_fcm_error(body: bytes) -> None:
    found = error(ask(session(), body))
    assert (found["status"], [detail["@type"] for detail in found["details"]]) == (
        "INVALID_ARGUMENT",
        [BAD_REQUEST],
    )


def test_invalid_arguments_get_both_details() -> None:
    found = error(ask(session(), {"message": {"token": "x", "data": {"from": "me"}}}))
    assert [detail["@type"] for detail in found["details"]] == [ERROR, BAD_REQUEST]
    assert found["details"][0]["errorCode"] == "INVALID_ARGUMENT"
    assert found["details"][1]["fieldViolations"][0]["field"] == "message.data.from"


@pytest.mark.parametrize("device", ["a b", "a\n", "é", "x" * 4097])
def test_an_impossible_token_is_reported_as_invalid(device: str) -> None:
    found = error(ask(session(), {"message": {"token": device}}))
    assert found["message"] == "The registration token is not a valid FCM registration token"
    assert found["details"] == [{"@type": ERROR, "errorCode": "INVALID_ARGUMENT"}]


@pytest.mark.parametrize("fid", ["cDe_f-gH0123456789abcd", "cDe_f-gH012"])
def test_an_installation_is_addressed_by_its_id(fid: str) -> None:
    answer = ask(session(), {"message": {"fid": fid}})
    assert answer.status == 200
    assert answer.record is not None
    assert answer.record.token == fid


@pytest.mark.parametrize(
    "fid", ["a token", "xDe_f-gH0123456789abcd", "cDe_f-gH0123456789abcd:APA91b", "c" * 21]
)
def test_an_impossible_installation_is_reported_as_invalid(fid: str) -> None:
    found = error(ask(session(), {"message": {"fid": fid}}))
    assert found["message"] == "The fid is not a valid Firebase installation ID"
    assert found["details"] == [{"@type": ERROR, "errorCode": "INVALID_ARGUMENT"}]


def test_a_message_has_one_target() -> None:
    both = {"message": {"fid": "cDe_f-gH0123456789abcd", "token": "device:1"}}
    assert "Exactly one" in error(ask(session(), both))["message"]


def test_the_quota_fills_again() -> None:
    connection = session(per_minute=2, retry_after_s=30)
    assert [ask(connection).status for _ in range(3)] == [200, 200, 429]
    assert ask(connection, now_s=NOW_S + 29.9).status == 429
    assert ask(connection, now_s=NOW_S + 60).status == 200


def test_a_quota_response_has_retry_after() -> None:
    answer = ask(session(per_minute=0, retry_after_s=30))
    assert (b"retry-after", b"30") in answer.headers
    assert error(answer)["details"][0]["errorCode"] == "QUOTA_EXCEEDED"


@pytest.mark.parametrize("reason", sorted(REASONS))
def test_every_reason_can_be_scripted(reason: str) -> None:
    found = error(ask(session(faults=[reason])))
    row = REASONS[reason]
    assert (found["code"], found["status"]) == (row.status, row.name)
    codes = [detail["errorCode"] for detail in found["details"] if detail["@type"] == ERROR]
    assert len(codes) == (1 if row.detail == "fcm" else 0)


@pytest.mark.parametrize("word", sorted(set(ANSWERS) - set(REASONS)))
def test_every_short_word_means_a_reason(word: str) -> None:
    record = ask(session(faults=[f"{word}:device"])).record
    assert record is not None
    assert record.reason == ANSWERS[word]


def test_a_scripted_answer_may_have_retry_after() -> None:
    assert (b"retry-after", b"7") in ask(session(faults=["503=7"])).headers


@pytest.mark.parametrize(
    "action",
    [FaultAction.SILENCE, FaultAction.REFUSE, FaultAction.RESET, FaultAction.GOAWAY, FaultAction.CUT],
)
def test_a_fault_of_the_connection_is_left_to_the_host(action: FaultAction) -> None:
    answer = ask(session(faults=[action.value]))
    assert (answer.action, answer.status) == (action, 0)
    assert answer.record is not None
    assert answer.record.reason == action.value


def test_requests_are_answered_under_a_limit_and_a_delay() -> None:
    connection = session(faults=["limit=3:next=1", "delay=5"])
    assert (ask(connection).status, connection.stream_limit) == (200, 3)
    assert ask(connection)[:2] == (FaultAction.DELAY, 200)


def test_the_token_endpoint_is_one_of_its_paths() -> None:
    headers: list[Header] = [(b":method", b"POST"), (b":path", b"/token")]
    answer = session(faults=["cut"]).answer(headers, b"grant_type=x", NOW_S)
    assert (answer.status, answer.record) == (400, None)
    assert orjson.loads(answer.body)["error"] == "unsupported_grant_type"


@pytest.mark.parametrize(
    "place", ["token", "topic", "android.notification.tag", "data.alert", "notification.title"]
)
def test_a_deeply_nested_value_is_refused_by_name(place: str) -> None:
    message: dict[str, Any] = {} if place in {"token", "topic"} else {"token": "device:1"}
    *outer, name = place.split(".")
    inside = message
    for step in outer:
        inside = inside.setdefault(step, {})
    inside[name] = "PLACE"
    body = json.dumps({"message": message}).replace('"PLACE"', '{"a":' * 1_000 + '"x"' + "}" * 1_000)
    assert error(ask(session(), body.encode()))["status"] == "INVALID_ARGUMENT"
