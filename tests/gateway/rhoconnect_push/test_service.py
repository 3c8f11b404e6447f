"""Each row of the service's contract: request, order of checks, status, body, headers, keys before and after.

A row marked DIFFERENT deviates from rhoconnect-push on purpose: its defects are not copied.
"""

import json

import pytest

from tests.gateway.rhoconnect_push.harness import APP, LIFE_S, SESSION, USER, House, basic, old_id

DIFFERENT = "on purpose not as rhoconnect-push"
GOOD = basic(USER)
JSON = "application/json"
MESSAGE = b'{"data":{"alert":"hello"}}'


# -- requests without a route --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/"),
        ("OPTIONS", "/instanceId"),
        ("GET", "/instanceId"),
        ("PUT", "/instanceId"),
        ("POST", "/instanceId?x=1"),
        ("POST", "/instanceId/"),
        ("POST", "/instanceID"),
        ("GET", "/instanceId/"),
        ("GET", "/instanceId/i/more"),
        ("PUT", "/instanceId/i"),
        ("POST", "/registrations/i/u/a"),
        ("PUT", "/registrations/"),
        ("PUT", "/registrations/i/u"),
        ("PUT", "/registrations/i/u/"),
        ("PUT", "/registrations/i/u/a/more"),
        ("POST", "/nextMessage/i"),
        ("PUT", "/nextMessage/i"),
        ("GET", "/nextMessage"),
        ("GET", "/nextMessage/"),
        ("GET", "/nextMessage/i/more"),
        ("GET", "/messageQueue/t"),
        ("PUT", "/messageQueue/t"),
        ("DELETE", "/messageQueue/t"),
    ],
)
async def test_everything_else_is_forbidden_without_a_body(service: House, method: str, target: str) -> None:
    answer = await service.call(method, target, Cookie=SESSION, Authorization=GOOD)
    assert (answer.status, answer.body) == (403, b"")
    assert answer.headers["content-length"] == "0"
    assert service.judge.asked == []


# -- POST /instanceId ----------------------------------------------------------------------------------------


async def test_an_instance_is_created_for_a_user_and_not_stored(service: House) -> None:
    answer = await service.call("POST", "/instanceId", Cookie=SESSION, Authorization=GOOD)
    assert (answer.status, list(answer.json)) == (200, ["instance"])
    assert answer.headers["content-type"] == JSON
    uuid, _, proof = answer.json["instance"].partition(":")
    assert (len(uuid), len(proof)) == (36, 32)
    assert uuid[14] == "8", "rhoconnect-push's have a 4 there"
    assert await service.redis.keys("*") == []
    assert service.judge.asked == [("/rc/v1/app/rps_login", SESSION, GOOD)]


@pytest.mark.parametrize(
    "headers",
    [{}, {"Cookie": SESSION}, {"Authorization": GOOD}, {"Cookie": "other=1", "Authorization": GOOD}],
    ids=["nothing", "no credentials", "no session", "another cookie"],
)
@pytest.mark.parametrize(
    ("method", "target"), [("POST", "/instanceId"), ("GET", "/instanceId/i"), ("DELETE", "/instanceId/i")]
)
async def test_a_client_that_is_not_a_user_gets_401(
    service: House, method: str, target: str, headers: dict[str, str]
) -> None:
    answer = await service.call(method, target, **headers)
    assert (answer.status, answer.body) == (401, b"")
    assert len(service.judge.asked) == 1


# -- GET /instanceId/I ---------------------------------------------------------------------------------------


async def test_an_instance_gets_its_cookie(service: House) -> None:
    made = await service.call("POST", "/instanceId", Cookie=SESSION, Authorization=GOOD)
    answer = await service.call(
        "GET", f"/instanceId/{made.json['instance']}", Cookie=SESSION, Authorization=GOOD
    )
    assert (answer.status, answer.body) == (204, b"")
    assert "content-length" not in answer.headers
    assert (answer.headers["secure"], answer.headers["httponly"]) == ("true", "true")
    name, _, cookie = answer.headers["set-cookie"].partition("=")
    assert name == "instance"
    assert len(cookie.partition(":")[2]) == 32


@pytest.mark.parametrize(
    "instance",
    [
        "undefined",
        "i",
        old_id("instance", "somebody"),
        old_id("instance", USER, "0e5f2b1a-1d52-8c7c-9b7e-2d1f6a3c9e01"),
        "a:" + "0" * 32,
        "a:" + "0" * 40,
    ],
    ids=["no form", "short", "of another user", "false signature", "false proof", "longer proof"],
)
async def test_no_cookie_for_an_instance_of_another_user_or_an_invalid_one(
    service: House, instance: str
) -> None:
    answer = await service.call("GET", f"/instanceId/{instance}", Cookie=SESSION, Authorization=GOOD)
    assert (answer.status, answer.body) == (404, b"")


async def test_an_old_instance_gets_a_cookie_registered_or_not(service: House) -> None:
    instance = old_id("instance", USER)
    answer = await service.call("GET", f"/instanceId/{instance}", Cookie=SESSION, Authorization=GOOD)
    assert answer.status == 204
    assert answer.headers["set-cookie"] == f"instance={service.ids.cookie(instance)}"


# -- registrations -------------------------------------------------------------------------------------------


async def test_a_registration_is_stored_in_rhoconnect_pushs_keys(service: House) -> None:
    phone = await service.new_phone()
    redis = service.redis
    assert sorted(key.decode() for key in await redis.keys("*:*:*")) == sorted(
        [f"cnt:{phone.instance}", f"reg:{phone.instance}", f"tok:{phone.token}"]
    )
    members = await redis.smembers(f"reg:{phone.instance}")
    assert members == {json.dumps({"token": phone.token, "appname": APP}, separators=(",", ":")).encode()}
    assert await redis.get(f"tok:{phone.token}") == phone.instance.encode()
    for key in (f"reg:{phone.instance}", f"cnt:{phone.instance}", f"tok:{phone.token}"):
        assert LIFE_S - 60 < await redis.ttl(key) <= LIFE_S


async def test_registering_again_returns_the_same_token_and_restarts_its_lifetime(service: House) -> None:
    phone = await service.new_phone()
    for key in ("reg", "cnt"):
        await service.redis.expire(f"{key}:{phone.instance}", 100)
    await service.redis.delete(f"tok:{phone.token}")
    again = await service.register(phone)
    assert (again.status, again.json) == (201, {"token": phone.token})
    assert again.headers["content-type"] == JSON
    assert await service.redis.ttl(f"reg:{phone.instance}") > 100
    assert await service.redis.get(f"tok:{phone.token}") == phone.instance.encode(), DIFFERENT


async def test_a_registration_can_be_looked_up(service: House) -> None:
    phone = await service.new_phone()
    await service.redis.expire(f"reg:{phone.instance}", 100)
    found = await service.register(phone, method="GET")
    assert (found.status, found.json) == (200, {"token": phone.token})
    assert await service.redis.ttl(f"reg:{phone.instance}") > 100
    missing = await service.register(phone, "other", method="GET")
    assert (missing.status, missing.body) == (404, b"")


async def test_delete_ends_a_registration_once(service: House) -> None:
    phone = await service.new_phone()
    assert (await service.register(phone, "other", method="DELETE")).status == 404
    ended = await service.register(phone, method="DELETE")
    assert (ended.status, ended.body) == (204, b"")
    assert await service.redis.keys("*") == []
    assert (await service.register(phone, method="DELETE")).status == 404


async def test_ending_one_of_two_registrations_removes_its_messages_alone(service: House) -> None:
    phone = await service.new_phone()
    second = (await service.register(phone, "app2mike")).json["token"]
    for token, app, text in ((phone.token, APP, "a"), (second, "app2mike", "b"), (phone.token, APP, "c")):
        assert (await service.post(token, {"data": {"alert": text}}, app)).status == 204
    assert (await service.register(phone, method="DELETE")).status == 204
    assert [message["data"] for message in await service.queued(phone.instance)] == [{"alert": "b"}]
    assert await service.redis.zcard(f"col:{phone.instance}") == 1
    assert await service.redis.exists(f"tok:{phone.token}") == 0
    assert await service.redis.exists(f"tok:{second}") == 1


@pytest.mark.parametrize("method", ["PUT", "GET", "DELETE"])
@pytest.mark.parametrize(
    "cookies",
    ["", SESSION, f"instance=; {SESSION}", f"instance=bad:cookie; {SESSION}"],
    ids=["none", "session alone", "empty", "false"],
)
async def test_the_instances_cookie_is_the_first_check_of_a_registration(
    service: House, method: str, cookies: str
) -> None:
    phone = await service.new_phone()
    asked = len(service.judge.asked)
    target = f"/registrations/{phone.instance}/{USER}/{APP}"
    headers = {"Cookie": cookies} if cookies else {}
    answer = await service.call(method, target, Authorization=GOOD, **headers)
    assert (answer.status, answer.body) == (401, b"")
    assert len(service.judge.asked) == asked, "the user is asked about only after the cookie"


async def test_the_credentials_name_the_user_of_a_registration(service: House) -> None:
    phone = await service.new_phone()
    answer = await service.call(
        "PUT",
        f"/registrations/{phone.instance}/somebody/{APP}",
        Cookie=f"instance={phone.cookie}; {SESSION}",
        Authorization=GOOD,
    )
    assert answer.status == 401


@pytest.mark.parametrize("join", ["; ", ",", ", ", "\n"], ids=["one header", "comma", "comma space", "two"])
async def test_cookies_in_one_header_or_two_or_joined_by_a_comma(service: House, join: str) -> None:
    """Windows devices join by a comma, Android devices send two headers. RhoConnect receives a semicolon."""
    phone = await service.new_phone()
    answer = await service.call(
        "PUT",
        f"/registrations/{phone.instance}/{USER}/{APP}",
        Cookie=f"instance={phone.cookie}{join}{SESSION}",
        Authorization=basic(USER, "another password, not remembered"),
    )
    assert answer.status == 201
    assert service.judge.asked[-1][1] == f"instance={phone.cookie}; {SESSION}"


# -- DELETE /instanceId/I ------------------------------------------------------------------------------------


async def test_forgetting_an_instance_removes_all_its_keys(service: House) -> None:
    phone = await service.new_phone()
    await service.register(phone, "app2mike")
    await service.post(phone.token, {"data": {"alert": "a"}})
    answer = await service.call("DELETE", f"/instanceId/{phone.instance}", Cookie=SESSION, Authorization=GOOD)
    assert (answer.status, answer.body) == (204, b"")
    assert await service.rest(phone.instance) == []
    again = await service.call("DELETE", f"/instanceId/{phone.instance}", Cookie=SESSION, Authorization=GOOD)
    assert again.status == 404


# -- POST /messageQueue/TOKEN --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content_type", ["", "text/plain", "application/json; charset=utf-8", "Application/JSON"]
)
async def test_the_content_type_of_a_message_must_be_json_exactly(service: House, content_type: str) -> None:
    phone = await service.new_phone()
    headers = {"Content_Type": content_type} if content_type else {}
    answer = await service.call(
        "POST", f"/messageQueue/{phone.token}", MESSAGE, Authorization=basic(APP), **headers
    )
    assert (answer.status, answer.body) == (400, b"")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b"null", 400),
        (b'"text"', 400),
        (b"7", 400),
        (b"{}", 400),
        (b'{"data":[]}', 400),
        (b'{"data":"text"}', 400),
        (b'{"data":1}', 400),
        (b'{"data":{},"collapseId":"5"}', 400),
        (b'{"data":{},"collapseId":null}', 400),
        (b'{"data":{},"collapseId":true}', 400),
        (b'{"data":{}}', 204),
        (b'{"data":null}', 204),
        (b'{"data":{},"collapseId":5}', 204),
        (b'{"data":{},"collapseId":-1}', 204),
        (b'{"data":{},"collapseId":1.5}', 204),
        (b'{"data":{},"more":[]}', 204),
    ],
)
async def test_the_form_of_a_message_decides_the_status(service: House, body: bytes, status: int) -> None:
    phone = await service.new_phone()
    answer = await service.post(phone.token, body)
    assert (answer.status, answer.body) == (status, b"")
    assert len(await service.queued(phone.instance)) == (status == 204)


ORDER: list[tuple[str, int, dict[str, str]]] = [
    # Each request has the fault of its row and all faults that are checked later: the row's own fault decides.
    ("content type", 400, {"target": "/messageQueue", "type": "text/plain", "body": "{", "auth": ""}),
    ("body", 400, {"target": "/messageQueue", "body": "{", "auth": ""}),
    ("path, too short", 403, {"target": "/messageQueue", "auth": ""}),
    ("path, empty", 403, {"target": "/messageQueue/", "auth": ""}),
    ("path, too long", 403, {"target": "/messageQueue/t/more", "auth": ""}),
    ("no credentials", 401, {"target": "/messageQueue/undefined", "auth": ""}),
    ("no Basic credentials", 401, {"target": "/messageQueue/undefined", "auth": "Bearer x"}),
    ("empty Basic credentials", 401, {"target": "/messageQueue/undefined", "auth": "Basic "}),
    ("an unknown app", 401, {"target": "/messageQueue/undefined", "auth": "Basic badauth"}),
    ("no token of the app", 401, {"target": "/messageQueue/undefined", "auth": basic(APP)}),
    ("another app's token", 401, {"target": "TOKEN", "auth": basic("app2mike")}),
    ("not registered", 404, {"target": "UNREGISTERED", "auth": basic(APP)}),
    ("good", 204, {"target": "TOKEN", "auth": basic(APP)}),
    ("loose path", 204, {"target": "LOOSE", "auth": basic(APP)}),
    ("a query is not looked at", 204, {"target": "QUERY", "auth": basic(APP)}),
]


@pytest.mark.parametrize(("status", "fault"), [row[1:] for row in ORDER], ids=[row[0] for row in ORDER])
async def test_the_order_of_a_messages_checks(service: House, status: int, fault: dict[str, str]) -> None:
    phone = await service.new_phone()
    targets = {
        "TOKEN": f"/messageQueue/{phone.token}",
        "UNREGISTERED": f"/messageQueue/{old_id('token', APP)}",
        "LOOSE": f"/messageQueueX/{phone.token}",
        "QUERY": f"/messageQueue/{phone.token}?a=b",
    }
    headers = {"Authorization": fault["auth"]} if fault["auth"] else {}
    answer = await service.call(
        "POST",
        targets.get(fault["target"], fault["target"]),
        fault.get("body", MESSAGE.decode()).encode(),
        Content_Type=fault.get("type", JSON),
        **headers,
    )
    assert (answer.status, answer.body) == (status, b"")


async def test_a_message_is_queued_in_rhoconnect_pushs_keys(service: House) -> None:
    phone = await service.new_phone()
    before = int(await service.redis.get(f"cnt:{phone.instance}"))
    await service.post(
        phone.token, b'{ "collapseId": 5,\n "data": {"alert": "h\\u00e9",  "do_sync": ["A"]} }'
    )
    message_id = before + 1
    text = f'{{"id":{message_id},"token":"{phone.token}","data":{{"alert":"hé","do_sync":["A"]}}}}'
    redis = service.redis
    assert await redis.zrange(f"que:{phone.instance}", 0, -1, withscores=True) == [
        (text.encode(), message_id)
    ]
    collapse = await redis.zrange(f"col:{phone.instance}", 0, -1, withscores=True)
    assert collapse == [(f"5:{APP}".encode(), message_id)]
    assert await redis.get(f"cnt:{phone.instance}") == str(message_id).encode()
    for key in ("que", "col"):
        assert LIFE_S - 60 < await redis.ttl(f"{key}:{phone.instance}") <= LIFE_S, DIFFERENT


@pytest.mark.parametrize("act", ["post", "poll"])
async def test_messages_and_polls_prolong_a_registration(service: House, act: str) -> None:
    phone = await service.new_phone()
    await service.post(phone.token, {"data": {}})
    names = [f"{kind}:{phone.instance}" for kind in ("reg", "cnt", "que", "col")] + [f"tok:{phone.token}"]
    for name in names:
        await service.redis.expire(name, 1000)
    if act == "post":
        await service.post(phone.token, {"data": {}})
    else:
        await service.call("GET", phone.poll, Cookie=f"instance={phone.cookie}")
    assert all([await service.redis.ttl(name) > LIFE_S - 60 for name in names])


# -- GET /nextMessage/I --------------------------------------------------------------------------------------


@pytest.mark.parametrize("cookies", ["", "instance=", "instance=bad:cookie", "auth=a:b", SESSION])
async def test_a_poll_needs_the_instances_cookie(service: House, cookies: str) -> None:
    phone = await service.new_phone()
    asked = len(service.judge.asked)
    headers = {"Cookie": cookies} if cookies else {}
    answer = await service.call("GET", phone.poll, **headers)
    assert (answer.status, answer.body) == (401, b"")
    assert len(service.judge.asked) == asked


async def test_a_poll_of_an_instance_without_registrations_is_404(service: House) -> None:
    made = await service.call("POST", "/instanceId", Cookie=SESSION, Authorization=GOOD)
    instance = made.json["instance"]
    cookie = service.ids.cookie(instance)
    answer = await service.call("GET", f"/nextMessage/{instance}", Cookie=f"instance={cookie}")
    assert (answer.status, answer.body) == (404, b"")


async def test_a_poll_gets_the_lowest_message_until_it_is_acknowledged(service: House) -> None:
    phone = await service.new_phone()
    for text in ("a", "b", "c"):
        await service.post(phone.token, {"data": {"alert": text}})
    cookie = f"instance={phone.cookie}"
    first = await service.call("GET", phone.poll, Cookie=cookie)
    assert (first.status, first.headers["content-type"]) == (200, JSON)
    message_id = first.json["id"]
    assert first.json == {"id": message_id, "token": phone.token, "data": {"alert": "a"}}
    again = await service.call("GET", f"/nextMessageX/{phone.instance}", Cookie=cookie)
    assert again.json == first.json
    second = await service.call("GET", f"{phone.poll}?lastMessage={message_id}", Cookie=cookie)
    assert second.json == {"id": message_id + 1, "token": phone.token, "data": {"alert": "b"}}
    assert [message["data"]["alert"] for message in await service.queued(phone.instance)] == ["b", "c"]
    assert await service.redis.zcard(f"col:{phone.instance}") == 2


@pytest.mark.parametrize("last", ["undefined", "NaN", "-1", "", "x", "0"])
async def test_a_last_message_that_is_not_a_number_acknowledges_nothing(service: House, last: str) -> None:
    phone = await service.new_phone()
    await service.post(phone.token, {"data": {"alert": "a"}})
    answer = await service.call("GET", f"{phone.poll}?lastMessage={last}", Cookie=f"instance={phone.cookie}")
    assert answer.json["data"] == {"alert": "a"}


# -- polls of instances that are not registered ------------------------------------------------------------


@pytest.mark.parametrize(
    "last",
    ["0x" + "f" * 3_600, "9" * 3_600, "1e308", "-1e308", "1e99999", "%2b" + "1" * 3_600, "7", "%D9%A3"],
    ids=range(8),
)
async def test_a_poll_of_an_unknown_instance_causes_a_lookup_alone(service: House, last: str) -> None:
    """The cookie has the old scheme and can be computed from the instance."""
    instance = old_id("instance", "nobody")
    before = await calls(service)
    target = f"/nextMessage/{instance}?lastMessage={last}"
    answer = await service.call("GET", target, Cookie=f"instance={old_id('cookie', instance)}")
    assert (answer.status, answer.body) == (404, b"")
    made = {name: number - before.get(name, 0) for name, number in (await calls(service)).items()}
    made = {name: number for name, number in made.items() if number and name not in ("info", "ping")}
    assert (
        made.pop("eval", 0) + made.pop("evalsha", 0) <= 2
    )  # the script, and its full text when Redis does not have it
    assert made == {"exists": 1}
    assert await service.redis.keys("*") == []
    assert len(service.service.polls) == 0


async def calls(service: House) -> dict[str, int]:
    stats = await service.redis.info("commandstats")
    return {name.removeprefix("cmdstat_"): int(facts["calls"]) for name, facts in stats.items()}
