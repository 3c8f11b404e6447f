"""The reports of a lane about device tokens: those that the provider accepted, and those that it called dead."""

import time
from typing import Final

import structlog

from gateway.delivery.batch import Delivery
from gateway.delivery.dead_tokens import BURST_WINDOW_S, InvalidationLimiter, TokenReports, is_registered
from gateway.delivery.route import LaneInterface, Route
from protocols.verdict import Verdict

_log = structlog.get_logger("lane")


class LaneTokens:
    """Reports the responses of one lane about device tokens, unless too many are called dead.

    Only routes of this lane count: a delivery that a successor took over was planned for another host.

    Args:
        lane: the lane.
        reports: receives the reports; None: no token is marked.

    Attributes:
        limiter: limits the dead tokens; the lane counts valid ones there, once for many deliveries.
    """

    __slots__ = ("_lane", "_limited", "_reports", "limiter")

    def __init__(self, lane: LaneInterface, reports: TokenReports | None) -> None:
        self._lane = lane
        self._reports = reports
        self._limited = False
        self.limiter: Final = InvalidationLimiter()

    def on_accepted(self, route: Route) -> None:
        """Report an accepted delivery, after which responses about device tokens are believed."""
        if route.lane is self._lane:
            route.accepted = True
            if route.token_scope is not None and self._reports is not None:
                self._reports.on_accepted(route.token_scope)

    def on_dead(self, delivery: Delivery, verdict: Verdict, others: tuple[str, ...] = ()) -> None:
        """Report that the provider called this delivery's token dead; `others`: keys of further scopes in which it
        is."""
        delivery.batch.mark_dead(delivery.index)
        route = delivery.route
        if (
            route.lane is self._lane
            and route.token_scope is not None
            and self._reports is not None
            and is_registered(delivery)
            and self._may_mark_dead(verdict)
        ):
            self._reports.on_dead_token(delivery, verdict, route.token_scope, others)

    def on_environment_learned(self, delivery: Delivery, key: str) -> None:
        """Report that this lane accepted a token that is bad in the scope `key`."""
        if self._reports is not None and delivery.route.lane is self._lane:
            self._reports.on_environment_learned(delivery, key)

    def _may_mark_dead(self, verdict: Verdict) -> bool:
        """Whether a token that was called dead may be marked."""
        allowed = self.limiter.allow_invalid(time.monotonic())
        if not allowed and not self._limited:
            _log.error(
                "mass_token_invalidation",
                lane=self._lane.name,
                reason=verdict.reason,
                within_s=BURST_WINDOW_S,
            )
        self._limited = not allowed
        return allowed
