"""The pool against a scripted provider on real TLS sockets."""

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from gateway.scheduling import background
from gateway.transport.connection import ProviderConnection
from gateway.transport.dial import dial
from gateway.transport.feed import Endpoint, OutgoingRequest
from gateway.transport.pool import ConnectionPool, Tuning
from protocols.http2.client import OutcomeKind, RequestOutcome
from protocols.http2.server import StreamRequest
from tests.support.http2 import OK, status
from tests.support.provider import ListFeed, Peer, Provider, answer, contexts_of, deaf_port, hold

MakePool = Callable[..., ConnectionPool]


async def test_thousands_of_requests_share_one_connection(make_pool: MakePool) -> None:
    async with Provider(limit=None) as provider:
        feed = ListFeed(3000)
        pool = make_pool(provider, feed)
        await feed.all_settled()
        assert feed.statuses == [200] * 3000
        assert sorted(contexts_of(provider.requests)) == list(range(3000))
        assert len(provider.peers) == pool.connected == 1
        assert feed.links == [(1, None)]


async def test_a_defect_while_a_connection_is_opened_does_not_end_the_attempts(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "RESTART_S", 0.01)
    defects = [KeyError("a defect")]

    async def failing(*args: Any) -> ProviderConnection:
        if defects:
            raise defects.pop()
        return await dial(*args)

    monkeypatch.setattr("gateway.transport.pool.dial", failing)
    async with Provider() as provider:
        feed = ListFeed(1)
        make_pool(provider, feed)
        await feed.all_settled()
    assert feed.statuses == [200]
    assert feed.links[:2] == [(0, "unexpected error: KeyError"), (1, None)]


async def test_nothing_is_opened_while_nothing_waits(make_pool: MakePool) -> None:
    async with Provider() as provider:
        feed = ListFeed()
        pool = make_pool(provider, feed)
        pool.wake()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert (pool.connected, provider.peers, feed.links) == (0, [], [])


async def test_goaway_mid_flight_loses_and_repeats_nothing(make_pool: MakePool) -> None:
    def script(peer: Peer, one: StreamRequest) -> None:
        if peer is not provider.peers[0]:
            answer(peer, one)
        elif len(peer.requests) == 10:
            streams = [each.stream_id for each in peer.requests]
            peer.machine.go_away(streams[3], b'{"reason":"Shutdown"}')
            for stream in streams[:4]:
                peer.machine.respond(stream, OK)

    async with Provider(script, limit=100) as provider:
        feed = ListFeed(10)
        make_pool(provider, feed)
        await feed.all_settled()
        assert feed.statuses == [200] * 10
        assert [one.kind for one in feed.outcomes] == [OutcomeKind.ANSWERED] * 10
        kept, sent_again = provider.peers[0].requests[:4], provider.peers[1].requests
        assert sorted(contexts_of(kept) + contexts_of(sent_again)) == list(range(10))
        assert len(feed.untried) == 6
        assert feed.errors == []  # an orderly GOAWAY is not a failure


def answer_and_go(peer: Peer, one: StreamRequest) -> None:
    """A script that lets every connection answer one request."""
    answer(peer, one)
    peer.machine.go_away(one.stream_id)


async def test_short_connections_are_delayed(make_pool: MakePool) -> None:
    async with Provider(answer_and_go, limit=1) as provider:
        feed = ListFeed(8)
        pool = make_pool(provider, feed, tuning=Tuning(backoff_first_s=1000, backoff_most_s=1000))
        await feed.until(lambda: len(feed.outcomes) == 4)
        await provider.until(lambda: provider.alive == [])
        await asyncio.sleep(0)
        assert pool._retry is not None
        assert (len(provider.peers), feed.waiting(), feed.errors) == (4, 4, [])


async def test_a_goaway_on_every_connection_still_delivers(make_pool: MakePool) -> None:
    script = answer_and_go
    async with Provider(script, limit=1) as provider:
        feed = ListFeed(8)
        make_pool(provider, feed, connections_max=1)
        await feed.all_settled()
        assert feed.statuses == [200] * 8
        assert len(provider.peers) == 8


async def test_after_a_lost_connection_sent_requests_are_unknown_and_others_are_sent_again(
    make_pool: MakePool,
) -> None:
    def script(peer: Peer, one: StreamRequest) -> None:
        if peer is not provider.peers[0]:
            answer(peer, one)
        elif len(peer.requests) == 5:
            peer.cut()

    async with Provider(script, limit=5) as provider:
        feed = ListFeed(12)
        make_pool(provider, feed)
        await feed.all_settled()
        lost = [one for one in feed.outcomes if one.kind is OutcomeKind.UNKNOWN]
        assert len(lost) + feed.statuses.count(200) == 12
        assert 0 < len(lost) <= 5
        assert all(one.reason.startswith("connection lost") for one in lost)
        assert feed.errors[0].startswith("connection lost")


async def test_further_connections_are_opened_up_to_the_limit(make_pool: MakePool) -> None:
    def script(peer: Peer, one: StreamRequest) -> None:
        if len(peer.requests) <= 4:
            answer(peer, one)

    async with Provider(script, limit=2) as provider:
        feed = ListFeed(100)
        pool = make_pool(provider, feed, connections_max=3)
        await provider.until(lambda: [len(peer.requests) for peer in provider.peers] == [6, 6, 6])
        await feed.until(lambda: len(feed.outcomes) == 12)
        assert (pool.connected, pool.in_flight, feed.waiting()) == (3, 6, 82)


async def test_a_low_limit_before_the_first_answers_is_waited_out(make_pool: MakePool) -> None:
    async with Provider(hold, limit=1) as provider:
        feed = ListFeed(50)
        pool = make_pool(provider, feed)
        await provider.until(lambda: len(provider.requests) == 1)
        pool.wake()
        provider.script = answer
        peer = provider.peers[0]
        peer.machine.limit_streams(50)
        peer.machine.respond(peer.requests[0].stream_id, OK)
        peer.flush()
        await feed.all_settled()
        assert (feed.statuses, len(provider.peers)) == ([200] * 50, 1)


@pytest.mark.usefixtures("no_ticks")
async def test_a_connection_with_room_gets_the_requests_of_a_full_one(make_pool: MakePool) -> None:
    def script(peer: Peer, one: StreamRequest) -> None:
        if len(peer.requests) <= 4:
            answer(peer, one)

    async with Provider(script, limit=2) as provider:
        feed = ListFeed(12)
        make_pool(provider, feed, connections_max=2, deadline_s=10_000)
        await provider.until(lambda: [len(peer.requests) for peer in provider.peers] == [6, 6])
        first, second = provider.peers
        for one in second.requests[4:]:
            answer(second, one)
        second.flush()
        await feed.until(lambda: len(feed.outcomes) == 10)
        first.machine.limit_streams(0)
        first.flush()
        for one in first.requests[4:]:
            first.machine.refuse(one.stream_id)
        first.flush()
        await provider.until(lambda: len(second.requests) == 8)
        assert contexts_of(second.requests[6:]) == [one.context for one in reversed(feed.untried)]


async def test_a_recovered_provider_is_connected_again(make_pool: MakePool) -> None:
    provider = Provider()
    feed = ListFeed(3)
    pool = make_pool(provider, feed)
    await feed.until(lambda: len(feed.errors) >= 4)
    assert feed.links[0] == (0, "connection refused")
    assert pool.connected == 0
    assert feed.waiting() == 3
    async with provider:
        await feed.all_settled()
        assert feed.statuses == [200] * 3
        assert feed.links[-1] == (1, None)
        await pool.close(1)


async def test_an_unresponsive_address_does_not_hide_the_others(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Provider() as provider:
        with deaf_port() as deaf:
            addresses = [
                (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))
                for port in (deaf, provider.port)
            ]

            async def look_up(endpoint: Endpoint) -> list[Any]:
                return list(addresses)

            monkeypatch.setattr("gateway.transport.dial._look_up", look_up)
            feed = ListFeed(1)
            quick = Tuning(connect_timeout_s=0.2, backoff_first_s=0.01, backoff_most_s=0.01)
            make_pool(provider, feed, tuning=quick)
            async with asyncio.timeout(30):
                await feed.all_settled()
            assert feed.statuses == [200]


async def test_the_back_off_is_kept_however_often_the_feed_wakes(make_pool: MakePool) -> None:
    provider = Provider()
    feed = ListFeed(1)
    pool = make_pool(provider, feed, tuning=Tuning(backoff_first_s=1000, backoff_most_s=1000))
    await feed.until(lambda: bool(feed.errors))
    for _ in range(20):
        pool.wake()
        await asyncio.sleep(0)
    assert feed.links == [(0, "connection refused")]
    provider.sock.close()


class Defective(ListFeed):
    """A lane whose first outcomes meet a defect."""

    defects = 1

    def on_outcomes(self, outcomes: Sequence[RequestOutcome]) -> None:
        if self.defects:
            self.defects -= 1
            raise KeyError("a defect")
        super().on_outcomes(outcomes)


async def test_a_defect_of_the_lane_neither_keeps_a_lost_connection_nor_blocks_the_close(
    make_pool: MakePool,
) -> None:
    def script(peer: Peer, one: StreamRequest) -> None:
        if peer is provider.peers[0]:
            peer.cut()
        else:
            answer(peer, one)

    reported: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["exception"]))
    async with Provider(script, limit=1) as provider:
        feed = Defective(2)
        pool = make_pool(provider, feed)
        await feed.until(lambda: feed.statuses == [200])
        assert (pool.connected, pool.in_flight) == (1, 0)
        async with asyncio.timeout(10):
            await pool.close(60.0)
    assert [type(error) for error in reported] == [KeyError]


class Leaving(ListFeed):
    """A lane that retires a connection on a scripted outcome, and sends unaccepted requests again."""

    pool: ConnectionPool

    def on_outcomes(self, outcomes: Sequence[RequestOutcome]) -> None:
        for outcome in outcomes:
            if outcome.status == 503:
                self.pool.reconnect("Shutdown")
                self.queue.appendleft(self.sends[outcome.context])
        super().on_outcomes([outcome for outcome in outcomes if outcome.status != 503])


def shut_down(peer: Peer, one: StreamRequest) -> None:
    peer.machine.respond(one.stream_id, status(503))


async def test_a_provider_that_serves_no_connection_is_contacted_with_back_off(make_pool: MakePool) -> None:
    async with Provider(shut_down, limit=1) as provider:
        feed = Leaving(50)
        tuning = Tuning(backoff_first_s=1000, backoff_most_s=1000)
        feed.pool = make_pool(provider, feed, connections_max=1, tuning=tuning)
        await feed.until(lambda: bool(feed.errors))
        await provider.until(lambda: provider.alive == [])
        for _ in range(20):
            feed.pool.wake()
            await asyncio.sleep(0)
        assert (len(provider.peers), feed.links) == (1, [(1, None), (0, "Shutdown")])
        assert feed.pool._retry is not None


async def test_a_connection_that_served_is_replaced_at_once_when_it_no_longer_does(
    make_pool: MakePool,
) -> None:
    def script(peer: Peer, one: StreamRequest) -> None:
        if peer is provider.peers[0] and len(peer.requests) > 5:
            shut_down(peer, one)
        else:
            answer(peer, one)

    async with Provider(script, limit=1) as provider:
        feed = Leaving(20)
        tuning = Tuning(backoff_first_s=1000, backoff_most_s=1000)
        feed.pool = make_pool(provider, feed, connections_max=1, tuning=tuning)
        await feed.all_settled()
        assert (feed.statuses, feed.errors, len(provider.peers)) == ([200] * 20, [], 2)


async def test_late_events_of_an_old_connection_do_not_affect_the_new_one(make_pool: MakePool) -> None:
    def script(peer: Peer, one: StreamRequest) -> None:
        if peer is not provider.peers[0]:
            answer(peer, one)

    async with Provider(script) as provider:
        feed = Leaving(20)
        feed.pool = make_pool(provider, feed, connections_max=1)
        await provider.until(lambda: len(provider.requests) == 20)
        old = provider.peers[0]
        for sent, one in enumerate(tuple(provider.requests), 1):
            shut_down(old, one)
            old.flush()
            await feed.until(lambda sent=sent: len(feed.outcomes) == sent)  # sent again on another connection
        assert (feed.statuses, len(provider.peers)) == ([200] * 20, 2)


async def test_a_feed_that_holds_requests_back_is_read_again_when_it_wakes_the_pool(
    make_pool: MakePool,
) -> None:
    class Held(ListFeed):
        open = True

        def take(self, n: int) -> Sequence[OutgoingRequest]:
            return super().take(n) if self.open else ()

    def script(peer: Peer, one: StreamRequest) -> None:
        if len(peer.requests) <= 4:
            answer(peer, one)

    async with Provider(script, limit=2) as provider:
        feed = Held(12)
        pool = make_pool(provider, feed, connections_max=2)
        await provider.until(lambda: [len(peer.requests) for peer in provider.peers] == [6, 6])
        feed.open = False
        feed.add(5)
        provider.script = answer
        for peer in provider.peers:
            for one in peer.requests[4:]:
                answer(peer, one)
            peer.flush()
        await feed.until(lambda: len(feed.outcomes) == 12)
        assert (feed.waiting(), pool.in_flight) == (5, 0)
        feed.open = True
        pool.wake()
        await feed.all_settled()
        assert feed.statuses == [200] * 17


async def test_closing_waits_for_answers_within_its_budget(make_pool: MakePool) -> None:
    async with Provider(hold) as provider:
        feed = ListFeed(3)
        pool = make_pool(provider, feed)
        await provider.until(lambda: len(provider.requests) == 3)
        feed.add(5)
        closing = asyncio.create_task(pool.close(30))
        await asyncio.sleep(0)
        for one in provider.requests:
            provider.peers[0].machine.respond(one.stream_id, OK)
        provider.peers[0].flush()
        await closing
        assert feed.statuses == [200] * 3
        assert (feed.waiting(), pool.in_flight, pool.connected) == (5, 0, 0)
        pool.wake()
        await asyncio.sleep(0)
        assert len(provider.requests) == 3


async def test_closing_reports_requests_without_an_answer_as_unknown(make_pool: MakePool) -> None:
    async with Provider(hold) as provider:
        feed = ListFeed(3)
        pool = make_pool(provider, feed)
        await provider.until(lambda: len(provider.requests) == 3)
        await pool.close(0.05)
        assert [(one.context, one.kind) for one in sorted(feed.outcomes)] == [
            (0, OutcomeKind.UNKNOWN),
            (1, OutcomeKind.UNKNOWN),
            (2, OutcomeKind.UNKNOWN),
        ]
        await provider.until(lambda: provider.alive == [])


async def test_closing_in_the_middle_of_a_handshake_ends_it(make_pool: MakePool) -> None:
    async with Provider() as provider:
        with deaf_port() as port:
            context = provider.endpoint().ssl
            feed = ListFeed(1)
            pool = make_pool(Endpoint("127.0.0.1", port, context, "x"), feed)
            await asyncio.sleep(0.05)
            await pool.close(0)
            assert (feed.links, feed.waiting()) == ([], 1)
