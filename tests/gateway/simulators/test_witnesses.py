"""The simulators accept the requests of independent senders, and answer as the providers do."""

import pytest
from aioapns import NotificationRequest, PushType
from pyfcm.errors import FCMNotRegisteredError, InvalidDataError

from gateway.simulators import ApnsOptions, ApnsSimulator, FcmOptions, FcmSimulator, Hosting
from protocols.simulation.record import Summary
from tests.witnesses import TOPIC, Pyfcm, aioapns_by_certificate, aioapns_by_key

PIN = "ab" * 32
ALERT = {"aps": {"alert": "hello", "badge": 3, "sound": "welcome.mp3"}, "do_sync": ["Product", "Customer"]}


async def test_aioapns_with_a_key_is_accepted() -> None:
    async with ApnsSimulator() as apns, aioapns_by_key(apns) as witness:
        request = NotificationRequest(
            PIN, ALERT, time_to_live=60, priority=10, collapse_key="x", push_type=PushType.ALERT
        )
        result = await witness.send_notification(request)
        assert (result.status, result.notification_id) == ("200", request.notification_id)
        (record,) = apns.received
        assert (record.token, record.topic, record.payload) == (PIN, TOPIC, ALERT)
        assert record.summary == Summary("hello", 3, "welcome.mp3", None, ("Product", "Customer"))
        assert record.headers["apns-collapse-id"] == "x"
        assert "authorization" not in record.headers


async def test_aioapns_with_a_certificate_is_accepted_on_its_topics_only() -> None:
    async with ApnsSimulator() as apns:
        certificate = apns.client_certificate([TOPIC, "com.example.app.voip"])
        async with aioapns_by_certificate(apns, certificate) as witness:
            accepted = await witness.send_notification(NotificationRequest(PIN, ALERT))
            refused = await witness.send_notification(NotificationRequest(PIN, ALERT, apns_topic="com.other"))
        assert (accepted.status, refused.status, refused.description) == ("200", "400", "TopicDisallowed")
        assert apns.received[0].topic == TOPIC


async def test_aioapns_gets_a_dead_token_with_its_timestamp() -> None:
    options = ApnsOptions(faults=["410=1700000000000:dead"])
    async with ApnsSimulator(options) as apns, aioapns_by_key(apns) as witness:
        result = await witness.send_notification(NotificationRequest("dead", ALERT))
        assert (result.status, result.description) == ("410", "Unregistered")
        assert result.timestamp == 1_700_000_000_000


@pytest.mark.parametrize("count", [1, 50])
async def test_aioapns_sends_many_on_one_connection(count: int) -> None:
    async with ApnsSimulator() as apns, aioapns_by_key(apns) as witness:
        for number in range(count):
            await witness.send_notification(NotificationRequest(f"{number:04x}", ALERT))
        assert [record.token for record in apns.received] == [f"{number:04x}" for number in range(count)]
        assert {record.connection for record in apns.received} == {1}


async def test_pyfcm_is_accepted() -> None:
    async with FcmSimulator() as fcm:
        answer = await Pyfcm(fcm).notify(
            fcm_token="device:1",
            notification_body="hello",
            data_payload={"alert": "hello", "do_sync": "Product,Customer", "vibrate": "2000"},
            android_config={"priority": "high", "ttl": "3600s", "restricted_package_name": TOPIC},
        )
        assert answer["name"].startswith(f"projects/{fcm.project_id}/messages/0:")
        (record,) = fcm.received
        assert (record.token, record.topic) == ("device:1", fcm.project_id)
        assert record.summary == Summary("hello", None, None, "2000", ("Product", "Customer"))


async def test_pyfcm_gets_a_dead_token() -> None:
    async with FcmSimulator(options=FcmOptions(faults=["UNREGISTERED:dead"])) as fcm:
        with pytest.raises(FCMNotRegisteredError):
            await Pyfcm(fcm).notify(fcm_token="dead:1", data_payload={"alert": "x"})
        assert [(record.status, record.reason) for record in fcm.received] == [(404, "UNREGISTERED")]


async def test_pyfcm_gets_the_error_of_a_message() -> None:
    async with FcmSimulator() as fcm:
        with pytest.raises(InvalidDataError, match=r"message\.data\.from"):
            await Pyfcm(fcm).notify(fcm_token="device:1", data_payload={"from": "x"})


async def test_pyfcm_fetches_a_new_token_when_its_own_was_taken_back() -> None:
    async with FcmSimulator(options=FcmOptions(faults=["expired:next=1"])) as fcm:
        await Pyfcm(fcm).notify(fcm_token="device:1", data_payload={"alert": "x"})
        assert [record.status for record in fcm.received] == [401, 200]
        assert fcm.rules.tokens.issued == 2


async def test_both_are_accepted_in_accept_all_mode() -> None:
    everything = Hosting(accept_all=True, echo_ids=True)
    async with ApnsSimulator(hosting=everything) as apns, aioapns_by_key(apns) as witness:
        assert (await witness.send_notification(NotificationRequest(PIN, {}))).status == "200"
        assert apns.answered == 1
    async with FcmSimulator(hosting=everything) as fcm:
        assert await Pyfcm(fcm).notify(fcm_token="x") == {"name": "accepted"}
        assert fcm.answered == 1
