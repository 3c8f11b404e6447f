"""Which sources push when their data changes (contract §5, docs/change-events.md).

| the source | why it does not push |
| --- | --- |
| is shared by all users (`partition_type: app`) | `app_partition` |
| is not in `events.sources`, where that is set | `not_listed` |
| has no `push_notify` that is true, where that is not set | `no_push_notify` |
"""

from typing import NamedTuple


class SourceRules(NamedTuple):
    """What the settings say about sources.

    Attributes:
        pushing: names of the sources that push.
        shared: names of the sources with an app partition.
        listed: `pushing` comes from `events.sources`, not from `push_notify`.
    """

    pushing: frozenset[str]
    shared: frozenset[str]
    listed: bool = False

    def refusal(self, source: str) -> str | None:
        """Why a change of this source pushes nobody; None: it pushes."""
        if source in self.shared:
            return "app_partition"
        if source in self.pushing:
            return None
        return "not_listed" if self.listed else "no_push_notify"
