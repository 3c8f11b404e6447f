"""The memory of a process after it has freed large blocks."""

import subprocess
import sys

SCRIPT = """
from pathlib import Path
from gateway.server.allocator import return_large_blocks

def resident_mb():
    return int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0]) // 1024

def bodies(count):
    grown = [bytearray() for _ in range(count)]
    for _ in range(100):
        for body in grown:
            body += bytes(250_000)
    return grown

return_large_blocks()
before = resident_mb()
bodies(1)
held = bodies(8)
lasting = [bytes(100_000) for _ in range(50)]  # 5 MB behind the bodies
del held
print(resident_mb() - before)
"""


def test_the_memory_of_large_bodies_is_returned() -> None:
    # In a process of its own, since it changes how this one allocates.
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 20
