"""Shared parts of tests: real Redis and Valkey servers, the gateway as a real process, RhoConnect's key layout."""
