"""Load tool: measures the cost of this gateway on this machine, beside its peers, in one run.

```
scenarios/   the measurements: each module describes the parts that run and the parts that do not
roles/       the processes of a measurement, one module each: provider, load, sender, HTTP ingress, peers
testbed.py   a gateway with its store and provider, started for one scenario
report/      table, page with plots
```

Every figure is of the product as shipped. The orchestrator in this package is blocking code in a process of its own;
during a measurement it only reads /proc and Redis' counters.
"""
