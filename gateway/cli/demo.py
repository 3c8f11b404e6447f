"""Run a demonstration: the gateway with its embedded store, simulated providers, and a user with one device for each
installed provider that has a simulated device.

No other server or account is required. Every push that a device receives is printed as one line. Ctrl-C ends
everything.
"""

import argparse
import asyncio
import os
import secrets
import signal
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, Final, cast

import aiohttp
import yaml

from gateway.cli.demo_pushes import PushReporter, push_of
from gateway.cli.options import port
from gateway.console.demo import demo_owners
from gateway.delivery.provider_registry import Providers, installed
from gateway.errors import RhoPushError
from gateway.simulators import Authority
from gateway.simulators.client_files import TOPIC, write_client_files
from gateway.simulators.demo_device import DemoDevice, DemoUser, ReceivedPush
from protocols.webhooks.events import PING_EVENTS

_START_S: Final = 60.0
_READY: Final = "ready "


class DemoFailed(RhoPushError):
    """The gateway did not start, or refused the users of the demo; its log lines above give the reason."""

    code = "demo_failed"
    label = "demo_failed"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `rhopush demo`."""
    parser.add_argument(
        "--port", type=port, default=9292, help="port to listen on; 0: any free port (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Run the demo until Ctrl-C; returns the exit status.

    Raises:
        DemoFailed: the gateway did not start (its port is taken, for example).
    """
    return asyncio.run(_demo(args.port))


async def _demo(at_port: int) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rhopush-demo-")))
        pushes = _Pushes()
        devices = _devices(installed(), pushes)
        authority = Authority(["127.0.0.1"])
        clients = {name: await one.device.open(stack, authority) for name, one in devices.items()}
        settings = _settings(write_client_files(folder, clients), folder)
        token = secrets.token_hex(16)
        gateway = await _start(settings, at_port, token)
        stack.push_async_callback(_stop, gateway)
        ended = asyncio.create_task(gateway.wait())
        stack.callback(ended.cancel)
        url = await _ready(gateway, ended)
        session = await stack.enter_async_context(aiohttp.ClientSession(url))
        pushes.reporter = PushReporter(session, token)
        reporting = asyncio.create_task(pushes.reporter.run())
        stack.push_async_callback(_end, reporting)
        registered = [one for one in devices.values() if await _register_owner(session, stack, one)]
        _print_instructions(url, token, registered)
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait([stopping, ended], return_when=asyncio.FIRST_COMPLETED)
        return 0 if stopping.done() else 1


# -- gateway -------------------------------------------------------------------------------------------------


def _settings(path: Path, folder: Path) -> Path:
    """Add to the simulators' settings file: a data folder, and the permission for devices to register."""
    found: dict[str, Any] = yaml.safe_load(path.read_text())
    (environment,) = found.values()
    environment["gateway"] |= {
        "data_dir": str(folder / "data"),
        "auth": {"devices": "open"},
        "resque": {"queues": []},
        "console": {"demo": True},
        "webhooks": {"demo": {"url": "redis-stream://demo-events", "events": list(PING_EVENTS)}},
    }
    path.write_text(yaml.safe_dump(found))
    return path


async def _start(settings: Path, at_port: int, token: str) -> Process:
    words = ["-c", "from gateway.cli import main; raise SystemExit(main())"]
    words += ["serve", "--settings", str(settings), "--env", "development", "--port", str(at_port)]
    # A separate session: Ctrl-C reaches the demo alone, which stops the gateway in order.
    return await asyncio.create_subprocess_exec(
        sys.executable, *words, stdout=PIPE, env=_environment(token), start_new_session=True
    )


def _environment(token: str) -> Mapping[str, str]:
    """Return the environment of this process, without the variables that name a real Redis or project."""
    foreign = ("RHOPUSH_", "REDIS", "RHO_ENV", "RACK_ENV", "GOOGLE_APPLICATION_CREDENTIALS", "PSWRD")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return {**kept, "API_TOKEN": token}


async def _ready(gateway: Process, ended: asyncio.Task[int]) -> str:
    reading = asyncio.create_task(cast("asyncio.StreamReader", gateway.stdout).readline())
    await asyncio.wait([reading, ended], timeout=_START_S, return_when=asyncio.FIRST_COMPLETED)
    line = reading.result().decode() if reading.done() else ""
    reading.cancel()
    if not line.startswith(_READY):
        raise DemoFailed("the gateway did not start")
    return line.removeprefix(_READY).strip()


async def _stop(gateway: Process) -> None:
    if gateway.returncode is None:
        gateway.send_signal(signal.SIGTERM)
        await gateway.wait()


# -- users ---------------------------------------------------------------------------------------------------


class _Pushes:
    """The reporter of the pushes: the devices exist before the gateway to which it reports."""

    def __init__(self) -> None:
        self.reporter: PushReporter | None = None


class _OwnedDevice:
    """A simulated device with its owner; prints each push to it, and reports the accepted ones to the console.

    Args:
        provider: the provider.
        user: the owner.
        kind: the class of the device.
        pushes: reports the pushes.
    """

    def __init__(self, provider: str, user: str, kind: type[DemoDevice], pushes: _Pushes) -> None:
        self.provider = provider
        self.user = user
        self.device = kind(self._on_received)
        self._pushes = pushes

    def _on_received(self, push: ReceivedPush) -> None:
        _print(push.line)
        reporter = self._pushes.reporter
        if push.content is not None and reporter is not None:
            reporter.add(push_of(push.content, self.provider, self.user))


def _devices(providers: Providers, pushes: _Pushes) -> dict[str, _OwnedDevice]:
    """The simulated device of each provider that has one."""
    owners = demo_owners(providers.entries.values())
    kinds = providers.demo_devices()
    return {name: _OwnedDevice(name, owners[name], kind, pushes) for name, kind in kinds.items()}


async def _register_owner(session: aiohttp.ClientSession, stack: AsyncExitStack, owned: _OwnedDevice) -> bool:
    """Register a user with the device; returns whether the device could register with its provider."""
    cookie = await _log_in(session, owned.user)
    try:
        pin = await owned.device.register(stack, DemoUser(owned.user, "demo", cookie))
    except (RhoPushError, aiohttp.ClientError, OSError):
        return False
    await _register(session, owned, pin, cookie)
    return True


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def _log_in(session: aiohttp.ClientSession, user: str) -> str:
    """Log the user in; returns the cookie of the session."""
    body = {"login": user, "password": "demo", "remember_me": 1}
    async with session.post("/rc/v1/app/login", json=body) as answer:
        await _require_success(answer, f"{user} cannot log in")
        return answer.headers["Set-Cookie"].partition(";")[0]


async def _register(session: aiohttp.ClientSession, owned: _OwnedDevice, pin: str, cookie: str) -> None:
    headers = {"Cookie": cookie}
    failure = f"the device of {owned.user} cannot register"
    async with session.post("/rc/v1/clients", headers=headers) as answer:
        await _require_success(answer, failure)
        client_id = (await answer.json())["client"]["client_id"]
    fields = {
        "device_type": owned.device.device_type,
        "device_push_type": owned.device.push_type,
        "device_pin": pin,
        "device_port": "100",
        "device_app_id": TOPIC,
        "device_app_version": "1.0",
    }
    async with session.post(f"/rc/v1/clients/{client_id}/register", json=fields, headers=headers) as answer:
        await _require_success(answer, failure)


async def _require_success(answer: aiohttp.ClientResponse, failure: str) -> None:
    if answer.status != 200:
        raise DemoFailed(f"{failure}: {answer.status} {await answer.text()}")


# -- output --------------------------------------------------------------------------------------------------


def _print_instructions(url: str, token: str, registered: Sequence[_OwnedDevice]) -> None:
    users = [one.user for one in registered]
    devices = ", ".join(f"{one.user} has {one.device.description}" for one in registered)
    listed = ", ".join(f'"{user}"' for user in users)
    body = f'{{"user_id": [{listed}], "message": "hello world", "sources": "Product", "vibrate": 2000}}'
    _print(f"{_READY}{url}")
    _print(f"API token {token}")
    _print(f"console {url}/console (log in with the API token)")
    _print(f"{devices}; ping them:")
    _print(
        f"curl -i {url}/rc/v1/users/ping -H 'Content-Type: application/json' "
        f"-H 'X-RhoConnect-API-TOKEN: {token}' -d '{body}'"
    )


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
