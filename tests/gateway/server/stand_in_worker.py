"""A worker that needs no store: each connection sends a command, and gets facts about the worker or disturbs it."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import time

from gateway.errors import BadSetting, StoreDown
from gateway.server.worker_channels import WorkerContext


async def run(context: WorkerContext) -> None:
    settings, rhoconnect_push_sock = context.settings, context.rhoconnect_push_sock
    if settings.apns.topic == "bad-setting":
        raise BadSetting("apns.topic: a worker found it bad")
    if settings.apns.topic == "store-down":
        raise StoreDown("Redis does not answer")
    if settings.apns.topic == "slow-start":
        await asyncio.sleep(3600)
    sys.stdout.write("a worker's stdout is not the supervisor's\n")
    open_connections: set[asyncio.Task[None]] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        word = (await reader.readline()).decode().strip()
        about = {
            "pid": os.getpid(),
            "slot": context.slot,
            "gateway_id": context.gateway_id,
            "workers": context.workers,
        }
        about["rhoconnect_push_port"] = (
            None if rhoconnect_push_sock is None else rhoconnect_push_sock.getsockname()[1]
        )
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
