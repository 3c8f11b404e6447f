"""Result of a scenario: figures, ratios compared with a bar, and plots. All of it is JSON."""

from typing import Literal, NamedTuple

import msgspec

Spread = tuple[float, float]
"""The lowest and the highest value of several runs."""


class Figure(msgspec.Struct, frozen=True, omit_defaults=True):
    """One measured value.

    Attributes:
        name: its name.
        value: the value; the median of several runs.
        unit: "pings/s", "µs", "MB", ...; "" for a plain number.
        spread: of several runs; None: there was one.
    """

    name: str
    value: float
    unit: str = ""
    spread: Spread | None = None


class Ratio(msgspec.Struct, frozen=True):
    """A value compared with a bar; mostly a ratio to a peer measured in the same run.

    Attributes:
        name: the compared quantities.
        value: the ratio (or figure); the median of several runs.
        bar: the value to reach; None: for information only.
        at_most: whether smaller is better.
        unit: "" for a ratio.
        spread: of several runs; None: there was one.
    """

    name: str
    value: float
    bar: float | None = None
    at_most: bool = False
    unit: str = ""
    spread: Spread | None = None

    @property
    def reached(self) -> bool | None:
        """Whether the bar is reached; None without a bar."""
        if self.bar is None:
            return None
        return self.value <= self.bar if self.at_most else self.value >= self.bar

    @property
    def verdict(self) -> str:
        """A text: "reached", or by how much the bar was missed."""
        if self.bar is None or self.reached:
            return "reached" if self.reached else ""
        missing = self.value / self.bar - 1 if self.at_most else 1 - self.value / self.bar
        return f"missed by {missing:.0%}" if missing >= 0.005 else "missed by less than 1%"


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line, or one row of bars, of a plot.

    Attributes:
        name: its name.
        points: position or label, and value; the medians of several runs.
        spreads: of each point; empty: there was one run.
    """

    name: str
    points: tuple[tuple[float | str, float], ...]
    spreads: tuple[Spread, ...] = ()


class Plot(msgspec.Struct, frozen=True):
    """A plot.

    Attributes:
        title: its title.
        kind: "bars" (each point's x is a label; lines are stacked) or "lines".
        unit: unit of the values.
        x_name: name of the other axis.
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
    """The contribution of peers to a result. The default is the comparison of a run that measures the gateway alone.

    Attributes:
        figures: measured values of the peers.
        ratios: ratios of the gateway to the peers.
        notes: notes about the peers.
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
        proves: one paragraph: the parts that ran and the parts that did not.
        figures: the measured values.
        ratios: comparisons with peers and bars.
        notes: facts that a reader needs ("the simulator is the limit").
        plots: plots for the page.
    """

    scenario: str
    proves: str
    figures: tuple[Figure, ...]
    ratios: tuple[Ratio, ...] = ()
    notes: tuple[str, ...] = ()
    plots: tuple[Plot, ...] = ()
