"""A pause of a process without an event loop."""

import time

from gateway.system.pause import pause


def test_the_pause_has_the_given_length() -> None:
    begun_s = time.monotonic()
    pause(0.05)
    assert time.monotonic() - begun_s >= 0.05
