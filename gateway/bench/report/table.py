"""A result as text, for the terminal."""

from collections.abc import Iterator

from gateway.bench.result import Ratio, Result, Spread


def table(result: Result) -> str:
    """Figures, then their comparisons with bars, then notes for the reader."""
    return "\n".join(_lines(result)) + "\n"


def _lines(result: Result) -> Iterator[str]:
    yield result.scenario
    names = [figure.name for figure in result.figures] + [ratio.name for ratio in result.ratios]
    width = max(map(len, names), default=0)
    for figure in result.figures:
        value = f"{amount(figure.value):>12} {figure.unit}"
        yield f"  {figure.name:<{width}}  {value}{_bracketed(figure.spread)}".rstrip()
    for ratio in result.ratios:
        value = f"{amount(ratio.value):>12} {ratio.unit:<3}{_bracketed(ratio.spread)}"
        yield f"  {ratio.name:<{width}}  {value} {bar(ratio)}".rstrip()
    for note in result.notes:
        yield f"  note: {note}"


def between(spread: Spread) -> str:
    """The lowest and the highest value of several runs."""
    return f"{amount(spread[0])} to {amount(spread[1])}"


def _bracketed(spread: Spread | None) -> str:
    return "" if spread is None else f" ({between(spread)})"


def bar(ratio: Ratio) -> str:
    """The bar and whether it was reached."""
    if ratio.bar is None:
        return ""
    sign = "≤" if ratio.at_most else "≥"
    return f"{sign} {amount(ratio.bar)}: {ratio.verdict}"


def amount(value: float) -> str:
    """A number with three significant digits, and all digits before the point."""
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
