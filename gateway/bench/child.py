"""The orchestrator's side of a role: a process that accepts orders and returns results."""

import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import msgspec

from gateway.bench.errors import CannotMeasure

Result = TypeVar("Result")
Progress = Callable[[float], None]
_END_S: Final = 10.0


class RoleMessage(msgspec.Struct):
    """One line of a role."""

    progress: float | None = None
    result: msgspec.Raw = msgspec.Raw()


class Child:
    """A running role.

    Args:
        role: its module in `gateway.bench.roles`.
        folder: folder for its standard error.
        program: program to run instead of its module.

    Attributes:
        pid: its process id.
    """

    def __init__(
        self,
        role: str,
        folder: Path,
        program: Path | None = None,
    ) -> None:
        self._role = role
        self._log = folder / f"{role}.log"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(program)] if program else [sys.executable, "-m", f"gateway.bench.roles.{role}"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                process_group=0,  # Ctrl-C is for the orchestrator
            )
        self.pid = self._process.pid

    def request(self, order: Any, kind: type[Result], progress: Progress | None = None) -> Result:
        """Send an order and wait for its result.

        Raises:
            CannotMeasure: the role ended instead.
        """
        self.send(order)
        return self.receive(kind, progress)

    def send(self, order: Any) -> None:
        """Send an order without waiting; `receive` returns its result."""
        if self._process.stdin is None:
            raise CannotMeasure(f"the {self._role} process accepts no orders")
        try:
            self._process.stdin.write(msgspec.json.encode(order) + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise self._ended() from error

    def receive(self, kind: type[Result], progress: Progress | None = None) -> Result:
        """The result of the oldest order without a received result."""
        while self._process.stdout is not None and (line := self._process.stdout.readline()):
            words = msgspec.json.decode(line, type=RoleMessage)
            if words.progress is None:
                return msgspec.json.decode(words.result, type=kind)
            if progress is not None:
                progress(words.progress)
        raise self._ended()

    def check(self) -> None:
        """Check that the role still runs; called while waiting for its effects.

        Raises:
            CannotMeasure: it has ended.
        """
        if self._process.poll() is not None:
            raise self._ended()

    def _ended(self) -> CannotMeasure:
        self._process.wait(_END_S)
        words = self._log.read_text(errors="replace").strip().splitlines()
        last = words[-1] if words else "it wrote no error"
        return CannotMeasure(f"the {self._role} process ended with {self._process.returncode}: {last}")

    def close(self) -> None:
        """Close its input, with which the role ends."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                # an order that was sent too late is still in the pipe's buffer
                with suppress(BrokenPipeError):
                    pipe.close()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
