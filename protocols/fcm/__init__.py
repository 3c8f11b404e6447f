"""Firebase Cloud Messaging, HTTP v1: messages, responses, credentials, and the rules of a simulated server."""
