"""Webhooks: event types, addresses of endpoints, signatures, answers of receivers and delays (docs/webhooks.md)."""
