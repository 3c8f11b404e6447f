"""The door of data changes: what Redis tells of changed data becomes sync-only pings (docs/change-events.md).

`ear` hears, `shelf` keeps what is not written down yet, `listening` writes it down and closes windows, `stream`
reads what writers keep for us. One worker of a gateway listens; of several gateways one writes.
"""

from gateway.change_events.coalescer import Coalescer, source_rules
from gateway.change_events.setup import open_change_events

__all__ = ["Coalescer", "open_change_events", "source_rules"]
