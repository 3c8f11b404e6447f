"""The results of a scenario: figures, ratios held against a bar, and plots. All of it is JSON."""

from typing import Literal, NamedTuple

import msgspec


class Figure(msgspec.Struct, frozen=True):
    """One measured value.

    Attributes:
        name: what it is.
        value: how much.
        unit: "pings/s", "µs", "MB", ...; "" for a plain number.
    """

    name: str
    value: float
    unit: str = ""


class Ratio(msgspec.Struct, frozen=True):
    """A value held against a bar; mostly a ratio to a peer measured in the same run.

    Attributes:
        name: what is compared with what.
        value: the ratio (or figure).
        bar: what it should reach; None: told for information.
        at_most: whether smaller is better.
        unit: "" for a ratio.
    """

    name: str
    value: float
    bar: float | None = None
    at_most: bool = False
    unit: str = ""

    @property
    def reached(self) -> bool | None:
        """Whether the bar is met; None without one."""
        if self.bar is None:
            return None
        return self.value <= self.bar if self.at_most else self.value >= self.bar

    @property
    def verdict(self) -> str:
        """The comparison in words: "reached", or by how much not."""
        if self.bar is None or self.reached:
            return "reached" if self.reached else ""
        missing = self.value / self.bar - 1 if self.at_most else 1 - self.value / self.bar
        return f"missed by {missing:.0%}" if missing >= 0.005 else "missed by less than 1%"


class Line(msgspec.Struct, frozen=True):
    """One line, or one row of bars, of a plot."""

    name: str
    points: tuple[tuple[float | str, float], ...]


class Plot(msgspec.Struct, frozen=True):
    """A plot.

    Attributes:
        title: what it shows.
        kind: "bars" (each point's x is a label; lines are stacked) or "lines".
        unit: of the values.
        x_name: of the other axis.
        lines: the data.
        log_x: whether that axis is logarithmic.
    """

    title: str
    kind: Literal["bars", "lines"]
    unit: str
    lines: tuple[Line, ...]
    x_name: str = ""
    log_x: bool = False


class Comparison(NamedTuple):
    """The share of the peers in a result. The default is the comparison of a run that measures the gateway alone.

    Attributes:
        figures: measured values of the peers.
        ratios: of the gateway to the peers.
        notes: on the peers.
        bars: CPU by name of the peer, for plots.
    """

    figures: tuple[Figure, ...] = ()
    ratios: tuple[Ratio, ...] = ()
    notes: tuple[str, ...] = ()
    bars: tuple[tuple[str, float], ...] = ()


class Result(msgspec.Struct, frozen=True):
    """The result of one scenario.

    Attributes:
        scenario: its name.
        proves: one paragraph: what was on and what was not.
        figures: the measured values.
        ratios: held against peers and bars.
        notes: what a reader must know ("the simulator is the limit").
        plots: for the page.
    """

    scenario: str
    proves: str
    figures: tuple[Figure, ...]
    ratios: tuple[Ratio, ...] = ()
    notes: tuple[str, ...] = ()
    plots: tuple[Plot, ...] = ()
