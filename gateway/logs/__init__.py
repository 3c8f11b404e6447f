"""What the gateway writes to stderr: JSON lines, or readable ones on a terminal, without any secret.

`structured` sets structlog up for a worker or a command. `plain` writes the same lines without structlog,
whose import costs more memory than all else that the supervisor holds. `redaction` is used by both. `writer` keeps a
reader that stands still from holding the process: what both write goes through its queue.
"""
