"""The route to the devices of one app: the lane, the app's part of the message, and the scope of that lane's
responses about device tokens."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from gateway.delivery.provider import Provider
from gateway.registry.token_marks import digest
from protocols.devices import Device, accepted_elsewhere, refused_at


class TokenScope(NamedTuple):
    """A host and topic that a lane sends to, with the credential that it uses there.

    Attributes:
        lane: the lane's name.
        app: the app, as in metrics; "": every app that has no settings of its own.
        host: the server, with its port unless that is a usual one of the provider.
        topic: the topic of the messages; "" where the provider has none.
        key: digest of host and topic, as in `Device.bad_at`.
        identity: digest of credential, host and topic (with two hosts, of both).
        setting: name of the setting that chooses the host; "" if none does.
    """

    lane: str
    app: str
    host: str
    topic: str
    key: str
    identity: str
    setting: str = ""


def token_scope(lane: str, app: str, host: str, topic: str, credential: str, setting: str = "") -> TokenScope:
    """Make a token scope.

    Args:
        lane, app, host, topic, setting: as in `TokenScope`.
        credential: digest of the credential and of everything else that makes a different scope.
    """
    return TokenScope(lane, app, host, topic, digest(host, topic), digest(credential, topic), setting)


class LaneInterface(Protocol):
    """The part of a lane (`gateway.delivery.lane`) that routes and the planner use.

    Attributes:
        name: stable over restarts and the same in every gateway.
        provider: composes messages and judges responses.
    """

    name: str
    provider: Provider

    def offer(self, deliveries: Sequence[Any], *, bulk: bool) -> None:
        """Accept deliveries (`gateway.delivery.batch.Delivery`)."""


class Route:
    """The route to the devices of one app. Compared by identity: there is one for each app and provider.

    Attributes:
        lane: the lane that delivers.
        target: the app, in the form that `Provider.compose` expects.
        app: the app, as in metrics.
        token_scope: the scope of the lane's responses about device tokens; None: it gives no such responses.
        fallback: the route of the same app at the provider's other environment; None: there is none.
        primary: the route whose fallback this one is; None: there is none.
        accepted: whether this process has seen an accepted delivery of this route.
        successor: the route for the same topic that replaced this one after a reload; None: there is none.
    """

    __slots__ = ("accepted", "app", "fallback", "lane", "primary", "successor", "target", "token_scope")

    def __init__(
        self,
        lane: LaneInterface,
        target: Any,
        app: str,
        token_scope: TokenScope | None = None,
        fallback: "Route | None" = None,
    ) -> None:
        self.lane = lane
        self.target = target
        self.app = app
        self.token_scope = token_scope
        self.fallback = fallback
        self.primary: Route | None = None
        if fallback is not None:
            fallback.primary = self
        self.accepted = False
        self.successor: Route | None = None

    @property
    def chain(self) -> tuple["Route", ...]:
        """This route, and its fallback if there is one."""
        return (self,) if self.fallback is None else (self, self.fallback)

    @property
    def newest(self) -> "Route":
        """The latest successor of this route, or the route itself."""
        route = self
        while route.successor is not None:
            route = route.successor
        return route

    def succeeded_by(self, new: "Route") -> "Route":
        """Return the route that replaces this one: of the new route and its fallback, the one with the same host, or
        else the new route. It becomes the successor of this route unless their topics differ."""
        scope = self.token_scope
        successor = next(
            (one for one in new.chain if scope and one.token_scope and one.token_scope.host == scope.host),
            new,
        )
        # The deliveries of this route have the topic of this route.
        if (
            scope is not None
            and successor.token_scope is not None
            and successor.token_scope.topic == scope.topic
        ):
            self.successor = successor
        return successor

    def other(self, device: Device) -> "Route | None":
        """The route to try after this host has refused the device's token; None: there is no other.

        It is the fallback, or, for a token that the primary refused at an earlier time, the primary.
        """
        if self.fallback is not None:
            return self.fallback.of(device)
        primary = self.primary
        if primary is None or primary.token_scope is None:
            return None
        return primary if accepted_elsewhere(device, primary.token_scope.key) else None

    def of(self, device: Device) -> "Route | None":
        """This route or its fallback, as the device's token requires; None: the token is bad on both."""
        token_scope, fallback = self.token_scope, self.fallback
        if token_scope is None:
            return self
        if fallback is None:
            return None if refused_at(device, token_scope.key) else self
        if accepted_elsewhere(device, token_scope.key):
            return fallback
        return fallback.of(device) if refused_at(device, token_scope.key) else self
