"""With `apns.environment: auto` both of Apple's hosts must be reached."""

from pathlib import Path

from gateway.check.checks import check_provider, providers
from gateway.check.findings import Level
from gateway.settings import ApnsSettings, Secret, Settings
from tests.support.apns_environments import apples


async def test_both_hosts_are_looked_at(unused_tcp_port: int) -> None:
    async with apples() as both:
        apns = ApnsSettings(
            key=Secret("hush"),
            key_id="ABC123DEFG",
            team_id="DEF123GHIJ",
            environment="auto",
            host="127.0.0.1",
            port=both.production.port,
            sandbox_host="127.0.0.1",
            sandbox_port=unused_tcp_port,
            ca_file=Path(both.production.ca_file),
        )
        found = [await check_provider(one) for one in providers(Settings(apns=apns))]
        assert [(one.level, one.subject) for (one,) in found] == [
            (Level.GOOD, f"apns 127.0.0.1:{both.production.port}"),
            (Level.BAD, f"apns sandbox 127.0.0.1:{unused_tcp_port}"),
        ]
