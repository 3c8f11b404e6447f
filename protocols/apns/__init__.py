"""Apple Push Notification service: its messages, answers, credentials, and the rules of a simulated one."""
