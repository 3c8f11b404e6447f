"""RhoConnect Push devices: long polls, all woken by one broadcast, and messages over HTTP and from inside.

On, in the measured process: the RhoConnect Push service as a worker opens it (HTTP, cookies, batches to Redis, the
channel that wakes polls) and the lane of RhoConnect Push devices. Off there: queue, fan-out and receipts before the
lane. Devices are sockets in a process of their own, 20,000 to a loopback address, and poll again at once. The peer
is a long poll on aiohttp without Redis and without authentication. Memory is the growth of a process just started
(PSS) from no device to all of them, before and after one round of wake-ups, divided by the number of devices.
"""

import resource
import secrets
import time
from pathlib import Path
from typing import Final, NamedTuple

import redis

from gateway.bench.bench import Bench, proves
from gateway.bench.child import Child
from gateway.bench.errors import CannotMeasure
from gateway.bench.result import Comparison, Figure, Ratio, Result
from gateway.bench.rhoconnect_push_devices import register
from gateway.bench.roles.polling_devices import PollingOrder, PollingResult
from gateway.bench.roles.rhoconnect_push import RhoConnectPushOrder, RhoConnectPushResult
from gateway.bench.scratch import scratch
from gateway.bench.store import Store
from gateway.bench.testbed import counted
from gateway.bench.usage import cpu_s, pss_bytes
from gateway.limits.connection_limits import ConnectionLimits
from protocols.rhoconnect_push.ids import Ids

DEVICES: Final = 20_000
FULL_DEVICES: Final = 100_000
MESSAGES: Final = 20_000
_SPARE: Final = 200
"""Connections of the service that are not those of devices."""
_IDLE_S: Final = 5.0


class _WaitingDevices(NamedTuple):
    """The cost of waiting devices in a process.

    Attributes:
        before_bytes, after_bytes: memory a device, before and after a round of wake-ups.
        idle: CPU while all wait, as a part of one core.
        wake_us: CPU a device for waking it and accepting its next poll.
    """

    before_bytes: float
    after_bytes: float
    idle: float
    wake_us: float


class _Posted(NamedTuple):
    """The cost of messages in the service's process, in µs of CPU, and in Redis, in µs and bytes of traffic."""

    http_us: float
    inside_us: float
    redis_us: float
    redis_bytes: float


def run(bench: Bench) -> Result:
    """Measure, beside a long poll on aiohttp."""
    wanted = bench.options.users or (FULL_DEVICES if bench.options.full else DEVICES)
    files = _raise_open_files_limit()
    devices = min(wanted, ConnectionLimits().most - _SPARE)
    messages = bench.pings(MESSAGES)
    secret = secrets.token_hex(16)
    with scratch() as folder, Store(folder, bench.options.redis) as store:
        bench.progress.begin(f"{devices:,} RhoConnect Push devices registered")
        register(store.client, Ids(secret.encode()), devices, bench.progress.on_progress)
        to_open = RhoConnectPushOrder("open", store.address, secret)
        with Child("rhoconnect_push", folder) as service, Child("polling_devices", folder) as crowd:
            opened = service.request(to_open, RhoConnectPushResult)
            posted = _posted(bench, (service, crowd, store), opened.port, secret, (devices, messages))
        _forget(store.client)
        with Child("rhoconnect_push", folder) as service, Child("polling_devices", folder) as crowd:
            opened = service.request(to_open, RhoConnectPushResult)
            ours = _waiting(bench, "rhoconnect_push", service, crowd, (opened.port, secret, devices))
        compared = _compared(bench, ours, folder, secret, devices) if bench.peers else Comparison()
    notes = [f"{wanted:,} devices were asked for; a process may have {files:,} open files"]
    return _result(devices, ours, compared, posted, notes if devices < wanted else [])


def _compared(bench: Bench, ours: _WaitingDevices, folder: Path, secret: str, devices: int) -> Comparison:
    """Let as many devices wait at the peer."""
    with Child("longpoll", folder) as peer, Child("polling_devices", folder) as crowd:
        opened = peer.request(RhoConnectPushOrder("open"), RhoConnectPushResult)
        theirs = _waiting(bench, "aiohttp", peer, crowd, (opened.port, secret, devices))
    return Comparison(
        figures=(
            Figure("aiohttp: memory a device, first poll", theirs.before_bytes, "bytes"),
            Figure("aiohttp: memory a device, after a wake-up", theirs.after_bytes, "bytes"),
            Figure("aiohttp: wake-up, CPU a device", theirs.wake_us, "µs"),
        ),
        ratios=(
            Ratio("memory a device, to aiohttp's", ours.after_bytes / theirs.after_bytes),
            Ratio("wake-up CPU a device, to aiohttp's", ours.wake_us / theirs.wake_us),
        ),
    )


def _result(
    devices: int, ours: _WaitingDevices, compared: Comparison, posted: _Posted, notes: list[str]
) -> Result:
    return Result(
        scenario="rhoconnect_push",
        proves=proves(__doc__),
        figures=(
            Figure("waiting devices", devices),
            Figure("memory a device, first poll", ours.before_bytes, "bytes"),
            Figure("wake-up, CPU a device", ours.wake_us, "µs"),
            *compared.figures,
            Figure("Redis CPU a message from inside", posted.redis_us, "µs"),
            Figure("Redis traffic a message from inside", posted.redis_bytes, "bytes"),
        ),
        ratios=(
            Ratio("memory a device, after a wake-up", ours.after_bytes, 3_072, True, "bytes"),
            *compared.ratios,
            Ratio("CPU while all wait", ours.idle * 100, 1.0, True, "% of a core"),
            Ratio("message over HTTP, CPU", posted.http_us, 60.0, True, "µs"),
            Ratio("message from inside, CPU", posted.inside_us, 25.0, True, "µs"),
        ),
        notes=tuple(notes),
    )


def _waiting(
    bench: Bench, name: str, service: Child, crowd: Child, where: tuple[int, str, int]
) -> _WaitingDevices:
    """Let all devices poll, wait, be woken and poll again."""
    port, secret, devices = where
    all_wait = RhoConnectPushOrder("waiting", count=devices)
    first = pss_bytes([service.pid])
    bench.progress.begin(f"{name}, {devices:,} devices connect")
    crowd.request(PollingOrder("poll", port, secret, devices), PollingResult, bench.progress.on_progress)
    service.request(all_wait, RhoConnectPushResult)
    before = pss_bytes([service.pid])
    idle = cpu_s([service.pid])
    time.sleep(_IDLE_S)
    begun = cpu_s([service.pid])
    crowd.send(PollingOrder("round", port, secret, devices))
    bench.progress.begin(f"{name}, {devices:,} devices are woken")
    service.request(RhoConnectPushOrder("send", count=devices), RhoConnectPushResult)
    answered = crowd.receive(PollingResult).answers
    service.request(all_wait, RhoConnectPushResult)
    if answered != devices:
        raise CannotMeasure(f"{answered} of {devices} devices received a message")
    woken = cpu_s([service.pid]) - begun
    counted({name: woken})
    after = pss_bytes([service.pid])
    if after <= first:
        raise CannotMeasure(f"too few devices: the memory of {name} did not grow with them")
    return _WaitingDevices(
        (before - first) / devices, (after - first) / devices, (begun - idle) / _IDLE_S, woken / devices * 1e6
    )


def _posted(
    bench: Bench, who: tuple[Child, Child, Store], port: int, secret: str, counts: tuple[int, int]
) -> _Posted:
    """Measure messages to devices that do not wait: over HTTP, then from inside."""
    service, crowd, store = who
    devices, messages = counts
    for count in (1_000, messages):  # the first round is a warm-up
        bench.progress.begin(f"rhoconnect_push, {count:,} messages over HTTP")
        begun = cpu_s([service.pid])
        order = PollingOrder("post", port, secret, count, devices, bench.options.connections)
        answers = crowd.request(order, PollingResult).answers
        http_s = cpu_s([service.pid]) - begun
        if answers != count:
            raise CannotMeasure(f"{answers} of {count} messages were accepted")
    bench.progress.begin(f"rhoconnect_push, {messages:,} messages from inside")
    before = store.counters()
    inside_s, sent = 0.0, 0
    while sent < messages:
        done = service.request(
            RhoConnectPushOrder("send", count=min(devices, messages)), RhoConnectPushResult
        )
        inside_s += done.cpu_s
        sent += min(devices, messages)
    redis = store.counters().since(before)
    return _Posted(
        http_s / messages * 1e6, inside_s / sent * 1e6, redis.cpu_s / sent * 1e6, redis.network_bytes / sent
    )


def _forget(client: redis.Redis) -> None:
    """Remove the queued messages, so that every device waits."""
    for pattern in ("que:*", "col:*"):
        names = list(client.scan_iter(pattern, count=1000))
        for first in range(0, len(names), 1000):
            client.unlink(*names[first : first + 1000])


def _raise_open_files_limit() -> int:
    """Raise the limit of open files as far as possible, also for the children; returns it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
