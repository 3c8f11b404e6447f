"""The form of a ping: RhoConnect's fields, explained before it is sent, sent once."""

import html
import re
from typing import Any
from urllib.parse import quote

import pytest
from redis.asyncio import Redis
from yarl import URL

from gateway.console.ping_form import read_ping, values_of
from gateway.errors import IdempotencyConflict, PossiblyAccepted, QueueFull
from gateway.settings import Settings
from gateway.settings.model import Source
from gateway.store import keys
from gateway.tracing import PingTracer
from gateway.tracing.spans import SpanData
from protocols.errors import InvalidField
from protocols.ping.addressees import Addressees, RawToken
from protocols.ping.model import Ping
from tests.gateway.console.harness import NONCE, Browser, Console, open_console

FIELDS = {"users": "bob, eve\r\nann", "message": "hello", "badge": "2", "sound": "x.mp3", "vibrate": "10"}
XSS = "\"><script>alert('x')</script><img src=x onerror=alert(1)>"


class Explanations:
    """Explains each ping with one device, whose texts a device or provider could have chosen."""

    def __init__(self) -> None:
        self.pings: list[Ping] = []

    async def explain(self, ping: Ping, *, validates: bool) -> dict[str, Any]:
        self.pings.append(ping)
        device = {
            "client_id": XSS,
            "user_id": XSS,
            "provider": "apns",
            "lane": XSS,
            "bytes": 5,
            "note": XSS,
            "payload": {"aps": {"alert": XSS}},
        }
        left_out = {"client_id": XSS, "user_id": XSS, "text": XSS}
        return {
            "devices": [device],
            "left_out": [left_out],
            "unknown_users": [XSS],
            "totals": {"devices": 1},
        }


async def send(browser: Browser, **fields: Any) -> tuple[int, str, str]:
    _, text = await browser.get("/console/ping")
    nonce = NONCE.search(text)
    assert nonce
    data = {"nonce": nonce.group(1), **FIELDS, "action": "send", **fields}
    return await browser.submit("/console/ping", "/console/ping", data)


async def test_the_form_has_rhoconnects_defaults_and_the_sources_of_the_settings(
    redis_client: Redis, redis_address: str
) -> None:
    settings = Settings(sources={"Product": Source(), "Customer": Source()})
    async with (
        open_console(redis_client, redis_address, settings=settings) as console,
        console.operator() as browser,
    ):
        _, text = await browser.get("/console/ping?users=bob")
    for part in ('value="push message"', 'value="welcome.mp3"', 'value="2000"', ">\nbob</textarea>"):
        assert part in text
    assert text.count(" checked>") == 2


async def test_a_sent_ping_is_queued_and_its_page_follows(console: Console) -> None:
    async with console.operator() as browser:
        status, location, _ = await send(
            browser,
            **{"sources[]": "Product", "further_sources": "Order, Product", "ttl_s": "60", "title": "Hi"},
        )
    (ping,) = console.api.queue.pings
    assert (status, location) == (303, f"/console/pings/{0:032x}")
    assert ping.users == ("bob", "eve", "ann")
    assert ping.sources == ("Product", "Order")
    assert (ping.message, ping.title, ping.badge, ping.sound) == ("hello", "Hi", 2, "x.mp3")
    assert (ping.vibrate, ping.ttl_s) == (10, 60)
    assert 'rhopush_pings_accepted_total{ingress="http"} 1' in console.api.metrics


async def test_the_nonce_of_a_form_makes_a_second_send_harmless(console: Console) -> None:
    async with console.operator() as browser:
        for _ in range(2):
            await send(browser, nonce="one")
        await send(browser, nonce="two")
        await send(browser, nonce="one", message="other")
    same, again, other, changed = console.api.queue.keys
    assert same == again
    assert same is not None
    assert other is not None
    assert changed is not None
    assert same.scope == changed.scope != other.scope
    assert same.body != changed.body


async def test_further_recipients_and_options(console: Console) -> None:
    fields = {"devices": "d1, d2", "apps": "a", "providers": "apns\nfcm", "except_users": "eve"}
    async with console.operator() as browser:
        await send(browser, badge="+1", priority="high", collapse_id="c", users="", **fields)
        await send(browser, users="", all_users="true")
        status, _, text = await send(browser, all_users="true", devices=XSS)
    listed, everybody = console.api.queue.pings
    assert listed.to == Addressees(False, ("d1", "d2"), (), ("a",), ("apns", "fcm"), ("eve",))
    assert (listed.users, listed.badge_increment, listed.priority, listed.collapse_id) == ((), 1, "high", "c")
    assert everybody.to == Addressees(True)
    assert status == 400
    assert "<strong>to.all_users</strong>" in text
    assert "<script>alert" not in text
    assert "<details open>" in text


async def test_push_tokens_without_a_user(console: Console) -> None:
    async with console.operator() as browser:
        await send(browser, users="", tokens="apns 740f47 com.example.a\r\n\r\n  fcm  tok:en \r\n")
        status, _, text = await send(browser, users="", tokens=f"apns 740f47\r\napns {XSS}")
        unknown = await send(browser, users="", tokens="mqtt 740f47")
    (ping,) = console.api.queue.pings
    assert ping.to == Addressees(
        tokens=(RawToken("apns", "740f47", "com.example.a"), RawToken("fcm", "tok:en"))
    )
    assert ping.users == ()
    assert status == unknown[0] == 400
    assert "<strong>to.tokens[1]</strong>" in text
    assert "<script>alert" not in text
    assert "<details open>" in text
    assert "mqtt" in unknown[2]


async def test_a_ping_to_all_users_needs_the_scope_broadcast(console: Console) -> None:
    async with console.operator(await console.named_token("sender", ["ping"])) as browser:
        status, _, text = await send(browser, users="", all_users="true")
    assert status == 403
    assert "broadcast" in text
    assert console.api.queue.pings == []


async def test_a_ping_with_deliver_at_is_scheduled(console: Console) -> None:
    async with console.operator() as browser:
        assert (await send(browser, deliver_at="1970-01-01T00:00:02Z"))[0] == 303
    assert console.api.queue.instants == [2_000]


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"users": " , \n"}, "user_id"),
        ({"ttl_s": "-5"}, "ttl_s"),
        ({"deliver_at": "tomorrow"}, "deliver_at"),
    ],
)
async def test_an_invalid_field_is_named_and_the_form_keeps_its_values(
    console: Console, fields: dict[str, str], names: str
) -> None:
    async with console.operator() as browser:
        status, _, text = await send(browser, message="kept text", **fields)
    assert status == 400
    assert f"<strong>{names}</strong>" in text
    assert text.count('aria-invalid="true"') == text.count("invalid-feedback") == 1
    assert "kept text" in text
    assert console.api.queue.pings == []


async def test_an_explanation_sends_nothing_and_is_escaped(redis_client: Redis, redis_address: str) -> None:
    explanations = Explanations()
    async with open_console(redis_client, redis_address, explanations=explanations) as console:
        async with console.operator() as browser:
            status, _, text = await send(browser, action="explain", message=XSS, users=XSS, title=XSS)
        assert console.api.queue.pings == []
    assert status == 200
    assert explanations.pings[0].message == XSS
    assert "<script>alert" not in text
    assert "<img" not in text
    assert "This ping would reach 1 device<" in text


async def test_a_sender_that_may_not_read_gets_the_id_in_the_form(console: Console) -> None:
    async with console.operator(await console.named_token("sender", ["ping"])) as browser:
        status, _, text = await send(browser)
        assert status == 200
        assert f"{0:032x}" in text
        assert (await send(browser, action="explain"))[0] in (403, 404)
        assert len(console.api.queue.pings) == 1


async def test_a_reader_explains_and_does_not_send(redis_client: Redis, redis_address: str) -> None:
    async with open_console(redis_client, redis_address, explanations=Explanations()) as console:
        async with console.operator(await console.named_token("reader", ["read"])) as browser:
            text = (await browser.get("/console/ping"))[1]
            assert (">Explain<" in text, ">Send<" in text) == (True, False)
            assert (await send(browser, action="explain"))[0] == 200
            status, _, text = await send(browser)
            assert (status, "lacks the scope ping" in text) == (403, True)
        async with console.operator(await console.named_token("all", ["broadcast"])) as browser:
            assert ">Send<" in (await browser.get("/console/ping"))[1]
            await send(browser, users="", all_users="true")
            assert (await send(browser))[0] == 403
    assert [ping.to for ping in console.api.queue.pings] == [Addressees(True)]


async def test_the_apps_of_a_caller_limit_its_ping(console: Console) -> None:
    token = await console.named_token("sender", ["ping", "read"], ["com.example.a"])
    async with console.operator(token) as browser:
        await send(browser)
    assert console.api.queue.pings[0].apps == ("com.example.a",)


async def test_a_refused_ping_is_an_error_in_the_form(console: Console) -> None:
    console.api.queue.failure = QueueFull("the queue is full")
    async with console.operator() as browser:
        status, _, text = await send(browser)
    assert status == 503
    assert "the queue is full" in text


async def test_a_ping_that_is_possibly_accepted_is_sent_again_with_the_same_key(console: Console) -> None:
    """A further key would make a second ping if the first one was stored."""
    console.api.queue.failure = PossiblyAccepted("the connection was lost; query its id later")
    async with console.operator() as browser:
        status, _, text = await send(browser)
        assert status == 503
        assert "the gateway does not know whether it has stored the ping: send this form again" in text
        _, _, text = await send(browser, nonce=NONCE.findall(text)[0], action="explain")
        console.api.queue.failure = None
        await send(browser, nonce=NONCE.findall(text)[0])
    first, second = console.api.queue.keys
    assert first is not None
    assert first == second


async def test_a_form_that_was_sent_with_other_content_is_sent_again_as_a_further_ping(
    console: Console,
) -> None:
    console.api.queue.failure = IdempotencyConflict(
        "this Idempotency-Key was used with a different body before"
    )
    async with console.operator() as browser:
        status, _, text = await send(browser, nonce=(used := "n" * 22))
        assert status == 409
        assert "Idempotency-Key" not in text
        assert "send it again to send a further ping" in text
        assert NONCE.findall(text)[0] != used


@pytest.mark.parametrize("nonce", ["", "short", "n" * 23, "<script>alert(1)</script>", "n" * 60_000])
async def test_a_nonce_of_another_form_is_replaced(console: Console, nonce: str) -> None:
    async with console.operator() as browser:
        _, _, text = await send(browser, nonce=nonce, badge="-1")
    assert re.fullmatch(r"[0-9A-Za-z_-]{22}", NONCE.findall(text)[0])


def test_values_and_parameters() -> None:
    values = values_of({"users": "bob", "sources": ["A", "A", 5], "message": ["no text"]})
    assert values["sources"] == ("A",)
    assert values["message"] == ""
    assert read_ping(values) == {"user_id": ["bob"], "sources": ["A"]}
    with pytest.raises(InvalidField):
        read_ping(values_of({}))


@pytest.mark.parametrize("login", ["Doe, John", '"quoted"', " ann ", "two\nlines", "ann"])
async def test_the_link_of_a_user_pings_this_user(console: Console, redis_client: Redis, login: str) -> None:
    await redis_client.sadd(keys.APP_USERS, login)
    await redis_client.set(keys.user(login, "rho__id"), login)
    async with console.operator() as browser:
        _, text = await browser.get(URL(f"/console/users/{quote(login, safe='')}", encoded=True))
        link = re.search(r'href="(/console/ping\?users=[^"]+)"', text)
        assert link
        _, text = await browser.get(URL(html.unescape(link[1]), encoded=True))
        field = re.search(r'<textarea[^>]* name="users"[^>]*>\n(.*?)</textarea>', text, re.DOTALL)
        assert field
        await send(browser, users=html.unescape(field[1]))
    assert [ping.users for ping in console.api.queue.pings] == [(login,)]


async def test_pings_of_the_form_are_traced_as_those_of_the_api(
    redis_client: Redis, redis_address: str
) -> None:
    recorded: list[SpanData] = []
    tracer = PingTracer(recorded.append, 1.0)
    async with (
        open_console(redis_client, redis_address, tracer=tracer) as console,
        console.operator() as browser,
    ):
        await send(browser)
    assert [span.name for span in recorded] == ["ingress"]
    assert console.api.queue.pings[0].traceparent is not None


async def test_a_form_that_is_refused_for_a_while_says_when_to_send_it_again(console: Console) -> None:
    console.api.queue.failure = QueueFull("the queue is full")
    async with console.operator() as browser:
        data = {"csrf": await browser.csrf("/console/ping"), **FIELDS, "action": "send"}
        async with browser.session.post("/console/ping", data=data) as answer:
            assert answer.status == 503
            assert answer.headers["Retry-After"]
