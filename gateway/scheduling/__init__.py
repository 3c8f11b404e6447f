"""Cooperative scheduling on one event loop, and fair queues between callers."""
