"""The alert rules by promtool, and the dashboard's queries by a real Prometheus that scrapes a gateway under load."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest
import yaml
from redis.asyncio import Redis

from gateway.delivery.token_trust import ALARM_COUNT
from gateway.simulators import ApnsOptions, ApnsSimulator, FcmSimulator
from gateway.store import keys
from tests.conftest import StartGateway
from tests.support.gateway import TOKEN, Gateway
from tests.support.prometheus import Prometheus, promtool, scraping
from tests.support.providers import provider_settings
from tests.support.redis import KINDS, RedisServer, store_client
from tests.support.rhoconnect import Client, android, apple, lay_users

DEPLOY = Path(__file__).parents[1] / "deploy"
RULES = DEPLOY / "prometheus" / "rules.yml"
PANELS = json.loads((DEPLOY / "grafana" / "rhopush.json").read_text())["panels"]
QUERIES = {
    f"{panel['title']} {target['refId']}": target["expr"].replace("$__rate_interval", "10s")
    for panel in PANELS
    for target in panel["targets"]
}
PATIENCE_S = 80.0
OTHER_APP = "com.example.other"
Fired = tuple[str, dict[str, str] | None]
"""The time at which an alert is looked at, and its labels; None: it does not fire."""
DEVICES: dict[str, list[Client]] = {
    "bob": [apple("ab" * 32), android("a-token"), Client(device_type="APPLE"), Client(device_type=None)],
    "dead": [apple("dead" * 16)],
    **{
        f"bad{number}": [apple(f"bad{number:061x}", device_app_id=OTHER_APP)]
        for number in range(ALARM_COUNT + 1)
    },
}


async def test_promtool_accepts_the_rules() -> None:
    assert await promtool("check", "rules", str(RULES)) == (0, await _summary())


async def _summary() -> str:
    number = len(yaml.safe_load(RULES.read_text())["groups"][0]["rules"])
    return f"Checking {RULES}\n  SUCCESS: {number} rules found\n\n"


async def test_the_alerts_fire_for_their_causes(tmp_path: Path) -> None:
    """promtool evaluates the rules over series that are written here: `start+step x number`, one value a minute."""
    awaited = 'rhopush_sync_awaited_total{provider="apns",app=""}'
    synced = 'rhopush_sync_after_ping_seconds_count{provider="apns",app=""}'
    response = 'rhopush_stage_seconds_bucket{stage="response",provider="fcm",le="%s"}'
    answers = 'rhopush_provider_responses_total{provider="fcm",status="%s"}'
    stalled = 'rhopush_lanes_stalled{reason="%s"}'
    days = {awaited: "0+100x2000", synced: "0+50x1440 72000+1x560"}
    hour = {
        response % "2.5": "0+10x60",
        response % "10": "0+100x60",
        response % "+Inf": "0+100x60",
        answers % "200": "0+100x60",
        answers % "503": "0+40x60",
        stalled % "verdict_writes": "0x30 1x30",
        stalled % "cancellation_reads": "0x30 1 0x30",
    }
    fired_in_days: dict[str, Fired] = {
        "PingsWithoutEffect": ("32h", {"severity": "ticket", "provider": "apns"})
    }
    fired_in_an_hour: dict[str, Fired] = {
        "ProviderSlow": ("1h", {"severity": "ticket", "provider": "fcm"}),
        "ProviderFails": ("1h", {"severity": "page", "provider": "fcm"}),
        "RedisSlow": ("1h", None),
        "LanesStalled": ("1h", {"severity": "page", "reason": "verdict_writes"}),
    }
    rules = yaml.safe_load(RULES.read_text())
    for rule in rules["groups"][0]["rules"]:
        del rule["annotations"]  # promtool compares them, too; their values are texts
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(rules))
    files = [
        written(
            tmp_path / "days.yml", "10m", days, fired_in_days
        ),  # ten times the evaluations take ten times as long
        written(tmp_path / "hour.yml", "1m", hour, fired_in_an_hour),
    ]
    status, output = await promtool("test", "rules", *files)
    assert status == 0, output


def written(file: Path, interval: str, series: Mapping[str, str], fired: Mapping[str, Fired]) -> str:
    """Write a test of promtool whose rules are evaluated at this interval; returns the file's name."""
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [],
        "alert_rule_test": [
            {
                "eval_time": time,
                "alertname": name,
                "exp_alerts": [] if labels is None else [{"exp_labels": labels}],
            }
            for name, (time, labels) in fired.items()
        ],
    }
    document = {
        "rule_files": [str(file.parent / "rules.yml")],
        "evaluation_interval": interval,
        "tests": [test],
    }
    file.write_text(yaml.safe_dump(document))
    return str(file)


@pytest.fixture
async def store() -> AsyncIterator[tuple[str, Redis]]:
    """The address of a store, of one kind alone, and a client."""
    with RedisServer(KINDS[0]) as server:
        async with store_client(server.socket) as client:
            yield server.address, client


@pytest.fixture
async def gateway(
    store: tuple[str, Redis], start_gateway: StartGateway, tmp_path: Path
) -> AsyncIterator[Gateway]:
    address, redis = store
    faults = ["410:token=dead", "BadDeviceToken:token=bad", "503:every=5"]
    async with ApnsSimulator(ApnsOptions(faults=faults)) as apns, FcmSimulator() as fcm:
        certificate = tmp_path / "other.pem"
        certificate.write_bytes(apns.client_certificate([OTHER_APP]).pem)
        certificate.chmod(0o600)
        await lay_users(redis, {login: tuple(phones) for login, phones in DEVICES.items()})
        yield await start_gateway(
            provider_settings(
                apns,
                fcm,
                apps={OTHER_APP: {"apns": {"certificate_file": str(certificate), "topic": OTHER_APP}}},
                retry={"apns_5xx_s": 0.2, "jitter": 0.0},
                auth={"devices": "open"},
                webhooks={"events": {"url": "redis-stream://events", "events": ["ping.completed"]}},
            ),
            app={"redis": address},
            sources={"Product": {"partition_type": "user", "push_notify": "true"}},
        )


class Load:
    """Pings, syncs, acknowledgements, data changes and wrong requests, without a pause."""

    def __init__(self, gateway: Gateway, redis: Redis, session: aiohttp.ClientSession) -> None:
        self._gateway = gateway
        self._redis = redis
        self._session = session
        self._turns = 0

    async def run(self) -> None:
        phone, headers = await self._log_in()
        while True:
            self._turns += 1
            ping_id = await self._ping(user_id="bob", sources="Product", message="hello")
            await self._ping(user_id=["nobody", *DEVICES], message="hello")
            await self._ping(user_id="bob", deliver_at="yesterday")
            path = f"/rc/v1/pings/{ping_id}/ack"
            await self._post(
                path, headers, client_id=await self._another(headers) if self._turns % 5 else phone
            )
            await self._redis.publish("rhoconnect:changes", '{"source": "Product", "user_id": "bob"}')
            await asyncio.sleep(0.05)
            for device in DEVICES["bob"]:
                moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S+0000")
                await self._redis.set(keys.client(device.client_id, "last_sync"), moment)

    async def _log_in(self) -> tuple[str, dict[str, str]]:
        answer = await self._session.post(
            self._gateway.url + "/rc/v1/app/login", json={"login": "ann", "password": "secret"}
        )
        headers = {"Cookie": answer.headers["Set-Cookie"].partition(";")[0]}
        return await self._another(headers), headers

    async def _another(self, headers: dict[str, str]) -> str:
        answer = await self._session.post(
            self._gateway.url + "/rc/v1/clients", json={"device_type": "APPLE"}, headers=headers
        )
        client_id: str = (await answer.json())["client"]["client_id"]
        return client_id

    async def _ping(self, **fields: object) -> str:
        answer = await self._post("/rc/v1/users/ping", {"X-RhoConnect-API-TOKEN": TOKEN}, **fields)
        return answer.headers.get("X-Ping-Id", "")

    async def _post(self, path: str, headers: dict[str, str], **fields: object) -> aiohttp.ClientResponse:
        async with self._session.post(self._gateway.url + path, json=fields, headers=headers) as answer:
            await answer.read()
            return answer


@asynccontextmanager
async def under_load(gateway: Gateway, redis: Redis) -> AsyncIterator[asyncio.Task[None]]:
    jar = aiohttp.DummyCookieJar()
    async with aiohttp.ClientSession(cookie_jar=jar) as session:
        task = asyncio.create_task(Load(gateway, redis, session).run())
        try:
            yield task
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def queries_without_data(prometheus: Prometheus, queries: set[str]) -> set[str]:
    return {name for name in queries if not await prometheus.has_data(QUERIES[name])}


async def missing_series(gateway: Gateway) -> set[str]:
    """The counters whose every increase causes an alert, and that have no value before their first event: the alert
    would miss that event."""
    async with aiohttp.ClientSession() as session, session.get(gateway.url + "/metrics") as answer:
        there = {line.partition(" ")[0].partition("{")[0] for line in (await answer.text()).splitlines()}
    return set(re.findall(r"increase\((\w+)\[\w+\]\)\) > 0$", RULES.read_text(), re.MULTILINE)) - there


async def test_each_query_of_the_dashboard_returns_data(
    gateway: Gateway, store: tuple[str, Redis], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder, target = tmp_path_factory.mktemp("prometheus"), f"{gateway.host}:{gateway.port}"
    assert await missing_series(gateway) == set()
    async with (
        scraping(folder, [target], RULES) as prometheus,
        under_load(gateway, store[1]) as load,
    ):
        left = set(QUERIES)
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                while left and not load.done():
                    left = await queries_without_data(prometheus, left)
                    await asyncio.sleep(0.25)
        if load.done():
            load.result()
        assert left == set()
        (target_state,) = (await prometheus.ask("targets"))["activeTargets"]
        assert (target_state["health"], target_state["lastError"]) == ("up", "")
        (group,) = (await prometheus.ask("rules"))["groups"]
        assert {rule["name"]: rule.get("lastError") for rule in group["rules"]} == dict.fromkeys(
            rule["name"] for rule in group["rules"]
        )
