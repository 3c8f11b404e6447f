"""The route of a user's devices."""

from tests.gateway.http_api.admin.conftest import DEAD_PIN, PIN, Served

PATH = "/rc/v1/admin/devices"


async def test_a_users_devices_have_their_lane_or_the_reason(served: Served) -> None:
    worker = served.worker
    for user in ("bob", "eve"):  # the token is believed to be dead after an acceptance
        await worker.done(await worker.accepted(user))
    bob = (await worker.request("GET", f"{PATH}?user_id=bob")).json()["devices"]
    assert sorted((one["provider"], one["reachable"], one["reason"]) for one in bob) == [
        ("apns", True, ""),
        ("fcm", True, ""),
    ]
    assert all(one["lane"].startswith(f"{one['provider']}:") for one in bob)
    answer = await worker.request("GET", f"{PATH}?user_id=eve")
    (eve,) = answer.json()["devices"]
    assert (eve["reachable"], eve["reason"], eve["provider_reason"]) == (False, "dead_token", "Unregistered")
    assert eve["token"] == f"{DEAD_PIN[:4]}…({len(DEAD_PIN)})"
    assert PIN not in str(bob)
    assert DEAD_PIN.encode() not in answer.body


async def test_a_user_without_devices_is_not_found_and_no_user_is_refused(served: Served) -> None:
    answer = await served.worker.request("GET", f"{PATH}?user_id=nobody")
    assert (answer.status, answer.json()["error"]["field"]) == (404, "user_id")
    answer = await served.worker.request("GET", PATH)
    assert (answer.status, answer.json()["error"]["field"]) == (400, "user_id")
