"""The routes of dead tokens: what is listed is restored, and the next ping reaches the device."""

from typing import Any

import pytest

from tests.gateway.http_api.admin.conftest import Served

LIST, RESTORE = "/rc/v1/admin/dead", "/rc/v1/admin/dead/restore"
CLIENT = "e" * 32


@pytest.fixture
async def marked(served: Served) -> Served:
    """The device of `eve` is marked."""
    for user in ("bob", "eve"):
        await served.worker.done(await served.worker.accepted(user))
    listed: list[Any] = []
    while not listed:
        listed = (await served.worker.request("GET", LIST)).json()["devices"]
    assert (await served.worker.done(await served.worker.accepted("eve")))["skipped"] == {"dead_token": 1}
    served.apns.faults.clear()
    return served


async def test_the_list_is_narrowed(marked: Served) -> None:
    answer = await marked.worker.request("GET", LIST)
    (device,) = answer.json()["devices"]
    assert (device["client_id"], device["user_id"], device["provider"]) == (CLIENT, "eve", "apns")
    assert (device["reason"], device["everywhere"]) == ("Unregistered", True)
    assert answer.json()["next_cursor"] is None
    for query, number in (
        (f"app={device['app']}&provider=apns&reason=Unregistered&since=2020-01-01T00:00:00Z", 1),
        ("provider=fcm", 0),
        ("app=other", 0),
        ("reason=BadDeviceToken", 0),
        ("since=2100-01-01T00:00:00Z", 0),
    ):
        answer = await marked.worker.request("GET", f"{LIST}?{query}")
        assert len(answer.json()["devices"]) == number, query


@pytest.mark.parametrize(
    "wanted",
    [{"devices": [CLIENT]}, {"reason": "Unregistered", "provider": "apns"}, {"all": True}, {"since": 1}],
)
async def test_the_next_ping_reaches_a_restored_device(marked: Served, wanted: dict[str, Any]) -> None:
    answer = await marked.worker.request("POST", RESTORE, json=wanted)
    assert (answer.status, answer.json()) == (200, {"restored": 1, "next_cursor": None})
    report = await marked.worker.done(await marked.worker.accepted("eve"))
    assert report["counts"]["accepted"] == 1
    assert (await marked.worker.request("POST", RESTORE, json=wanted)).json()["restored"] == 0


async def test_what_does_not_fit_stays(marked: Served) -> None:
    for wanted in (
        {"devices": [CLIENT], "provider": "fcm"},
        {"devices": ["other"]},
        {"since": "2100-01-01T00:00:00Z"},
    ):
        assert (await marked.worker.request("POST", RESTORE, json=wanted)).json()["restored"] == 0
    assert len((await marked.worker.request("GET", LIST)).json()["devices"]) == 1


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({}, "all"),
        ({"all": False}, "all"),
        ({"all": "perhaps"}, "all"),
        ({"devices": []}, "devices"),
        ({"devices": "one"}, "devices"),
        ({"devices": ["d"] * 1001}, "devices"),
        ({"all": True, "cursor": "x"}, "cursor"),
        ({"since": "yesterday"}, "since"),
        ({"app": 5}, "app"),
        ({"all": True, "app": ""}, "app"),
        ({"provider": "apns", "reason": ""}, "reason"),
        ({"provider": "", "devices": ["d"]}, "provider"),
        ({"all": True, "apps": ["com.example.app"]}, "apps"),
        ({"provider": "apns", "Reason": "Unregistered"}, "Reason"),
    ],
)
async def test_a_request_that_is_not_clear_is_refused(
    served: Served, wanted: dict[str, Any], field: str
) -> None:
    answer = await served.worker.request("POST", RESTORE, json=wanted)
    assert (answer.status, answer.json()["error"]["field"]) == (400, field)


async def test_wrong_values_of_the_list_are_refused(served: Served) -> None:
    for query, field in (("limit=0", "limit"), ("limit=1001", "limit"), ("cursor=-1", "cursor")):
        answer = await served.worker.request("GET", f"{LIST}?{query}")
        assert (answer.status, answer.json()["error"]["field"]) == (400, field)


async def test_a_token_of_another_app_sees_and_restores_nothing(marked: Served) -> None:
    worker = marked.worker

    async def token_of(
        name: str, *apps: str, scopes: tuple[str, ...] = ("read", "devices")
    ) -> dict[str, str]:
        body = {"name": name, "scopes": [*scopes], "apps": [*apps]}
        made = await worker.request("POST", "/rc/v1/admin/tokens", json=body)
        assert made.status == 200, made.body
        return {"X-RhoConnect-API-TOKEN": made.json()["token"]}

    (device,) = (await worker.request("GET", LIST)).json()["devices"]
    other, own = await token_of("other", "com.other"), await token_of("own", device["app"])
    assert (await worker.request("GET", LIST, headers=other)).json()["devices"] == []
    assert (await worker.request("POST", RESTORE, json={"all": True}, headers=other)).json()["restored"] == 0
    answer = await worker.request("GET", "/rc/v1/admin/devices?user_id=eve", headers=other)
    assert answer.status == 404
    assert (await worker.request("GET", "/rc/v1/admin/lanes", headers=other)).status == 403
    answer = await worker.request("GET", "/rc/v1/admin/devices?user_id=eve", headers=own)
    assert len(answer.json()["devices"]) == 1
    reader = await token_of("reader", device["app"], scopes=("read",))
    refused = await worker.request("POST", RESTORE, json={"all": True}, headers=reader)
    assert (refused.status, "devices" in refused.json()["error"]["message"]) == (403, True)
    assert (await worker.request("POST", RESTORE, json={"all": True}, headers=own)).json()["restored"] == 1
