"""The type `Ping`, the only message type after parsing."""

from typing import Any, Final

import msgspec

from protocols.ping.addressees import Addressees

ALL_SOURCES: Final = "all"
"""The source name that means every source. It is a convention of the devices (contract §1.2)."""

# The ingresses, as in `Ping.ingress` and in metrics.
HTTP: Final = "http"
RESQUE: Final = "resque"
CHANGE_EVENTS: Final = "change_events"


class Ping(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True, gc=False):
    """A push for the devices of one or many users, as accepted by an ingress.

    Stored in the queue as a msgpack array, so fields are only ever appended, each with a default.

    Attributes:
        id: 32 lower-case hex digits: 28 of the batch with which it was appended, 4 of its index there.
        accepted_ms: epoch milliseconds of its acceptance; times to live count from here.
        users: logins, in the caller's order, without duplicates. Empty if the list is stored separately (a
            broadcast).
        sources: names of sources to sync; `("all",)` for every source; empty for none.
        message: the alert: text, or any JSON (passed on unchanged to RhoConnect Push devices).
        title: alert title.
        badge: number on the icon; 0 clears it.
        sound: sound file's name.
        vibrate: milliseconds.
        ttl_s: time to live in seconds; None: the setting decides.
        priority: "high" or "normal"; None: by content.
        collapse_id: at most 64 bytes; None: the ping's id.
        apns: raw additions to the APNs payload.
        fcm: raw additions to the FCM message.
        reply_to: Redis channel on which the completion of this ping is published to a waiting caller.
        ingress: `HTTP`, `RESQUE` or `CHANGE_EVENTS`.
        to: recipients in addition to `users`, and exceptions; None: exactly `users`.
        badge_increment: 1 for the badge "+1": each device gets a number of its own (`gateway.queue.badges`), and
            `badge` is 1, as in RhoConnect; 0 for every other badge.
        apps: the apps (`device_app_id`) to which the sender's token is limited: no device of another app gets the
            ping; None: no limit.
        traceparent: W3C Trace Context of the ping's span `ingress`; None: no trace of the ping is recorded.
        additions: raw additions to the messages of providers of other packages, by the provider's name.
    """

    id: str = ""
    accepted_ms: int = 0
    users: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    message: Any = None
    title: str | None = None
    badge: int | None = None
    sound: str | None = None
    vibrate: int | None = None
    ttl_s: int | None = None
    priority: str | None = None
    collapse_id: str | None = None
    apns: dict[str, Any] | None = None
    fcm: dict[str, Any] | None = None
    reply_to: str | None = None
    ingress: str = HTTP
    to: Addressees | None = None
    badge_increment: int = 0
    apps: tuple[str, ...] | None = None
    traceparent: str | None = None
    additions: dict[str, dict[str, Any]] | None = None

    @property
    def named(self) -> int:
        """Number of the users, devices and tokens that the ping names."""
        return len(self.users) + (0 if self.to is None else self.to.listed)

    def additions_of(self, provider: str) -> dict[str, Any] | None:
        """The raw additions to the messages of a provider of another package; None: there are none."""
        return None if self.additions is None else self.additions.get(provider)
