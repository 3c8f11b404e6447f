"""Python client of the gateway, with the interface of RhoConnect's `PingJob`.

```python
from gateway.client import PingJob

PingJob.perform(user_id="bob", sources=["Product"], message="hello world")  # until delivered, or PingError
PingJob.enqueue(user_id=["bob", "mary"], message="later is fine")  # once durable
await PingJob.aperform(user_id="bob", badge=3)
```

The server and the token come from `RHOPUSH_SERVER` and `API_TOKEN`, or from `PingJob.configure`. Parameters are
those of `POST /rc/v1/users/ping`.
"""

from gateway.client.errors import PingError
from gateway.client.job import PingJob

__all__ = ["PingError", "PingJob"]
