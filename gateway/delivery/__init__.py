"""Sends on their way: a lane for each credential, verdicts, retries, dead tokens."""
