"""The messages between the supervisor and its workers.

From the supervisor, on the worker's standard input: one line with the configuration, one with the settings, then one
line for each reload of the settings. The worker detects the end of the supervisor by the end of the file. From the
worker, on a pipe for each worker: one byte when the worker is ready, then one byte per second while its event loop
runs. Metrics have a separate channel (`gateway.telemetry.frames`), so that they delay neither.
"""

from typing import Final

import msgspec

from gateway.delivery.provider_registry import installed
from gateway.errors import BadSetting
from gateway.settings import Settings, from_json, to_json

READY: Final = b"r"
HEARTBEAT: Final = b"b"
HEARTBEAT_S: Final = 1.0
"""Interval of a worker's heartbeats."""

EXIT_SETTINGS: Final = 2
"""Exit status for an invalid setting: a restart cannot help."""


class WorkerConfig(msgspec.Struct, frozen=True):
    """The configuration of one worker process.

    Attributes:
        slot: number of the worker, from 0; a successor in the same slot has the same consumer name.
        gateway_id: the gateway's name among those that share a Redis.
        module: the module with the worker's `run`.
        command: the subcommand of `rhopush` that started the gateway: the worker's messages name it.
        socket_fd: descriptor of the listening socket.
        status_fd: descriptor of the pipe for READY and HEARTBEAT.
        metrics_fd: descriptor of the channel for `gateway.telemetry.frames`.
        rhoconnect_push_fd: descriptor of the RhoConnect Push service's listening socket; None: there is none.
        workers: number of worker processes, which share the limits of the gateway.
    """

    slot: int
    gateway_id: str
    module: str
    socket_fd: int
    status_fd: int
    metrics_fd: int
    command: str = "serve"
    rhoconnect_push_fd: int | None = None
    workers: int = 1

    @property
    def descriptors(self) -> tuple[int, ...]:
        """The descriptors that the worker inherits."""
        numbers = (self.socket_fd, self.status_fd, self.rhoconnect_push_fd, self.metrics_fd)
        return tuple(number for number in numbers if number is not None)


def pack(config: WorkerConfig, settings: Settings) -> bytes:
    """Encode the configuration and the settings, as one line each."""
    return msgspec.json.encode(config) + b"\n" + to_json(settings) + b"\n"


def unpack(config: bytes, settings: bytes) -> tuple[WorkerConfig, Settings]:
    """Decode the two lines of `pack`."""
    return msgspec.json.decode(config, type=WorkerConfig), from_json(settings, installed().settings_type)


class SettingsUpdate(msgspec.Struct, frozen=True):
    """The result of a reload of the settings.

    Attributes:
        settings: the new settings; None: the previous settings stay in force.
        error: the reason of a failed reload; "" after a successful one.
    """

    settings: Settings | None
    error: str = ""


def pack_settings_update(update: SettingsUpdate) -> bytes:
    """Encode an update as one line. After a failed reload the line contains only the error."""
    if update.settings is None:
        return msgspec.json.encode(update.error) + b"\n"
    return to_json(update.settings) + b"\n"


def unpack_settings_update(line: bytes) -> SettingsUpdate:
    """Decode a line of `pack_settings_update`.

    Raises:
        BadSetting: the line was not written by `pack_settings_update`.
    """
    try:
        if line.startswith(b'"'):
            return SettingsUpdate(None, msgspec.json.decode(line, type=str))
        return SettingsUpdate(from_json(line, installed().settings_type))
    except (ValueError, RecursionError) as error:
        raise BadSetting("the settings update of the supervisor cannot be decoded") from error
