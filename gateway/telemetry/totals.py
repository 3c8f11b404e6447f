"""Merged metrics of all workers, including those that have ended. No I/O, no clock.

| metric | a live worker counts | a worker that has ended counts |
| --- | --- | --- |
| counter, histogram | yes | yes: a counter never decreases while the supervisor runs |
| gauge | according to its `Merge` | no |
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from gateway.telemetry.values import Change, Definition, Labels, Merge, Numbers


class Merged(NamedTuple):
    """One metric over all workers: its state by label values. The state of a gauge is one number."""

    definition: Definition
    children: Mapping[Labels, Numbers]


States = dict[tuple[str, Labels], Numbers]


class Totals:
    """Stores the newest state of each source, and the sum of those that have ended.

    Args:
        definitions: every metric, by its name; states of other metrics are ignored.
    """

    def __init__(self, definitions: Mapping[str, Definition]) -> None:
        self._definitions = definitions
        self._live: dict[int, States] = {}
        self._ended: States = {}

    def take(self, source: int, changes: Iterable[Change]) -> None:
        """Store the states that a source reports. A state that fits no definition is ignored."""
        states = self._live.setdefault(source, {})
        for name, labels, numbers in changes:
            definition = self._definitions.get(name)
            if (
                definition is not None
                and len(numbers) == definition.length
                and len(labels) == len(definition.label_names)
            ):
                states[name, labels] = numbers

    def end(self, source: int) -> None:
        """Record the end of a source: its counts stay, its gauges are removed."""
        for (name, labels), numbers in self._live.pop(source, {}).items():
            if self._definitions[name].kind != "gauge":
                before = self._ended.get((name, labels))
                self._ended[name, labels] = numbers if before is None else _summed((before, numbers))

    def merged(self) -> Iterator[Merged]:
        """Every metric, in the order of the definitions."""
        found: dict[str, dict[Labels, list[Numbers]]] = {name: {} for name in self._definitions}
        for states in (self._ended, *self._live.values()):
            for (name, labels), numbers in states.items():
                found[name].setdefault(labels, []).append(numbers)
        for name, children in found.items():
            definition = self._definitions[name]
            merge = _MERGES[definition.merge] if definition.kind == "gauge" else _summed
            yield Merged(definition, {labels: merge(states) for labels, states in children.items()})


def _summed(states: Sequence[Numbers]) -> Numbers:
    return states[0] if len(states) == 1 else tuple(map(sum, zip(*states, strict=True)))


def _most_recent(states: Sequence[Numbers]) -> Numbers:
    return max(states, key=lambda state: state[1])[:1]


_MERGES: Final[Mapping[Merge, Callable[[Sequence[Numbers]], Numbers]]] = {
    Merge.SUM: _summed,
    Merge.MAX: max,
    Merge.MIN: min,
    Merge.MOST_RECENT: _most_recent,
}
