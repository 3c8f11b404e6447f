"""`rhopush webhooks` against a running worker: an endpoint that fails, is tested, and gets events again."""

import json
from pathlib import Path

from structlog.testing import capture_logs

from protocols.webhooks.events import PING_COMPLETED, TEST
from tests.support.command import rhopush
from tests.support.redis import RedisServer
from tests.support.webhooks import receiving
from tests.support.worker import working


async def test_an_operator_lists_tests_and_replays_an_endpoint(tmp_path: Path) -> None:
    with RedisServer("valkey") as server, capture_logs():
        async with receiving() as receiver:
            settings = {"webhooks": {"crm": receiver.settings(PING_COMPLETED)}, "drain_s": 1}
            async with working(tmp_path, server.address, settings) as gateway:
                there = {"RHOPUSH_SERVER": gateway.url, "API_TOKEN": gateway.token}
                status, out, err = await rhopush(tmp_path, "webhooks", "list", **there)
                assert (status, err) == (0, "")
                assert out.rstrip("\n").split("\t") == [
                    *("crm", "delivering", "0 s", "0", "0", "0", receiver.url, "ping.completed", "")
                ]

                receiver.status = 503
                status, out, _ = await rhopush(tmp_path, "webhooks", "test", "crm", **there)
                assert (status, out.split(" msg_test_")[0]) == (1, "crm failed (status 503)")
                receiver.status = 204
                status, out, _ = await rhopush(tmp_path, "webhooks", "test", "crm", "--json", **there)
                assert (status, json.loads(out)["result"]) == (0, "delivered")
                assert receiver.accepted[0].kind == TEST

                ping_id = await gateway.accepted("nobody")
                await receiver.until(lambda: receiver.events(PING_COMPLETED))
                assert receiver.events(PING_COMPLETED)[0]["ping_id"] == ping_id
                status, out, _ = await rhopush(
                    tmp_path, "webhooks", "replay", "crm", "--since", "2026-01-01T00:00:00Z", **there
                )
                assert (status, out.split(";")[0]) == (
                    0,
                    "crm receives the events since 2026-01-01T00:00:00.000Z again",
                )
                await receiver.until(lambda: len(receiver.accepted) == 3)
                assert receiver.accepted[1].id == receiver.accepted[2].id
                _, out, _ = await rhopush(tmp_path, "webhooks", "list", "--json", **there)
                assert json.loads(out)["delivered"] >= 1

                status, _, err = await rhopush(tmp_path, "webhooks", "test", "none", **there)
                assert (status, "there is no webhook none" in err) == (1, True)
                status, _, err = await rhopush(
                    tmp_path, "webhooks", "replay", "crm", "--since", "soon", **there
                )
                assert (status, "since" in err) == (1, True)
    status, _, err = await rhopush(tmp_path, "webhooks", "list", **there)
    assert (status, "start a gateway" in err) == (1, True)
    assert (await rhopush(tmp_path, "webhooks", **there))[0] == 2
