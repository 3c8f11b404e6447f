"""Several runs of one scenario as one result: medians, with the lowest and the highest value."""

from collections.abc import Iterable, Sequence
from itertools import chain
from statistics import median

import msgspec

from gateway.bench.result import Figure, Line, Plot, Ratio, Result, Spread


def median_of(runs: Sequence[Result]) -> Result:
    """The result of several runs; that of one run as it is.

    Values belong together by name, points of a plot by their position. A value that a run lacks is left out. The bar of
    a ratio is compared with the median.

    Args:
        runs: at least one, all of the same scenario.
    """
    first = runs[0]
    if len(runs) == 1:
        return first
    return Result(
        scenario=first.scenario,
        proves=first.proves,
        figures=tuple(_figures(runs)),
        ratios=tuple(_ratios(runs)),
        notes=tuple(dict.fromkeys(chain.from_iterable(run.notes for run in runs))),
        plots=tuple(_plots(runs)),
    )


def _spread(values: Sequence[float]) -> Spread:
    return min(values), max(values)


def _figures(runs: Sequence[Result]) -> Iterable[Figure]:
    for figure in runs[0].figures:
        values = [one.value for run in runs for one in run.figures if one.name == figure.name]
        if len(values) == len(runs):
            yield msgspec.structs.replace(figure, value=median(values), spread=_spread(values))


def _ratios(runs: Sequence[Result]) -> Iterable[Ratio]:
    for ratio in runs[0].ratios:
        values = [one.value for run in runs for one in run.ratios if one.name == ratio.name]
        if len(values) == len(runs):
            yield msgspec.structs.replace(ratio, value=median(values), spread=_spread(values))


def _plots(runs: Sequence[Result]) -> Iterable[Plot]:
    for plot in runs[0].plots:
        same = [one for run in runs for one in run.plots if one.title == plot.title]
        lines = tuple(_line(line, same, len(runs)) for line in plot.lines)
        yield msgspec.structs.replace(plot, lines=tuple(line for line in lines if line.points))


def _line(line: Line, plots: Sequence[Plot], runs: int) -> Line:
    of_runs = [dict(one.points) for plot in plots for one in plot.lines if one.name == line.name]
    known = len(of_runs) == runs
    positions = [
        position for position, _ in line.points if known and all(position in points for points in of_runs)
    ]
    values = [[points[position] for points in of_runs] for position in positions]
    points = tuple((position, median(at)) for position, at in zip(positions, values, strict=True))
    return Line(line.name, points, tuple(_spread(at) for at in values))
