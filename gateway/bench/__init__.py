"""The load tool: what this gateway costs on this machine, beside its peers, in one run.

```
scenarios/   what is measured: each module says what is on and what is not
roles/       the processes of a measurement, one module each: provider, load, sender, door, peers
testbed.py     a gateway with its store and provider, put up for one scenario
report/      table, page with plots
```

Every figure is of the product as shipped. The orchestrator here is blocking code in a process of its own; it
takes no part in what is measured beyond reading /proc and asking Redis for its counters.
"""
