"""The ingress `resque`: the gateway is one of Resque's workers (contract §3.2).

`worker` takes jobs and makes them durable pings; it publishes the state that Resque's web page reads.
"""

from gateway.resque.setup import open_resque
from gateway.resque.worker import ResqueWorker

__all__ = ["ResqueWorker", "open_resque"]
