"""Merging of the metrics of several worker processes into one text for Prometheus, without files.

`values` holds the values in a worker's memory. `frames` defines the messages between a worker and the supervisor.
`totals` merges the workers' values. `exposition` renders them with prometheus-client; only the process that renders
imports it, at the first rendering.
"""
