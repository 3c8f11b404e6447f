"""Trust in a provider's responses about device tokens: only after a delivery with the same credential was accepted
at the same host for the same topic.

A wrong setting (a sandbox key at the production host, another app's topic) makes every token look dead. Therefore
no token is marked until one delivery was accepted, counted over all workers and gateways (`delivery.proofs`);
`ALARM_COUNT` responses that concern this host and topic alone (APNs' BadDeviceToken) before that raise an alarm.
"""

import asyncio
from collections.abc import Coroutine
from functools import partial
from typing import Any, Final

import structlog

from gateway.clock import SHARED_CLOCK
from gateway.delivery.proofs import PROVEN, Proofs
from gateway.delivery.route import TokenScope
from gateway.errors import StoreDown
from gateway.metrics import Metrics
from gateway.scheduling.background import keep_running, run_in_background

_log = structlog.get_logger("dead_tokens")

ALARM_COUNT: Final = 3
POLL_S: Final = 5.0
"""Interval at which a worker with an alarm checks whether another worker had an acceptance; also the pause before
an acceptance that Redis refused is written again."""


class TokenTrust:
    """Tracks which scopes are proven, and raises the alarm for a scope that only refuses tokens.

    Args:
        proofs: the proofs shared by all workers.
        metrics: exports the alarm.
    """

    def __init__(self, proofs: Proofs, metrics: Metrics) -> None:
        self._proofs = proofs
        self._metrics = metrics
        self._accepted: set[str] = set()
        self._alarms: dict[str, TokenScope] = {}
        self._watching: asyncio.Task[None] | None = None
        self._writing: set[asyncio.Task[None]] = set()

    def record_acceptance(self, scope: TokenScope) -> None:
        """Record that a delivery was accepted in this scope; the first acceptance is written for all workers."""
        if scope.identity in self._accepted:
            return
        self._accepted.add(scope.identity)
        self._end_alarm(scope.identity)
        self._start(keep_running(partial(self._write, scope.identity), "credential proof"))

    async def is_trusted(self, scope: TokenScope, *, bad: str = "") -> bool:
        """Whether a response that a token is dead may be believed.

        Args:
            scope: where the response came from.
            bad: the provider's reason, if it concerns this host and topic alone; "" otherwise.

        Raises:
            StoreDown: the scope is not proven in this process, and Redis did not answer.
        """
        if scope.identity in self._accepted:
            return True
        count = await self._proofs.count(scope.identity, bad=bool(bad))
        if count == PROVEN:
            self._accepted.add(scope.identity)
            self._end_alarm(scope.identity)
        elif bad and count >= ALARM_COUNT and scope.identity not in self._accepted:
            self._raise_alarm(scope, bad, count)
        return scope.identity in self._accepted

    def retain(self, identities: set[str]) -> None:
        """End the alarm of every scope that is no longer in force after a reload."""
        for identity in self._alarms.keys() - identities:
            self._end_alarm(identity)

    async def close(self) -> None:
        """Stop checking, and wait for the acceptances that are being written."""
        if self._watching is not None:
            self._watching.cancel()
        for task in self._writing:
            task.cancel()
        await asyncio.gather(*self._writing, return_exceptions=True)

    def _raise_alarm(self, scope: TokenScope, reason: str, count: int) -> None:
        if scope.identity in self._alarms:
            return
        self._alarms[scope.identity] = scope
        self._metrics.tokens_refused(scope.lane, scope.topic).set(1)
        _log.error(
            "all_device_tokens_rejected",
            lane=scope.lane,
            host=scope.host,
            topic=scope.topic,
            reason=reason,
            answers=count,
            check=_advice(scope),
        )
        if self._watching is None:
            self._watching = run_in_background(self._watch, "token alarms")

    def _end_alarm(self, identity: str) -> None:
        scope = self._alarms.pop(identity, None)
        if scope is not None:
            self._metrics.tokens_refused(scope.lane, scope.topic).set(0)
            _log.info("device_tokens_accepted", lane=scope.lane, host=scope.host, topic=scope.topic)

    async def _watch(self) -> None:
        """End alarms of scopes in which another worker had an acceptance."""
        while self._alarms:
            await asyncio.sleep(POLL_S)
            for scope in tuple(self._alarms.values()):
                try:
                    await self.is_trusted(scope)
                except StoreDown as error:
                    _log.debug("credential_proof_read_failed", error=error.message)
        self._watching = None

    async def _write(self, identity: str) -> None:
        """Write an acceptance until Redis has stored it: no other worker may mark a token before."""
        while True:
            try:
                await self._proofs.accepted(identity, SHARED_CLOCK.now_ms())
            except StoreDown as error:
                _log.warning("credential_proof_write_failed", error=error.message)
                await asyncio.sleep(POLL_S)
            else:
                return

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)


def _advice(scope: TokenScope) -> str:
    """The next step of an operator after an alarm."""
    if not scope.setting:
        return "the credential must be that of these devices' app"
    return f"{scope.setting} must be the environment of these devices' app; then check the topic"
