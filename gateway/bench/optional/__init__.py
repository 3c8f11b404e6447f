"""The optional parts of the gateway, each measured with and without it (`gateway.bench.scenarios.optional`)."""

from typing import Final

from gateway.bench.optional.running_parts import ConsoleAndScrapes, Syncs, Traceparents
from gateway.bench.optional.settings_parts import Tracing, UnusedWebhook, Webhook

RUNNING: Final = (ConsoleAndScrapes, Syncs, Traceparents)
"""Parts that the callers and neighbours of a running gateway switch on and off."""
WITH_SETTINGS: Final = (Webhook, UnusedWebhook, Tracing)
"""Parts that a setting switches on at the start of a gateway."""
