"""Apple Push Notification service: messages, responses, credentials, and the rules of a simulated server."""
