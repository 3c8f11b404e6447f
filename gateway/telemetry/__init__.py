"""How the counts of several worker processes become one text for Prometheus, without any file.

`values` holds the counts in a worker's memory. `frames` is what a worker and the supervisor send each other.
`totals` adds the workers up. `exposition` renders the sum with prometheus-client; only the process that renders
imports it, when it renders for the first time.
"""
