"""A pause of a process without an event loop."""

import time

from gateway.system.pause import pause


def test_it_lasts_as_long_as_is_said() -> None:
    begun_s = time.monotonic()
    pause(0.05)
    assert time.monotonic() - begun_s >= 0.05
