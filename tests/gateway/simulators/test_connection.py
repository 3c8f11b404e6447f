"""One client's connection to a simulator."""

import asyncio

from gateway.simulators import ApnsOptions, ApnsSimulator, Hosting
from protocols.http2.client import OutcomeKind
from tests.gateway.simulators.client import PIN, Client, connected, provider_token, push


async def test_goaway_has_the_last_processed_stream_and_the_reason() -> None:
    async with (
        ApnsSimulator(ApnsOptions(faults=["goaway=IdleTimeout:after=3"])) as apns,
        connected(apns) as client,
    ):
        token = provider_token(apns.signing_key)
        await client.send(push(token))
        await client.assert_capacity(1000)
        futures = [client.begin(push(token), b'{"aps":{"alert":"x"}}') for _ in range(5)]
        outcomes = await asyncio.gather(*futures)
        assert [outcome.status for outcome in outcomes] == [200, 200, 0, 0, 0]
        assert [outcome.kind for outcome in outcomes[2:]] == [OutcomeKind.UNTRIED] * 3
        await client.lost
        assert "IdleTimeout" in client.machine.reason


async def test_a_client_that_speaks_something_else_is_cut() -> None:
    async with ApnsSimulator() as apns:
        context = apns.authority.client_context(())
        reader, writer = await asyncio.open_connection("127.0.0.1", apns.port, ssl=context)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert await reader.read() == b""
        writer.close()


async def test_a_split_preface_is_detected() -> None:
    async with ApnsSimulator() as apns:
        context = apns.authority.client_context()
        loop = asyncio.get_running_loop()
        transport, client = await loop.create_connection(Slow, "127.0.0.1", apns.port, ssl=context)
        assert (await client.send(push(provider_token(apns.signing_key)))).status == 200
        transport.abort()
        await client.lost


class Slow(Client):
    """Sends byte by byte."""

    def flush(self) -> None:
        for byte in self.machine.take_output():
            self.transport.write(bytes([byte]))


async def test_accept_all_can_echo_the_id() -> None:
    async with (
        ApnsSimulator(hosting=Hosting(accept_all=True, echo_ids=True)) as apns,
        connected(apns) as client,
    ):
        outcome = await client.send(push("x", PIN, (b"apns-id", b"my-id")))
        assert (outcome.status, outcome.headers[1:]) == (200, ((b"apns-id", b"my-id"),))


async def test_nothing_is_taken_after_a_cut() -> None:
    async with (
        ApnsSimulator(ApnsOptions(faults=["cut:after=2"])) as apns,
        connected(apns) as client,
    ):
        token = provider_token(apns.signing_key)
        await client.send(push(token))
        await client.assert_capacity(1000)
        client.hold_output = True
        futures = [client.begin(push(token), b'{"aps":{"alert":"x"}}') for _ in range(4)]
        client.hold_output = False
        client.flush()
        fates = [(await future).kind for future in futures]
        assert fates[1:] == [OutcomeKind.UNKNOWN] * 3
        assert [record.reason for record in apns.received] == ["", "", "cut"]


async def test_a_second_goaway_changes_nothing() -> None:
    faults = ["goaway:token=dead"]
    async with ApnsSimulator(ApnsOptions(faults=faults)) as apns, connected(apns) as client:
        token = provider_token(apns.signing_key)
        await client.send(push(token))
        await client.assert_capacity(1000)
        apns.hold()
        futures = [client.begin(push(token, pin), b'{"aps":{"alert":"x"}}') for pin in (PIN, "dead")]
        await apns.received.wait(3)
        apns.go_away()
        apns.release()
        assert [(await future).status for future in futures] == [200, 0]
        assert (await futures[1]).kind is OutcomeKind.UNTRIED
