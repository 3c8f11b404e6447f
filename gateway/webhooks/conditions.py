"""Events of lanes and credentials: one for each change of a condition, regardless of the number of workers that detect
it.

Once a second every worker compares its lanes and certificates with its last report. It stores a changed condition and
the event in Redis in one step, unless the stored condition is the same (`outbox.CHANGE_CONDITION`).

| subject | condition | event | back to normal |
| --- | --- | --- | --- |
| lane | `down` | `lane.down` | `lane.up` |
| credential of a lane | `refused` | `credential.refused` | no event |
| certificate | `expires_30_days`, `expires_7_days`, `expires_1_days`, `expired` | `credential.expiring` | no event |
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from gateway.clock import SHARED_CLOCK
from gateway.delivery.certificate_expiry import (
    DAY_S,
    WARN_DAYS,
    CertificateExpiry,
    certificate_expiries,
    warnings_due,
)
from gateway.delivery.lane import Lane
from gateway.delivery.link_state import LinkState
from gateway.delivery.provider_registry import installed
from gateway.queue.outbox import ConditionEvent, EventPlan
from gateway.settings import Settings
from gateway.webhooks.outbox import Outbox
from protocols.instants import instant_text
from protocols.webhooks.events import (
    CREDENTIAL_EXPIRING,
    CREDENTIAL_REFUSED,
    LANE_DOWN,
    LANE_UP,
)

NORMAL: Final = ""
_TYPES: Final = frozenset({LANE_DOWN, LANE_UP, CREDENTIAL_REFUSED, CREDENTIAL_EXPIRING})


class Condition(NamedTuple):
    """The condition of a lane or credential in this worker.

    Attributes:
        subject: the lane or credential.
        value: the condition; `NORMAL`: there is no problem.
        event: the event to store unless another worker has reported the condition; None: the change causes no event.
    """

    subject: str
    value: str
    event: ConditionEvent | None = None


class ConditionMonitor:
    """Reports the conditions of this worker's lanes and certificates.

    Args:
        settings: the settings in force.
        plan: the events that endpoints receive.
        lanes: returns the lanes.
        outbox: receives the events.
    """

    def __init__(
        self, settings: Settings, plan: EventPlan, lanes: Callable[[], Iterable[Lane]], outbox: Outbox
    ) -> None:
        self._plan = plan
        self._lanes = lanes
        self._outbox = outbox
        self._reported: dict[str, str] = {}
        self._certificates: list[CertificateExpiry] | None = None
        self.apply_settings(settings)

    def apply_settings(self, settings: Settings) -> None:
        """Apply new settings: certificates are read again at the next step."""
        self._settings = settings
        self._certificates = None

    async def step(self) -> None:
        """Report what has changed since the last step. Without an endpoint for such events nothing is read.

        Raises:
            StoreDown: Redis does not answer; the next step repeats the report.
        """
        wanted = self._plan.wanted & _TYPES
        if not wanted:
            return
        for condition in list(self._observe()):
            if self._reported.get(condition.subject) == condition.value:
                continue
            event = condition.event
            if event is not None and event.kind not in wanted:
                event = None
            await self._outbox.change(condition.subject, condition.value, event, self._plan.limit)
            self._reported[condition.subject] = condition.value

    def _observe(self) -> Iterator[Condition]:
        for lane in self._lanes():
            yield from lane_conditions(lane)
        if self._certificates is None:
            self._certificates = list(certificate_expiries(self._settings, installed()))
        now_s = SHARED_CLOCK.now_s()
        for certificate in self._certificates:
            yield certificate_condition(certificate, now_s)


def lane_conditions(lane: Lane) -> Iterator[Condition]:
    """Yield the conditions of a lane and of its credential; none before the first attempt of the lane."""
    link, subject = lane.link, f"lane:{lane.name}"
    about: dict[str, str | int] = {"lane": lane.name, "provider": lane.provider.name}
    if link.state is LinkState.DOWN:
        yield Condition(subject, "down", ConditionEvent(LANE_DOWN, about | {"error": link.error}))
    elif link.state is LinkState.UP:
        yield Condition(subject, NORMAL, ConditionEvent(LANE_UP, about))
    subject = f"credential:{lane.name}"
    if lane.halted:
        event = ConditionEvent(CREDENTIAL_REFUSED, about | {"reason": lane.error_text or ""})
        yield Condition(subject, "refused", event)
    elif link.state is LinkState.UP:
        yield Condition(subject, NORMAL)


def certificate_condition(certificate: CertificateExpiry, now_s: float) -> Condition:
    """Return the condition of a certificate."""
    subject = f"certificate:{certificate.provider}:{certificate.app}:{certificate.topic}"
    due = warnings_due(certificate.expires_s - now_s)
    if not due:
        return Condition(subject, NORMAL)
    days = WARN_DAYS[due - 1]
    event: dict[str, str | int] = {
        "provider": certificate.provider,
        "app": certificate.app,
        "topic": certificate.topic,
        "expires_at": instant_text(int(certificate.expires_s * 1000)),
        "days_left": int((certificate.expires_s - now_s) // DAY_S),
    }
    value = f"expires_{days}_days" if days else "expired"
    return Condition(subject, value, ConditionEvent(CREDENTIAL_EXPIRING, event))
