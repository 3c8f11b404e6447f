"""What a supervisor and its workers say to each other.

Down, on the worker's standard input: one line with the order, one with the settings, then one of news whenever
the settings were read anew, until the supervisor ends, which the worker sees as the end of the file. Up, on a
pipe of the worker's own: one byte when all doors are open, then one a second as long as its event loop turns.
Metrics have a channel beside these (`gateway.telemetry.frames`), so that they can delay neither.
"""

from typing import Final

import msgspec

from gateway.delivery.provider_registry import installed
from gateway.errors import BadSetting
from gateway.settings import Settings, from_json, to_json

READY: Final = b"r"
HEARTBEAT: Final = b"b"
HEARTBEAT_S: Final = 1.0
"""How often a worker's loop shows that it turns."""

EXIT_SETTINGS: Final = 2
"""Exit status for a wrong setting: starting again cannot help."""


class WorkerConfig(msgspec.Struct, frozen=True):
    """What one worker process is told at its start.

    Attributes:
        slot: its number, from 0; a successor in the same slot has the same consumer name.
        gateway_id: the gateway's name among those that share a Redis.
        module: where its `run` is.
        socket_fd: descriptor of the listening socket.
        status_fd: descriptor of the pipe for READY and BEAT.
        metrics_fd: descriptor of the channel for `gateway.telemetry.frames`.
        rhoconnect_push_fd: descriptor of the RhoConnect Push service's listening socket; None: there is none.
        workers: how many there are: they share what is limited a gateway.
    """

    slot: int
    gateway_id: str
    module: str
    socket_fd: int
    status_fd: int
    metrics_fd: int
    rhoconnect_push_fd: int | None = None
    workers: int = 1

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What the worker inherits."""
        numbers = (self.socket_fd, self.status_fd, self.rhoconnect_push_fd, self.metrics_fd)
        return tuple(number for number in numbers if number is not None)


def pack(order: WorkerConfig, settings: Settings) -> bytes:
    """Both lines."""
    return msgspec.json.encode(order) + b"\n" + to_json(settings) + b"\n"


def unpack(order: bytes, settings: bytes) -> tuple[WorkerConfig, Settings]:
    """What `pack` was given, from its two lines."""
    return msgspec.json.decode(order, type=WorkerConfig), from_json(settings, installed().settings_type)


class SettingsUpdate(msgspec.Struct, frozen=True):
    """What came of reading the settings anew.

    Attributes:
        settings: those in force from now on; None: the old ones stay.
        error: why they stay; "" where nothing was wrong.
    """

    settings: Settings | None
    error: str = ""


def pack_settings_update(update: SettingsUpdate) -> bytes:
    """One line. A line without settings holds only what was wrong with them."""
    if update.settings is None:
        return msgspec.json.encode(update.error) + b"\n"
    return to_json(update.settings) + b"\n"


def unpack_settings_update(line: bytes) -> SettingsUpdate:
    """What `pack_settings_update` was given.

    Raises:
        BadSetting: it is no line of `pack_settings_update`.
    """
    try:
        if line.startswith(b'"'):
            return SettingsUpdate(None, msgspec.json.decode(line, type=str))
        return SettingsUpdate(from_json(line, installed().settings_type))
    except (ValueError, RecursionError) as error:
        raise BadSetting("the settings that the supervisor sent cannot be read") from error
