"""A device that changes its user: the messages of the earlier user do not reach the next user."""

from tests.gateway.rhoconnect_push.harness import APP, USER, House, old_id

EVE = "eve"


async def test_an_app_that_another_user_registers_has_a_new_token_and_no_old_messages(service: House) -> None:
    phone = await service.new_phone()
    assert (await service.post(phone.token, {"data": {"alert": "for mike"}})).status == 204
    registered = await service.register(phone, user=EVE)
    assert registered.status == 201
    token = registered.json["token"]
    assert (token != phone.token, len(token)) == (True, len(phone.token))
    assert await service.queued(phone.instance) == []
    assert (await service.post(phone.token, {"data": {"alert": "late"}})).status == 404
    assert (await service.post(token, {"data": {"alert": "for eve"}})).status == 204
    assert [found["token"] for found in await service.queued(phone.instance)] == [token]
    assert (await service.register(phone, user=EVE)).json == {"token": token}


async def test_other_apps_of_the_device_keep_token_and_messages(service: House) -> None:
    phone = await service.new_phone()
    other = (await service.register(phone, "app2mike")).json["token"]
    assert (await service.post(other, {"data": {"alert": "for mike"}}, "app2mike")).status == 204
    assert (await service.register(phone, user=EVE)).status == 201
    assert [found["token"] for found in await service.queued(phone.instance)] == [other]
    assert (await service.register(phone, "app2mike")).json == {"token": other}


async def test_a_user_sees_no_registration_of_another(service: House) -> None:
    phone = await service.new_phone()
    assert (await service.register(phone, method="GET", user=EVE)).status == 404
    assert (await service.register(phone, method="GET")).json == {"token": phone.token}
    assert (await service.register(phone, method="DELETE", user=EVE)).status == 204  # the device may end it


async def test_a_token_without_a_registrant_belongs_to_the_instances_user(service: House) -> None:
    phone = await service.new_phone()
    token = old_id("token", APP)
    await service.register(phone, method="DELETE")
    await service.store.register(phone.instance, APP, token)
    assert (await service.register(phone)).json == {"token": token}
    assert (await service.register(phone, user=EVE)).json["token"] != token


async def test_a_token_does_not_contain_the_user(service: House) -> None:
    phone = await service.new_phone()
    assert USER not in phone.token
    registrant = service.ids.registrant(USER)
    assert phone.token.partition(":")[0].endswith(f"-{registrant}")
    assert registrant != service.ids.registrant(EVE)


async def test_every_answer_of_the_service_has_the_safety_headers(service: House) -> None:
    phone = await service.new_phone()
    answers = [
        await service.register(phone),
        await service.register(phone, method="GET", user=EVE),
        await service.post(phone.token, {"data": {}}),
        await service.post(phone.token, b"no JSON"),
        await service.call("GET", phone.poll, Cookie=f"instance={phone.cookie}"),
        await service.call("GET", phone.poll),
        await service.call("GET", "/"),
        await service.call("no method", "/"),
    ]
    assert [answer.status for answer in answers] == [201, 404, 204, 400, 200, 401, 403, 400]
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
