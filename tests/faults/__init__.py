"""Tests of faults outside the gateway: killed processes, failing providers, an unreachable Redis."""
