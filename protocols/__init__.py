"""Wire formats without I/O: messages, rules, parsers and state tables, with one folder for each provider."""
