"""The simulated APNs over real TLS sockets: limits, faults, certificates, and third-party tools."""

import asyncio

import pytest

from gateway.simulators import ApnsOptions, ApnsSimulator, Authority, Hosting
from gateway.simulators.keys import make_team_key
from protocols.http2.client import OutcomeKind
from tests.gateway.simulators.client import PIN, connected, provider_token, push
from tests.support.requirements import need_program


async def test_one_stream_until_a_valid_token_was_posted_then_as_many_as_configured() -> None:
    async with ApnsSimulator(ApnsOptions(streams=7)) as apns, connected(apns) as client:
        await client.assert_capacity(1)
        refused = await client.send(push("no.token.here"))
        assert (refused.status, client.machine.capacity) == (403, 1)
        accepted = await client.send(push(provider_token(apns.signing_key)))
        assert accepted.status == 200
        await client.assert_capacity(7)


async def test_a_certificate_needs_no_first_request() -> None:
    async with ApnsSimulator(ApnsOptions(streams=7)) as apns:
        context = apns.authority.client_context(certificate=apns.client_certificate(["com.example.app"]))
        async with connected(apns, context) as client:
            await client.assert_capacity(7)
            headers = [header for header in push("") if header[0] not in (b"authorization", b"apns-topic")]
            assert (await client.send(headers)).status == 200
            assert apns.received[0].topic == "com.example.app"


async def test_a_certificate_of_another_authority_ends_the_connection() -> None:
    async with ApnsSimulator() as apns:
        stranger = Authority().client_certificate(["com.example.app"])
        context = apns.authority.client_context(certificate=stranger)
        async with connected(apns, context) as client:
            future = client.begin(push("x"), b"{}")
            assert (await future).kind is not OutcomeKind.ANSWERED
        assert len(apns.received) == 0


FAULTS = [
    ("410=1700000000000", OutcomeKind.ANSWERED, 410, b'{"reason":"Unregistered","timestamp":1700000000000}'),
    ("429=30", OutcomeKind.ANSWERED, 429, b'{"reason":"TooManyRequests"}'),
    ("503", OutcomeKind.ANSWERED, 503, b'{"reason":"ServiceUnavailable"}'),
    ("expired", OutcomeKind.ANSWERED, 403, b'{"reason":"ExpiredProviderToken"}'),
    ("BadDeviceToken", OutcomeKind.ANSWERED, 400, b'{"reason":"BadDeviceToken"}'),
    ("refuse", OutcomeKind.UNTRIED, 0, b""),
    ("reset", OutcomeKind.UNKNOWN, 0, b""),
    ("goaway", OutcomeKind.UNTRIED, 0, b""),
    ("cut", OutcomeKind.UNKNOWN, 0, b""),
    ("delay=1", OutcomeKind.ANSWERED, 200, b""),
    ("limit=3", OutcomeKind.ANSWERED, 200, b""),
]


@pytest.mark.parametrize(("fault", "kind", "status", "body"), FAULTS, ids=[row[0] for row in FAULTS])
async def test_a_scripted_fault_arrives(fault: str, kind: OutcomeKind, status: int, body: bytes) -> None:
    async with ApnsSimulator(ApnsOptions(faults=[f"{fault}:token=dead"])) as apns, connected(apns) as client:
        token = provider_token(apns.signing_key)
        assert (await client.send(push(token))).status == 200
        outcome = await client.send(push(token, "dead"))
        assert (outcome.kind, outcome.status, outcome.body) == (kind, status, body)
        assert [record.token for record in apns.received] == [PIN, "dead"]


async def test_retry_after_is_a_header() -> None:
    async with ApnsSimulator(ApnsOptions(faults=["429=30"])) as apns, connected(apns) as client:
        outcome = await client.send(push(provider_token(apns.signing_key)))
        assert (b"retry-after", b"30") in outcome.headers


async def test_a_limit_fault_changes_the_live_limit() -> None:
    async with ApnsSimulator(ApnsOptions(faults=["limit=3:after=1"])) as apns, connected(apns) as client:
        token = provider_token(apns.signing_key)
        await client.send(push(token))
        await client.assert_capacity(1000)
        await client.send(push(token))
        await client.assert_capacity(3)


async def test_a_silence_fault_leaves_only_matching_requests_unanswered() -> None:
    async with ApnsSimulator(ApnsOptions(faults=["silence:dead"])) as apns, connected(apns) as client:
        token = provider_token(apns.signing_key)
        await client.send(push(token))
        silent = client.begin(push(token, "dead"), b'{"aps":{"alert":"x"}}')
        assert (await client.send(push(token))).status == 200
        assert not silent.done()
        assert [record.reason for record in apns.received] == ["", "silence", ""]


async def test_held_answers_keep_their_order_and_survive_a_goaway() -> None:
    async with ApnsSimulator() as apns, connected(apns) as client:
        token = provider_token(apns.signing_key)
        await client.send(push(token))
        await client.assert_capacity(1000)
        apns.hold()
        futures = [client.begin(push(token), b'{"aps":{"alert":"x"}}') for _ in range(3)]
        await apns.received.wait(4)
        assert not any(future.done() for future in futures)
        apns.go_away()
        apns.release()
        assert [(await future).status for future in futures] == [200, 200, 200]
        await client.lost


async def test_a_cut_leaves_requests_unanswered() -> None:
    async with ApnsSimulator() as apns, connected(apns) as client:
        apns.hold()
        future = client.begin(push(provider_token(apns.signing_key)), b'{"aps":{"alert":"x"}}')
        await apns.received.wait(1)
        apns.cut()
        assert (await future).kind is OutcomeKind.UNKNOWN


async def test_the_limit_can_be_changed_from_outside() -> None:
    async with ApnsSimulator() as apns, connected(apns) as client:
        await client.send(push(provider_token(apns.signing_key)))
        await client.assert_capacity(1000)
        apns.limit_streams(2)
        await client.assert_capacity(2)
        apns.limit_streams(50)
        await client.assert_capacity(50)


async def test_too_many_errors_end_the_connection() -> None:
    async with ApnsSimulator(ApnsOptions(errors_max=4)) as apns, connected(apns) as client:
        token = provider_token(apns.signing_key)
        await client.send(push(token))
        await client.assert_capacity(1000)
        for _ in range(2):
            await client.send(push(token, "zz"))
        await client.assert_capacity(500)
        for _ in range(2):
            assert (await client.send(push(token, "zz"))).status == 400
        await client.lost


async def test_a_new_key_and_a_revoked_one() -> None:
    async with ApnsSimulator() as apns:
        other = make_team_key(apns.signing_key.team_id)
        async with connected(apns) as client:
            assert (
                await client.send(push(provider_token(other)))
            ).body == b'{"reason":"InvalidProviderToken"}'
            apns.rules.tokens.add(other.signing)
            assert (await client.send(push(provider_token(other)))).status == 200
            apns.rules.tokens.revoke(other.key_id)
            assert (
                await client.send(push(provider_token(other)))
            ).body == b'{"reason":"InvalidProviderToken"}'


async def test_curl_and_its_trust_in_the_ca_file() -> None:
    curl = need_program("curl", "curl")
    async with ApnsSimulator() as apns:
        arguments = ["-sS", "--http2", "--cacert", str(apns.ca_file), "-w", "%{http_code} %{http_version}"]
        headers = [f"authorization: bearer {provider_token(apns.signing_key)}", "apns-topic: com.example.app"]
        for header in headers:
            arguments += ["-H", header]
        url = f"https://127.0.0.1:{apns.port}/3/device/{PIN}"
        process = await asyncio.create_subprocess_exec(
            curl, *arguments, "-d", '{"aps":{"alert":"hi"}}', url, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
        assert output == b"200 2"
        assert apns.received[0].summary.alert == "hi"


@pytest.mark.parametrize("echo", [False, True])
async def test_h2load_finds_everything_accepted_in_accept_all_mode(echo: bool) -> None:
    h2load = need_program("h2load", "nghttp2-client")
    async with ApnsSimulator(hosting=Hosting(accept_all=True, echo_ids=echo)) as apns:
        url = f"https://127.0.0.1:{apns.port}/3/device/{PIN}"
        process = await asyncio.create_subprocess_exec(
            h2load, "-n2000", "-c2", "-m50", url, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
        assert b"2000 succeeded, 0 failed" in output
        assert (apns.answered, len(apns.received)) == (2000, 0)
