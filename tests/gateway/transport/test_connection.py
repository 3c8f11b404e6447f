"""One connection against a scripted provider on real TLS sockets: limits, windows, deadlines, silence."""

import asyncio
from collections.abc import Callable

import pytest

from gateway.transport.connection import ProviderConnection
from gateway.transport.dial import dial
from gateway.transport.feed import BATCH, Endpoint
from gateway.transport.pool import ConnectionPool, Tuning
from protocols.http2.client import ClientConnection, ConnectionState, OutcomeKind
from protocols.http2.server import StreamRequest
from tests.support.http2 import status
from tests.support.provider import ListFeed, Peer, Provider, answer, contexts_of, hold

MakePool = Callable[..., ConnectionPool]


async def test_many_wakes_in_one_turn_make_one_batch(make_pool: MakePool) -> None:
    async with Provider() as provider:
        feed = ListFeed(1)
        pool = make_pool(provider, feed)
        await feed.all_settled()
        feed.takes.clear()
        for _ in range(50):
            feed.add()
            pool.wake()
        await feed.all_settled()
        assert feed.takes[0] == 50


async def test_a_refused_stream_is_sent_again_on_the_same_connection(make_pool: MakePool) -> None:
    def script(peer: Peer, one: StreamRequest) -> None:
        if len(provider.requests) <= 3:
            peer.machine.refuse(one.stream_id)
        else:
            answer(peer, one)

    async with Provider(script) as provider:
        feed = ListFeed(3)
        make_pool(provider, feed)
        await feed.all_settled()
        assert feed.statuses == [200] * 3
        assert (len(feed.untried), len(provider.peers)) == (3, 1)


async def test_a_changing_stream_limit_is_observed_without_a_second_connection(
    make_pool: MakePool,
) -> None:
    """Like Apple's limit: 1 until a request was accepted, many afterwards, few after an error."""
    async with Provider(limit=1) as provider:
        feed = ListFeed(20)
        pool = make_pool(provider, feed)

        async def lift_or_lower(limit: int) -> int:
            """Change the limit, send as many requests again, and return the most that were open at a time."""
            peer = provider.peers[0]
            peer.machine.limit_streams(limit)
            peer.flush()
            facts = pool._all[0].machine
            await provider.until(lambda: facts.limit == limit)
            peer.open_most = 0
            feed.add(20)
            pool.wake()
            await feed.all_settled()
            return peer.open_most

        provider.script = hold
        await provider.until(lambda: len(provider.requests) == 1)
        assert (pool.in_flight, feed.waiting()) == (1, 19)
        provider.script = answer
        provider.peers[0].machine.limit_streams(20)
        answer(provider.peers[0], provider.requests[0])
        provider.peers[0].flush()
        await feed.all_settled()
        assert provider.peers[0].open_most == 19
        assert await lift_or_lower(20) == 20
        assert await lift_or_lower(2) == 2
        assert await lift_or_lower(1) == 1
        assert await lift_or_lower(7) == 7
        assert (feed.statuses, len(provider.peers)) == ([200] * 100, 1)


async def test_a_request_without_an_answer_is_unknown_at_its_deadline(make_pool: MakePool) -> None:
    def script(peer: Peer, one: StreamRequest) -> None:
        if contexts_of([one]) != [0]:
            answer(peer, one)

    async with Provider(script) as provider:
        feed = ListFeed(5)
        make_pool(provider, feed, deadline_s=0.2)
        await feed.all_settled()
        late = feed.outcomes[-1]
        assert (late.context, late.kind, late.reason) == (0, OutcomeKind.UNKNOWN, "deadline")
        assert len(provider.alive) == 1  # one late response does not retire a connection


@pytest.mark.usefixtures("no_ticks")
async def test_an_unresponsive_peer_is_replaced(make_pool: MakePool) -> None:
    now_s = 0.0

    def script(peer: Peer, one: StreamRequest) -> None:
        if peer is provider.peers[0]:
            peer.transport.pause_reading()
        else:
            answer(peer, one)

    async with Provider(script, limit=1) as provider:
        feed = ListFeed(4)
        tuning = Tuning(backoff_first_s=0.0, backoff_most_s=0.0, clock=lambda: now_s)
        pool = make_pool(provider, feed, deadline_s=100_000, tuning=tuning)
        await provider.until(lambda: len(provider.requests) == 1)
        (connection,) = pool._all
        while (
            not feed.outcomes and now_s < 200_000
        ):  # each check at its own time, and nothing arrives in between
            now_s += connection._tick_s
            connection._tick()
        assert now_s < 100_000
        await feed.all_settled()
        assert (feed.outcomes[0].kind, feed.outcomes[0].reason) == (OutcomeKind.UNKNOWN, "silent peer")
        assert feed.statuses == [0, 200, 200, 200]
        assert [connection.machine.silent for connection in pool._all] == [False]
        assert feed.errors == ["silent peer"]


async def test_a_suspended_process_reads_its_socket_before_it_checks_deadlines(
    make_pool: MakePool,
) -> None:
    now_s = 0.0
    async with Provider(hold) as provider:
        feed = ListFeed(1)
        pool = make_pool(provider, feed, tuning=Tuning(clock=lambda: now_s))
        await provider.until(lambda: len(provider.requests) == 1)
        now_s = 100.0
        (connection,) = pool._all
        connection._tick()
        assert pool.in_flight == 1
        answer(provider.peers[0], provider.requests[0])
        provider.peers[0].flush()
        await feed.all_settled()
        assert feed.statuses == [200]


async def fill(pool: ConnectionPool, feed: ListFeed) -> None:
    """Offer requests until the only connection stays full.

    Requests fill the socket buffers, with one batch beyond them. The kernel may move bytes from the sender's buffer to
    the receiver's some time after they were written, so that there is room again.
    """
    full_turns = 0
    while full_turns < 20:
        full_turns += 1
        if not pool._all[0].facts.full:
            full_turns = 0
            feed.add(1)
            pool.wake()
        await asyncio.sleep(0.002)


@pytest.mark.usefixtures("no_ticks")
async def test_a_full_transport_accepts_no_more(make_pool: MakePool) -> None:
    async with Provider(window=1 << 30) as provider:
        feed = ListFeed(1)
        pool = make_pool(provider, feed, connections_max=1, deadline_s=10_000)
        await feed.all_settled()
        provider.peers[0].transport.pause_reading()
        feed.body = b"x" * 1_000_000
        await fill(pool, feed)
        assert pool.in_flight < 50  # of 100 streams
        feed.add(5)
        pool.wake()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert feed.waiting() >= 5
        provider.peers[0].transport.resume_reading()
        await feed.all_settled()
        assert feed.statuses == [200] * feed.count


@pytest.mark.usefixtures("no_ticks")
async def test_a_peer_that_floods_requests_and_reads_nothing_is_disconnected(make_pool: MakePool) -> None:
    ping = b"\0\0\x08\x06\0\0\0\0\0rho push"
    async with Provider() as provider:
        feed = ListFeed(1)
        pool = make_pool(provider, feed, deadline_s=10_000)
        await feed.all_settled()
        peer, (connection,) = provider.peers[0], pool._all
        peer.transport.pause_reading()
        for _ in range(3000):  # 25 MB, of which socket buffers accept only a small part
            if connection.machine.state is ConnectionState.CLOSED:
                break
            peer.transport.write(ping * 500)  # fewer than a flood, if they arrive together
            for _ in range(4):
                await asyncio.sleep(0)
        assert (connection.machine.state, connection.machine.failed) == (ConnectionState.CLOSED, True)


@pytest.mark.usefixtures("no_ticks")
async def test_returned_window_capacity_is_used_immediately(make_pool: MakePool) -> None:
    async with Provider(hold) as provider:
        feed = ListFeed(1, body=b"x" * 65_635)  # a hundred bytes more than the window
        feed.body = b""
        feed.add(99)
        make_pool(provider, feed, connections_max=1, deadline_s=10_000)
        await provider.until(lambda: len(provider.requests) == 100)
        assert feed.outcomes == []


async def test_a_slow_reader_holds_back_requests_and_loses_none(make_pool: MakePool) -> None:
    async with Provider(limit=None) as provider:
        feed = ListFeed(1)
        pool = make_pool(provider, feed)
        await feed.all_settled()
        provider.peers[0].transport.pause_reading()
        feed.body = b"x" * 4096
        feed.add(4000)
        pool.wake()
        await feed.until(lambda: len(feed.takes) > 1)
        await asyncio.sleep(0)
        # One batch was taken, and the window let 64 kB of it out; no second batch before the rest is sent.
        assert (feed.waiting(), pool.in_flight) == (4000 - BATCH, BATCH)
        provider.peers[0].transport.resume_reading()
        await feed.all_settled()
        assert feed.statuses == [200] * 4001
        assert {one.body_size for one in provider.requests} == {2, 4096}


async def test_large_answers_flow_beyond_every_window(make_pool: MakePool) -> None:
    def script(peer: Peer, one: StreamRequest) -> None:
        peer.machine.respond(one.stream_id, status(500), b"y" * 60_000)

    async with Provider(script) as provider:
        feed = ListFeed(30)
        make_pool(provider, feed)
        await feed.all_settled()
        assert sum(len(one.body) for one in feed.outcomes) == 1_800_000


async def test_http2_without_tls_works_by_prior_knowledge(make_pool: MakePool) -> None:
    loop = asyncio.get_running_loop()
    provider = Provider()
    server = await loop.create_server(lambda: Peer(provider), sock=provider.sock)
    feed = ListFeed(3)
    pool = make_pool(Endpoint("127.0.0.1", provider.port, None, "x"), feed)
    await feed.all_settled()
    assert feed.statuses == [200] * 3
    await pool.close(1)
    await provider.until(lambda: provider.alive == [])
    server.close()


async def test_a_connection_accepts_nothing_before_it_is_started() -> None:
    class Nobody:
        def connection_full(self, connection: ProviderConnection) -> None: ...

        connection_left = connection_gone = connection_full

    async with Provider() as provider:
        feed, loop = ListFeed(1), asyncio.get_running_loop()

        def make() -> ProviderConnection:
            return ProviderConnection(
                ClientConnection(deadline_s=5), feed, Nobody(), deadline_s=5, clock=loop.time
            )

        connection = await dial(provider.endpoint(), make, 5)
        while connection.machine.state is ConnectionState.CONNECTING:
            await asyncio.sleep(0)
        assert (feed.waiting(), feed.takes) == (1, [])
        connection.start()
        await feed.all_settled()
        connection.retire("test")
        await connection.ended
        assert feed.statuses == [200]
