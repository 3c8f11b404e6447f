"""RhoConnect Push, the legacy service: its messages and answers."""
