"""Data changes as writers report them (`change`), as Redis reports them (`keyspace`), and the rules for pushes
(`rules`)."""

from protocols.change_events.change import Change, parse
from protocols.change_events.keyspace import change_of, missing_flags, pattern
from protocols.change_events.rules import SourceRules

__all__ = ["Change", "SourceRules", "change_of", "missing_flags", "parse", "pattern"]
