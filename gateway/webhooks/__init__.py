"""Webhooks: delivers the events in the outbox to the endpoints of the settings (docs/webhooks.md)."""
