import signal

import pytest

from gateway.bench.interrupts import signals_interrupt, uninterrupted


@pytest.mark.parametrize("word", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_interrupts_once_what_was_begun_is_done(word: signal.Signals) -> None:
    done = False
    with pytest.raises(KeyboardInterrupt), signals_interrupt(), uninterrupted():
        signal.raise_signal(word)
        done = True
    assert done
    assert signal.getsignal(word) is signal.SIG_DFL


def test_what_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals_interrupt():
            signal.raise_signal(signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
