"""An endpoint whose settings cannot be used."""

from gateway.webhooks.unusable_sink import UnusableSink
from protocols.webhooks.attempts import Outcome
from protocols.webhooks.events import PING_COMPLETED, Message


async def test_each_attempt_fails_with_the_reason() -> None:
    sink = UnusableSink("ca.pem: no such file")
    attempt = await sink.send(Message("msg", PING_COMPLETED, 1, []))
    assert (attempt.outcome, attempt.error) == (Outcome.FAILED, "ca.pem: no such file")
    await sink.close()
