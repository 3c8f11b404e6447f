"""How busy a worker is."""

from gateway.fanout.cpu_load import SAMPLE_S, CpuLoad


class Times:
    """A clock and a count of CPU that the test moves."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.used_s = 7.0

    def clock(self) -> float:
        return self.now_s

    def used(self) -> float:
        return self.used_s

    def go(self, passed_s: float, used_s: float) -> None:
        self.now_s += passed_s
        self.used_s += used_s


def test_the_share_covers_the_time_since_the_last_sample() -> None:
    times = Times()
    cpu_load = CpuLoad(times.clock, times.used)
    times.go(2 * SAMPLE_S, SAMPLE_S)
    assert abs(cpu_load.share() - 0.5) < 1e-6
    times.go(1.5 * SAMPLE_S, 0)
    assert cpu_load.share() == 0


def test_samples_have_a_shortest_interval() -> None:
    times = Times()
    cpu_load = CpuLoad(times.clock, times.used)
    times.go(SAMPLE_S / 2, SAMPLE_S / 2)
    assert cpu_load.share() == 0
    times.go(SAMPLE_S, 0)
    assert abs(cpu_load.share() - 1 / 3) < 1e-6
