"""Change events: Redis reports changed data, and the gateway makes sync-only pings of it (docs/change-events.md).

`subscriber` receives the events, `standby_buffer` keeps those that are not stored yet, `coalescer` stores them and
closes their windows, and `stream` reads the entries that writers append. One worker of a gateway subscribes; of
several gateways one stores the events.
"""

from gateway.change_events.coalescer import Coalescer, source_rules
from gateway.change_events.setup import open_change_events

__all__ = ["Coalescer", "open_change_events", "source_rules"]
