"""The named API tokens and the audit of one worker, in the queue's Redis."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final

from gateway.clock import SHARED_CLOCK
from gateway.registry.audit_log import DONE, AuditLog, AuditRecord
from gateway.registry.named_tokens import NamedTokens
from gateway.server.ipc import SettingsUpdate
from gateway.settings import Settings
from gateway.store.address import queue_address
from gateway.store.client_factory import HTTP_TIMEOUT_S, client

_AUDIT_TIMEOUT_S: Final = 1.0
"""Longest wait for the record of an action: the caller of the action waits for it."""
_CONNECTIONS: Final = 4
_ACTION: Final = "settings reload"


class OperatorAccess:
    """The stores of named tokens and of the audit.

    Args:
        named_tokens: the named tokens.
        audit_log: the audit.
        gateway_id: names the gateway in the records of its own actions.
        records_reloads: whether this worker records the reloads of its gateway: one of them does.
    """

    def __init__(
        self, named_tokens: NamedTokens, audit_log: AuditLog, gateway_id: str, *, records_reloads: bool
    ) -> None:
        self.named_tokens = named_tokens
        self.audit_log = audit_log
        self._gateway_id = gateway_id
        self._records_reloads = records_reloads
        self._tasks: set[asyncio.Task[None]] = set()

    def on_update(self, update: SettingsUpdate) -> None:
        """Record a reload of the settings, or its refusal."""
        if self._records_reloads:
            outcome = "bad_setting" if update.settings is None else DONE
            record = AuditRecord("gateway", self._gateway_id, "", _ACTION, outcome)
            self._spawn(self.audit_log.record(record))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Wait for the records that are being written."""
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def open_operator_access(
    settings: Settings, gateway_id: str, slot: int
) -> AsyncIterator[OperatorAccess]:
    """Open the stores, whose connections are made when they are first needed.

    Args:
        settings: name the queue's Redis.
        gateway_id: id of the gateway.
        slot: number of the worker in its gateway.
    """
    address = queue_address(settings)
    tokens = client(address, timeout_s=HTTP_TIMEOUT_S, connections_max=_CONNECTIONS)
    audit = client(address, timeout_s=_AUDIT_TIMEOUT_S, connections_max=_CONNECTIONS)
    access = OperatorAccess(
        NamedTokens(tokens, SHARED_CLOCK.now_s), AuditLog(audit), gateway_id, records_reloads=slot == 0
    )
    async with contextlib.AsyncExitStack() as closing:
        for redis in (tokens, audit):
            closing.push_async_callback(redis.aclose)
        closing.push_async_callback(access.close)
        yield access
