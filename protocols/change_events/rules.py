"""Rules for the sources whose data changes cause pushes (contract §5, docs/change-events.md).

| source | reason for no push |
| --- | --- |
| shared by all users (`partition_type: app`) | `app_partition` |
| not in `events.sources`, if that is set | `not_listed` |
| without a true `push_notify`, if that is not set | `no_push_notify` |
"""

from typing import NamedTuple


class SourceRules(NamedTuple):
    """The settings of sources.

    Attributes:
        pushing: names of the sources that push.
        shared: names of the sources with an app partition.
        listed: whether `pushing` comes from `events.sources`, not from `push_notify`.
    """

    pushing: frozenset[str]
    shared: frozenset[str]
    listed: bool = False

    def refusal(self, source: str) -> str | None:
        """The reason why a change of this source causes no push; None: it causes one."""
        if source in self.shared:
            return "app_partition"
        if source in self.pushing:
            return None
        return "not_listed" if self.listed else "no_push_notify"
