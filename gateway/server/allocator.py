"""What the C library does with large blocks of memory: it returns them to the system when they are freed.

glibc serves blocks beyond a threshold with mmap(2). It raises this threshold to the size of each such block that is
freed, up to 32 MiB (mallopt(3), M_MMAP_THRESHOLD): after the first request body of that size the next ones come from
the heap. There a growing body is copied from gap to gap, and the gaps stay with the process. Eight bodies of 31 MB at
once took a worker to 587 MB, and 312 MB stayed; with a fixed threshold it was 370 and 122 MB.
"""

import ctypes
from contextlib import suppress
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
LARGE_BYTES: Final = 1 << 20
"""A block of this size costs more to fill than to map."""
_SPARE_BYTES: Final = (
    8 << 20
)  # free memory at the heap's end that stays, so that small blocks seldom ask the system


def return_large_blocks() -> None:
    """Fix both thresholds. Nothing where the C library is not glibc: musl and macOS have no such threshold."""
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _SPARE_BYTES)
