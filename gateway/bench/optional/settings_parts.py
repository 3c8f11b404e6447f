"""Parts that a setting switches on at the start of a gateway: webhooks and tracing.

Each pair has two new gateways, each with its own store, provider and load generator, which are measured at the same
time. One after the other would be compared under different conditions: what a gateway's CPU time is worth depends on
what the machine's other cores do, and the receiver of events or spans runs on one of them. Some seconds after the last
verdict belong to the measurement, with the part and without it: the gateway sends events and spans within two seconds
after they occurred.
"""

import base64
import importlib.util
import json
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from typing import ClassVar, Final

from gateway.bench.child import Child
from gateway.bench.errors import CannotMeasure
from gateway.bench.optional.part import EFFECT_MAX_S, Pair, Part
from gateway.bench.roles.receiver import TRACES, WEBHOOKS, ReceiverCounts
from gateway.bench.scratch import scratch
from gateway.bench.testbed import BenchEnvironment

USERS: Final = 10_000
AFTER_S: Final = 2.5
"""Time from the last verdict to the end of a measurement."""
SAMPLE: Final = 0.01
_EXPECTED: Final = 10.0
"""Traced pings in the mean, from which on there is at least one (but for 5 in 100,000 runs)."""
_SECRET: Final = "whsec_" + base64.b64encode(bytes(32)).decode()
_POLL_S: Final = 0.05


class SettingsPart(Part):
    """A part with a receiver, which a setting names.

    Attributes:
        counted: name of the things that the receiver counts.
    """

    counted: ClassVar[str] = "events received"

    @classmethod
    def missing(cls) -> str | None:
        """The package that the part needs and that is not installed, if so."""
        return None

    def open(self, opening: ExitStack) -> None:
        """Start the receiver."""
        self._receiver = opening.enter_context(Child("receiver", opening.enter_context(scratch())))
        self._url = f"http://127.0.0.1:{self._receiver.receive(int)}"

    @abstractmethod
    def environ(self, url: str) -> Mapping[str, str]:
        """The setting as environment variables.

        Args:
            url: address of the receiver.
        """

    def number(self, received: ReceiverCounts) -> int:
        """The number of things that the part sent to the receiver: events, by default."""
        return received.events

    @abstractmethod
    def is_complete(self, number: int, pings: int) -> bool:
        """Return whether the receiver has what belongs to so many pings.

        Args:
            number: as `number` returns it.
            pings: pings of this gateway up to now, those that warm it up included.
        """

    def measure_pair(self, pings: int, order: Sequence[bool]) -> Pair:
        """Start two gateways, warm them up, and measure them at the same time."""
        before = self._number()
        with ExitStack() as opening:
            stands = {present: opening.enter_context(self._stand(present=present)) for present in order}
            for stand in stands.values():
                stand.warm()
            users = stands[True].plan.users
            self._wait(before, users)
            with ThreadPoolExecutor(len(stands)) as threads:
                without = threads.submit(
                    self.cost,
                    stands[False],
                    pings,
                    present=False,
                    finish=lambda: time.sleep(AFTER_S),
                    on_progress=lambda *_: None,  # that of the other gateway is shown
                )
                present = self.cost(
                    stands[True], pings, present=True, finish=lambda: self._wait(before, users + pings)
                )
                pair = Pair(without.result(), present)
        self.counts[self.counted] += self._number() - before
        return pair

    def _stand(self, *, present: bool) -> AbstractContextManager[BenchEnvironment]:
        return self.bench.stand(USERS, environ=self.environ(self._url) if present else {})

    def _number(self) -> int:
        return self.number(self._receiver.request(None, ReceiverCounts))

    def _wait(self, before: int, pings: int) -> None:
        """Wait for `AFTER_S`, and until the receiver has everything.

        Args:
            before: the number that earlier gateways sent.
            pings: pings of the gateway with the part.

        Raises:
            CannotMeasure: it was not sent.
        """
        until = time.monotonic() + EFFECT_MAX_S
        time.sleep(AFTER_S)
        while not self.is_complete(number := self._number() - before, pings):
            if time.monotonic() > until:
                raise CannotMeasure(f"{self.name}: after {pings} pings: {number} {self.counted}")
            time.sleep(_POLL_S)


class Webhook(SettingsPart):
    """An endpoint that receives `ping.completed` of every ping."""

    name: ClassVar[str] = "webhook for ping.completed"
    bar: ClassVar[float] = 1.08

    def environ(self, url: str) -> Mapping[str, str]:
        """The endpoint."""
        return _endpoint(url, "ping.completed")

    def is_complete(self, number: int, pings: int) -> bool:
        """Return whether each ping is reported."""
        return number == pings


class UnusedWebhook(SettingsPart):
    """An endpoint that receives no events of pings: the outbox exists, and pings have no use for it."""

    name: ClassVar[str] = "webhook for lane.down alone"
    bar: ClassVar[float] = 1.0

    def environ(self, url: str) -> Mapping[str, str]:
        """The endpoint."""
        return _endpoint(url, "lane.down")

    def is_complete(self, number: int, _: int) -> bool:
        """Return whether nothing is reported."""
        return number == 0


class Tracing(SettingsPart):
    """Traces of 1 % of the pings. Their requests have no `traceparent`, as those of RhoConnect, so that the gateway
    itself picks the pings."""

    name: ClassVar[str] = "tracing of 1 %"
    bar: ClassVar[float] = 1.03
    counted: ClassVar[str] = "spans exported"

    @classmethod
    def missing(cls) -> str | None:
        """The extra that tracing needs, if it is not installed."""
        if importlib.util.find_spec("opentelemetry") is None:
            return "it needs the extra `tracing` (pip install '.[tracing]')"
        return None

    def environ(self, url: str) -> Mapping[str, str]:
        """The collector and the share."""
        return {"RHOPUSH_TRACING_ENDPOINT": url + TRACES, "RHOPUSH_TRACING_SAMPLE": str(SAMPLE)}

    def number(self, received: ReceiverCounts) -> int:
        """The spans."""
        return received.spans

    def is_complete(self, number: int, pings: int) -> bool:
        """Return whether spans are exported; no certain number of pings is traced, and few are perhaps none."""
        return number > 0 or pings * SAMPLE < _EXPECTED


def _endpoint(url: str, event: str) -> Mapping[str, str]:
    options = {"url": url + WEBHOOKS, "secret": _SECRET, "events": [event]}
    return {"RHOPUSH_WEBHOOKS": json.dumps({"bench": options})}
