"""Lines that are not read are dropped and counted; lines that are read arrive in order."""

import fcntl
import os
import re
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.logs.writer import LineWriter, QueuedStream

NOTICE = re.compile(r"<(\d+) lost>")
BUDGET_S = 30.0


def notice(number: int) -> str:
    return f"<{number} lost>"


class Pipe:
    """A pipe of one page."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        self.size = fcntl.fcntl(self.writer, fcntl.F_SETPIPE_SZ, 4096)

    def read_line(self) -> str:
        line = b""
        while not line.endswith(b"\n"):
            line += os.read(self.reader, 1)
        return line.decode()

    def read_until(self, last: str) -> list[str]:
        lines = [self.read_line()]
        while lines[-1] != last:
            lines.append(self.read_line())
        return lines


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    for descriptor in (made.reader, made.writer):
        os.close(descriptor)


def numbers(lines: list[str]) -> list[int]:
    return [int(line) for line in lines if line.strip().isdigit()]


def lost(lines: list[str]) -> int:
    return sum(int(found[1]) for line in lines if (found := NOTICE.match(line)))


def test_lines_arrive_in_order(pipe: Pipe) -> None:
    writer = LineWriter(pipe.writer, notice)
    threading.Thread(target=lambda: [writer.put(f"{n}\n") for n in range(5000)]).start()
    assert numbers(pipe.read_until("4999\n")) == list(range(5000))
    assert writer.dropped == 0


def test_a_blocked_reader_blocks_no_writer_and_gets_the_number_of_dropped_lines(pipe: Pipe) -> None:
    writer = LineWriter(pipe.writer, notice, lines_max=100)
    for number in range(5000):
        writer.put(f"{number}\n")  # returns although the pipe is not read
    dropped = writer.dropped
    assert 0 < dropped < 5000
    lines = [pipe.read_line()]
    while lost(lines) < dropped:  # no further line is logged, and the notice is written anyway
        lines.append(pipe.read_line())
    assert lost(lines) == dropped
    assert numbers(lines) == sorted(numbers(lines))
    assert len(numbers(lines)) == 5000 - dropped
    writer.put("last\n")
    assert pipe.read_until("last\n") == ["last\n"]
    assert writer.dropped == dropped


def test_the_notice_is_at_the_position_of_the_dropped_lines(pipe: Pipe) -> None:
    writer = LineWriter(pipe.writer, notice, bytes_max=4000)
    number = 0
    while writer.dropped == 0:
        writer.put(f"{number}\n")
        number += 1
    first_lost = number - 1
    lines = [pipe.read_line() for _ in range(first_lost)]
    writer.flush(BUDGET_S)
    writer.put("last\n")
    lines += pipe.read_until("last\n")
    assert numbers(lines) == list(range(first_lost))
    assert lines[-2:] == ["<1 lost>\n", "last\n"]


def test_a_slow_reader_gets_contiguous_parts_of_the_log(pipe: Pipe) -> None:
    writer = LineWriter(pipe.writer, notice, lines_max=100)
    number, lines = 0, []
    while number < 20_000:
        for _ in range(100):
            writer.put(f"{number}\n")
            number += 1
        lines += [pipe.read_line() for _ in range(20)]
    threading.Thread(target=lambda: (writer.flush(BUDGET_S), writer.put("last\n"))).start()
    lines += pipe.read_until("last\n")
    assert numbers(lines) == sorted(numbers(lines))
    assert len(numbers(lines)) + lost(lines) == 20_000
    assert sum(map(bool, map(NOTICE.match, lines))) < len(lines) / 10


def test_a_closed_reader_is_no_error(pipe: Pipe) -> None:
    writer = LineWriter(pipe.writer, notice)
    gone = os.dup(pipe.writer)
    os.close(pipe.reader)
    pipe.reader = gone  # for the fixture
    for number in range(100):
        writer.put(f"{number}\n")
    assert writer.flush(BUDGET_S)
    assert writer.dropped == 100


def test_a_full_disk_loses_lines_until_there_is_room(tmp_path: Path) -> None:
    """RLIMIT_FSIZE replaces the full disk: a write beyond it fails, and a write across it is truncated."""
    file = tmp_path / "log"
    before = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    writer = LineWriter(descriptor, notice)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[0][1]))
        for line in ("whole\n", "cut off\n", "lost\n"):
            writer.put(line)
        assert writer.flush(BUDGET_S)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before[0])
        signal.signal(signal.SIGXFSZ, before[1])
    writer.put("again\n")
    assert writer.flush(BUDGET_S)
    assert file.read_text() == "whole\ncut \n<2 lost>\nagain\n"
    assert writer.dropped == 2
    os.close(descriptor)


def test_a_descriptor_that_another_process_made_non_blocking_loses_nothing(pipe: Pipe) -> None:
    os.set_blocking(pipe.writer, False)
    writer = LineWriter(pipe.writer, notice)
    for number in range(3000):
        writer.put(f"{number}\n")
    writer.put("last\n")
    assert numbers(pipe.read_until("last\n")) == list(range(3000))
    assert writer.dropped == 0


def test_a_stream_passes_whole_lines(pipe: Pipe) -> None:
    stream = QueuedStream(pipe.writer, LineWriter(pipe.writer, notice))
    print("a", "b", file=stream, flush=True)
    stream.write("half")
    stream.write(" a line\nand \ud800")
    stream.write("\n")
    assert pipe.read_until("and \\ud800\n") == ["a b\n", "half a line\n", "and \\ud800\n"]
    assert (stream.fileno(), stream.isatty(), stream.writable()) == (pipe.writer, False, True)


PROGRAM = """
import os, sys
from gateway.logs import plain, writer
writer.detach(plain.dropped_notice(worker=3), stdout=str)
log = plain.PlainLog("tested")
{body}
"""


def ran(body: str, *, stdout: int | None = None, stderr: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", PROGRAM.format(body=body)], stdout=stdout, stderr=stderr)


def test_lines_before_a_crash_and_the_crash_itself_are_written() -> None:
    process = ran('print("out"); log.info("before"); raise KeyError("crash")', stdout=-1, stderr=-1)
    out, err = process.communicate(timeout=BUDGET_S)
    assert out == b"out\n"
    lines = err.decode().splitlines()
    assert '"event": "before"' in lines[0]
    assert lines[1].startswith("Traceback")
    assert lines[-1] == "KeyError: 'crash'"


def test_a_process_ends_although_its_log_is_not_read() -> None:
    reader, full = os.pipe()
    process = ran('[log.info("x" * 1000) for _ in range(5000)]; raise KeyError("crash")', stderr=full)
    os.close(full)
    assert process.wait(BUDGET_S) == 1
    os.close(reader)


def test_closed_descriptors_are_no_error_and_no_file_takes_their_place(tmp_path: Path) -> None:
    body = f'log.info("x"); print("y"); writer.flush(); file = open({str(tmp_path / "file")!r}, "w")'
    program = PROGRAM.format(body=body + "; sys.exit(0 if file.fileno() > 2 else 3)")
    script = 'exec "$0" -c "$1" <&- >&- 2>&-'
    done = subprocess.run(["/bin/sh", "-c", script, sys.executable, program], check=False, timeout=BUDGET_S)
    assert done.returncode == 0
    assert (tmp_path / "file").read_text() == ""
