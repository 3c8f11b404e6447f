"""Deliveries to providers: a lane for each credential, verdicts, retries, dead tokens."""
