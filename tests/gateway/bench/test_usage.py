import os
import subprocess
import sys

from gateway.bench.usage import PeakMemory, command_line, cpu_s, family, pss_bytes

SPIN = """
import time
while time.process_time() < 0.4:
    pass
print(1, flush=True)
input()
"""
GROW = "input(); kept = b'x' * 40_000_000; print(1, flush=True); input(); del kept; print(2, flush=True); input()"


def start(program: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", program]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def step(process: "subprocess.Popen[str]") -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    process.stdout.readline()


def test_cpu_time_equals_the_count_of_the_process() -> None:
    with start(SPIN) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert 0.39 <= cpu_s([process.pid]) < 0.6
        process.communicate("\n")
    assert cpu_s([process.pid]) == 0.0


def test_a_family_is_a_process_with_its_children() -> None:
    with start("input()") as process:
        assert process.pid in family(os.getpid())
        assert family(process.pid) == [process.pid]
        assert "input()" in command_line(process.pid)
        process.communicate("\n")


def test_the_peak_is_kept_after_memory_is_freed() -> None:
    with start(GROW) as process, PeakMemory(lambda: [process.pid]) as memory:
        step(process)
        while memory.peak_bytes < memory.first_bytes + 35_000_000:  # the next sample includes it
            pass
        step(process)
        assert pss_bytes([process.pid]) < memory.peak_bytes - 35_000_000
        process.communicate("\n")
    assert memory.samples[-1] == 0
