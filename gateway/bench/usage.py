"""CPU and memory of processes, as Linux counts them in /proc."""

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_SAMPLE_S: Final = 0.1
_PROC: Final = Path("/proc")


def cpu_s(pids: Iterable[int]) -> float:
    """User and system time of these processes, all their threads, in seconds; to 10 ms (proc(5), stat).

    A process that has ended counts nothing.
    """
    return sum(_ticks(pid) for pid in pids) / _TICKS_PER_S


def _ticks(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[11]) + int(fields[12]) if fields else 0


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name, which may contain spaces: the first is the state."""
    with suppress(OSError):
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return []


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    parents: dict[int, list[int]] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [pid]
    for one in found:
        found += parents.get(one, [])
    return found


def command_line(pid: int) -> str:
    """The command line of a process; empty once it has ended."""
    with suppress(OSError):
        return (_PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


def pss_bytes(pids: Iterable[int]) -> int:
    """Memory of these processes, shared pages counted in proportion (proc(5), smaps_rollup)."""
    return sum(_pss(pid) for pid in pids)


def _pss(pid: int) -> int:
    with suppress(OSError):
        for line in (_PROC / str(pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def restart_peak(pid: int) -> None:
    """Reset the peak of a process' resident memory to its present value (proc(5), clear_refs)."""
    with suppress(OSError):
        (_PROC / str(pid) / "clear_refs").write_text("5")


def peak_rss_bytes(pid: int) -> int:
    """The peak of a process' resident memory, shared pages in full (proc(5), VmHWM); 0 once it has ended."""
    with suppress(OSError):
        for line in (_PROC / str(pid) / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


class PeakMemory:
    """Samples the memory of processes ten times a second while the context is open.

    Args:
        pids: returns the processes; called at each sample, since workers may be replaced.

    Attributes:
        first_bytes: memory at the entry.
        peak_bytes: the highest sample.
        samples: all samples, in order.
    """

    def __init__(self, pids: Callable[[], Sequence[int]]) -> None:
        self._pids = pids
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self.samples: list[int] = []

    @property
    def first_bytes(self) -> int:
        """Memory at the entry."""
        return self.samples[0]

    @property
    def peak_bytes(self) -> int:
        """The highest sample."""
        return max(self.samples)

    def __enter__(self) -> Self:
        self.samples.append(pss_bytes(self._pids()))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
        self.samples.append(pss_bytes(self._pids()))

    def _sample(self) -> None:
        while not self._end.wait(_SAMPLE_S):
            self.samples.append(pss_bytes(self._pids()))
