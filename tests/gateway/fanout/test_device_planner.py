"""The plan of one device: without a route it is rejected and counted."""

from gateway.delivery.batch import DeliveryBatch
from gateway.fanout.batch_plan import BatchPlan
from gateway.fanout.device_planner import DevicePlanner
from gateway.fanout.recipients import Recipient
from gateway.metrics import Metrics
from gateway.queue.entries import Lease
from gateway.store import keys
from protocols.devices import Device
from protocols.ping.model import Ping
from protocols.verdict import VerdictKind


def test_a_device_without_a_route_is_rejected_with_the_reason_and_counted() -> None:
    metrics = Metrics()
    lease = Lease(keys.PINGS, "1-1", b"", 1, 0, redelivered=False)
    batch = DeliveryBatch(lease, "0" * 28, (Ping(users=("bob",)),), lambda _: None)
    plan = BatchPlan(batch, 0, {})
    plan.begin_ping(0, {})
    DevicePlanner(metrics).plan_device(plan, Recipient(Device("ab"), "fcm", "no_credential"), {})
    assert batch.other_verdicts == {0: (VerdictKind.REJECTED, "no_credential")}
    assert batch.chosen == [("ab", "fcm")]
    assert 'provider="fcm",reason="no_credential",verdict="rejected"} 1' in metrics.exposition().decode()
