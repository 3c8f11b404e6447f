"""A wrong wall clock for other processes, by Debian's libfaketime, whose offset a test can change at run time.

The monotonic clock stays correct, as it does when a host's clock is set.
"""

import sys
from pathlib import Path

from tests.support.requirements import missing

_LIBRARY = "libfaketimeMT.so.1"


class FakeTime:
    """The wall clock of all processes that are started with `environ`.

    Args:
        folder: folder of the file with the offset.
    """

    def __init__(self, folder: Path) -> None:
        found = sorted(Path("/usr/lib").glob(f"*/faketime/{_LIBRARY}"))
        if sys.platform != "linux" or not found:
            missing("libfaketime is not installed (Debian package faketime; `make test` as root installs it)")
        self._file = folder / "faketime"
        self.environ = {
            "LD_PRELOAD": str(found[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }
        self.set(0)

    def set(self, ahead_s: int) -> None:
        """Set the clock ahead of the true one by this time; negative: behind."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{ahead_s:+d}\n")
        new.replace(self._file)
