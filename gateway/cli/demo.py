"""Run a demonstration: the gateway with its embedded store, simulated APNs and FCM, and three users with one device
each.

It has no requirements. Every push that a device receives is printed as one line. Ctrl-C ends everything.
"""

import argparse
import asyncio
import os
import re
import secrets
import signal
import socket
import sys
import tempfile
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import aiohttp
import yaml

from gateway.cli.demo_pushes import PushReporter, of_message, of_record
from gateway.cli.options import port
from gateway.errors import RhoPushError
from gateway.simulators import ApnsSimulator, Authority, FcmSimulator, Hosting, SimulatedRecord
from gateway.simulators.apns import SIMULATION as APNS_SIMULATION
from gateway.simulators.client_files import TOPIC, write_client_files
from gateway.simulators.fcm import SIMULATION as FCM_SIMULATION
from gateway.simulators.rhoconnect_push_device import Received, RhoConnectPushDevice
from protocols.webhooks.events import PING_EVENTS

_START_S: Final = 60.0
_READY: Final = "ready "
_RHOCONNECT_PUSH_APP: Final = "demo-app"
_ID: Final = re.compile("[0-9a-f]{32}")
_OWNERS: Final[Mapping[str, str]] = {"apns": "alice", "fcm": "bob"}
"""Owner of the only device of each simulated provider."""


class DemoFailed(RhoPushError):
    """The gateway did not start, or refused the users of the demo; its log lines above give the reason."""

    code = "demo_failed"
    label = "demo_failed"


class DemoDevice(NamedTuple):
    """A simulated device's registration (contract §2.1)."""

    user: str
    what: str
    push_type: str
    pin: str


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
        authority = Authority(["127.0.0.1"])
        pushes = _Pushes()
        hosting = Hosting(authority=authority, on_push=pushes.on_record)
        apns = await stack.enter_async_context(ApnsSimulator(hosting=hosting))
        fcm = await stack.enter_async_context(FcmSimulator("demo-project", hosting=hosting))
        rhoconnect_push_port = _free_port()
        clients = {
            "apns": APNS_SIMULATION.client_files(apns, TOPIC),
            "fcm": FCM_SIMULATION.client_files(fcm, TOPIC),
        }
        settings = _settings(write_client_files(folder, clients), folder, rhoconnect_push_port)
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
        rhoconnect_push = await _register_users(
            session, token, f"http://127.0.0.1:{rhoconnect_push_port}", stack, pushes
        )
        _print_instructions(url, token, rhoconnect_push)
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait([stopping, ended], return_when=asyncio.FIRST_COMPLETED)
        return 0 if stopping.done() else 1


# -- gateway -------------------------------------------------------------------------------------------------


def _settings(path: Path, folder: Path, rhoconnect_push_port: int) -> Path:
    """Add to the simulators' settings file: a data folder, and the permission for devices to register."""
    found: dict[str, Any] = yaml.safe_load(path.read_text())
    (said,) = found.values()
    said["push_server"] = f"http://{_RHOCONNECT_PUSH_APP}@127.0.0.1:{rhoconnect_push_port}/"
    said["gateway"] |= {
        "data_dir": str(folder / "data"),
        "auth": {"devices": "open"},
        "rhoconnect_push": {"port": rhoconnect_push_port},
        "resque": {"queues": []},
        "console": {"demo": True},
        "webhooks": {"demo": {"url": "redis-stream://demo-events", "events": list(PING_EVENTS)}},
    }
    path.write_text(yaml.safe_dump(found))
    return path


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


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


async def _register_users(
    session: aiohttp.ClientSession,
    token: str,
    rhoconnect_push_url: str,
    stack: AsyncExitStack,
    pushes: "_Pushes",
) -> bool:
    """Register three users with one device each; returns whether the RhoConnect Push device could register."""
    for demo_device in (
        DemoDevice("alice", "Apple", "apple", secrets.token_hex(32)),
        DemoDevice("bob", "ANDROID", "fcm", secrets.token_urlsafe(24)),
    ):
        await _register(session, demo_device, await _log_in(session, demo_device.user))
    cookie = await _log_in(session, "carol")
    device = RhoConnectPushDevice(rhoconnect_push_url, "carol", "demo", cookie, on_message=pushes.on_message)
    await stack.enter_async_context(device)
    try:
        pin = await device.register(_RHOCONNECT_PUSH_APP)
    except (RhoPushError, aiohttp.ClientError, OSError):
        return False
    await _register(session, DemoDevice("carol", "ANDROID", "rhoconnect_push", pin), cookie)
    polling = asyncio.create_task(device.run())
    stack.push_async_callback(_end, polling)
    return True


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def _log_in(session: aiohttp.ClientSession, user: str) -> str:
    """Log the user in; returns the cookie of the session."""
    body = {"login": user, "password": "demo", "remember_me": 1}
    async with session.post("/rc/v1/app/login", json=body) as answer:
        if answer.status != 200:
            raise DemoFailed(f"{user} cannot log in: {answer.status} {await answer.text()}")
        return answer.headers["Set-Cookie"].partition(";")[0]


async def _register(session: aiohttp.ClientSession, demo_device: DemoDevice, cookie: str) -> None:
    headers = {"Cookie": cookie}
    async with session.post("/rc/v1/clients", headers=headers) as answer:
        client_id = (await answer.json())["client"]["client_id"]
    fields = {
        "device_type": demo_device.what,
        "device_push_type": demo_device.push_type,
        "device_pin": demo_device.pin,
        "device_port": "100",
        "device_app_id": TOPIC,
        "device_app_version": "1.0",
    }
    async with session.post(f"/rc/v1/clients/{client_id}/register", json=fields, headers=headers) as answer:
        if answer.status != 200:
            raise DemoFailed(
                f"the device of {demo_device.user} cannot register: {answer.status} {await answer.text()}"
            )


# -- output --------------------------------------------------------------------------------------------------


def _print_instructions(url: str, token: str, rhoconnect_push: bool) -> None:
    users = ["alice", "bob", "carol"] if rhoconnect_push else ["alice", "bob"]
    devices = "alice has an Apple device, bob an Android device (FCM)" + (
        ", carol a RhoConnect Push device" if rhoconnect_push else ""
    )
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


class _Pushes:
    """Prints each push as one line, and reports the accepted ones to the console."""

    def __init__(self) -> None:
        self.reporter: PushReporter | None = None

    def on_record(self, record: SimulatedRecord) -> None:
        """Take a request to a simulator."""
        _print(f"{record.line()}{_latency(_ping_id(record))}")
        if record.accepted and self.reporter is not None:
            self.reporter.add(of_record(record, _OWNERS[record.provider]))

    def on_message(self, received: Received) -> None:
        """Take a message of RhoConnect Push."""
        words = [f"{name}={value}" for name, value in received.data.items() if name != "alert"]
        _print(" ".join(["rhoconnect_push carol", repr(received.data.get("alert", "")), *words]))
        if self.reporter is not None:
            self.reporter.add(of_message(received.data, "carol"))


def _ping_id(record: SimulatedRecord) -> str:
    """Return the id of the ping: the notification's tag is this id unless the caller chose another."""
    if record.provider == "apns":
        return record.headers.get("apns-id", "").replace("-", "")
    message = record.payload.get("message", {}) if isinstance(record.payload, dict) else {}
    return str(message.get("android", {}).get("notification", {}).get("tag", ""))


def _latency(ping_id: str) -> str:
    """Return the time from ingress to device: a ping's id begins with its time of arrival in milliseconds."""
    if _ID.fullmatch(ping_id) is None:
        return ""
    return f" {time.time() * 1000 - int(ping_id[:12], 16):.0f} ms"


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
