"""A worker that needs no store: each connection sends a command, and gets facts about the worker or disturbs it."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from typing import Any

from gateway.errors import BadSetting, StoreDown
from gateway.server.ipc import SettingsUpdate
from gateway.server.worker_channels import WorkerContext


async def run(context: WorkerContext) -> None:
    settings = context.settings
    if settings.apns.topic == "bad-setting":
        raise BadSetting("apns.topic: a worker found it bad")
    if settings.apns.topic == "store-down":
        raise StoreDown("Redis does not answer")
    if settings.apns.topic == "slow-start":
        await asyncio.sleep(3600)
    sys.stdout.write("a worker's stdout is not the supervisor's\n")
    open_connections: set[asyncio.Task[None]] = set()
    updates = _updates(context)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        word = (await reader.readline()).decode().strip()
        about = _facts(context, updates)
        if word == "stick":
            writer.write(b"sticking\n")
            time.sleep(3600)  # the loop stands still
        if word == "fall":
            os.kill(os.getpid(), signal.SIGKILL)
        if word == "linger":
            writer.write(b"lingering\n")
            await reader.readline()
        writer.write(json.dumps(about).encode() + b"\n")
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.close()

    async def tracked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_connections.add(task)
        await answer(reader, writer)
        open_connections.discard(task)

    server = await asyncio.start_server(tracked, sock=context.sock)
    context.ready()
    await context.stop.wait()
    server.close()
    if open_connections:
        await asyncio.wait(open_connections, timeout=settings.drain_s)


def _updates(context: WorkerContext) -> list[SettingsUpdate]:
    """The list to which reloads of the settings are added."""
    updates: list[SettingsUpdate] = []
    if context.channels is not None:
        context.channels.settings_feed.subscribe(updates.append)
    return updates


def _facts(context: WorkerContext, updates: list[SettingsUpdate]) -> dict[str, Any]:
    sock = context.rhoconnect_push_sock
    return {
        "pid": os.getpid(),
        "slot": context.slot,
        "gateway_id": context.gateway_id,
        "workers": context.workers,
        "apps": len(context.settings.apps),
        "rhoconnect_push_port": None if sock is None else sock.getsockname()[1],
        "reload_error": updates[-1].error if updates else None,
    }
