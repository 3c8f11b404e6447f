"""The wire without any I/O: messages, rules, parsers and state tables, one folder a provider."""
