"""RhoConnect Push: messages, requests and responses of the service."""
