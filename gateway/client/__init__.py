"""Python client of the gateway, with the interface of RhoConnect's `PingJob`.

```python
from gateway.client import PingJob

PingJob.perform(user_id="bob", sources=["Product"], message="hello world")  # until delivered, or PingError
PingJob.enqueue(user_id=["bob", "mary"], message="later is fine")  # once durable
PingJob.enqueue(user_id="bob", message="good morning", deliver_at="2030-01-31T09:30:00Z")  # delivered then
await PingJob.aperform(user_id="bob", badge=3)
PingJob.cancel(ping_id)  # devices without a request so far get no push
for result in PingJob.bulk({"user_id": user, "message": "hello"} for user in users):  # any number, streamed
    print(result.line, result.ping_id or result.message)
```

The server and the token come from `RHOPUSH_SERVER` and `API_TOKEN`, or from `PingJob.configure`. Parameters are
those of `POST /rc/v1/users/ping`.
"""

from gateway.client.bulk_lines import BulkResult
from gateway.client.errors import PingError
from gateway.client.job import PingJob

__all__ = ["BulkResult", "PingError", "PingJob"]
