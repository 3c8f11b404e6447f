import signal

import pytest

from gateway.bench.interrupts import signals_interrupt, uninterrupted
from tests.support.signals import dispositions


@pytest.mark.parametrize("word", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_interrupts_after_the_protected_block(word: signal.Signals) -> None:
    done = False
    with dispositions(signal.SIG_DFL):
        with pytest.raises(KeyboardInterrupt), signals_interrupt(), uninterrupted():
            signal.raise_signal(word)
            done = True
        assert signal.getsignal(word) is signal.SIG_DFL
    assert done


@pytest.mark.parametrize("word", [signal.SIGHUP, signal.SIGINT])
def test_ignored_signals_stay_ignored(word: signal.Signals) -> None:
    with dispositions(signal.SIG_IGN), signals_interrupt():
        signal.raise_signal(word)
        assert signal.getsignal(word) is signal.SIG_IGN
