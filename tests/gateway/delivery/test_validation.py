"""Messages that FCM checks without delivering them."""

import asyncio
from typing import cast

from gateway.delivery.dead_tokens import IgnoredTokenReports
from gateway.delivery.http2_lane import Http2Lane
from gateway.delivery.lane_manager import LaneManager
from gateway.delivery.route import Route
from gateway.delivery.validation import CONCURRENCY, ValidationRequest, validate
from gateway.metrics import Metrics
from gateway.settings import FcmSettings, Settings
from gateway.simulators import FcmSimulator
from protocols.fcm.message import compose
from protocols.ping.model import Ping
from protocols.verdict import VerdictKind

TOKEN = "fcm-token:" + "A" * 140


async def test_each_message_has_its_verdict_and_a_missing_server_is_unknown() -> None:
    async with FcmSimulator() as fcm:
        section = FcmSettings(
            credentials_file=fcm.credentials_file,
            project_id=fcm.project_id,
            endpoint=fcm.endpoint,
            ca_file=fcm.ca_file,
        )
        lanes = LaneManager(Settings(fcm=section), Metrics(), IgnoredTokenReports())
        route = lanes.route("fcm", "")
        assert isinstance(route, Route)
        lane = cast(Http2Lane, route.lane)
        message = compose(Ping(message="hello"), route.target, 0)
        assert message is not None
        requests = []
        for number in range(2 * CONCURRENCY + 1):
            pin = TOKEN if number else "no token"
            body = lane.provider.validation_body(message.body(pin))
            assert body is not None
            requests.append(ValidationRequest(message.path(pin), message.headers, body))
        verdicts = await validate(lane, requests)
        assert [verdict.kind for verdict in verdicts[1:]] == [VerdictKind.ACCEPTED] * 2 * CONCURRENCY
        assert verdicts[0].kind is VerdictKind.REJECTED
        assert all("validate_only: not sent" in record.notes for record in fcm.received.accepted)
        assert (lane.backlog, lane.in_flight) == (0, 0)
        await fcm.close()
        (missing,) = await validate(lane, requests[:1])
        assert missing.kind is VerdictKind.UNKNOWN
        assert missing.reason.startswith("no_connection")
        await asyncio.wait_for(lanes.close(1), 10)
