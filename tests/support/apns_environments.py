"""Apple's two environments as two simulators that share a team's key and an authority."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from gateway.simulators import ApnsOptions, ApnsSimulator, Authority, Hosting
from gateway.simulators.keys import TeamKey
from tests.support.providers import TOPIC


class Apple(NamedTuple):
    """Both environments; `tokens` maps a device token to its environment."""

    production: ApnsSimulator
    sandbox: ApnsSimulator
    tokens: dict[str, str]

    def settings(self, environment: str = "auto", **more: Any) -> dict[str, Any]:
        """The `:gateway:` part of a gateway that sends to this environment."""
        production, sandbox = self.production, self.sandbox
        said: dict[str, Any] = {
            "key_file": str(production.key_file),
            "key_id": production.signing_key.key_id,
            "team_id": production.signing_key.team_id,
            "topic": TOPIC,
            "ca_file": str(production.ca_file),
            "environment": environment,
            "host": "127.0.0.1",
            "port": sandbox.port if environment == "sandbox" else production.port,
        }
        if environment == "auto":
            said |= {"sandbox_host": "127.0.0.1", "sandbox_port": sandbox.port}
        return {"apns": said | more, "retry": {"apns_5xx_s": 0.1, "unknown_s": 0.1, "jitter": 0.0}}

    def seen(self) -> tuple[list[int], list[int]]:
        """The statuses of each environment's responses: production, sandbox."""
        production, sandbox = self.production.received, self.sandbox.received
        return [record.status for record in production], [record.status for record in sandbox]


@asynccontextmanager
async def apples(signing_key: TeamKey | None = None) -> AsyncIterator[Apple]:
    """Start both; `signing_key`: the team's key, for a key that is limited to one environment."""
    tokens: dict[str, str] = {}
    hosting = Hosting(authority=Authority())
    async with (
        ApnsSimulator(ApnsOptions(environments=tokens), hosting, signing_key) as production,
        ApnsSimulator(
            ApnsOptions(environment="sandbox", environments=tokens), hosting, production.signing_key
        ) as sandbox,
    ):
        yield Apple(production, sandbox, tokens)
