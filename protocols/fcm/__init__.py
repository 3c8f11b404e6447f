"""Firebase Cloud Messaging, HTTP v1: its messages, answers, credentials, and the rules of a simulated one."""
