"""Marks of device tokens: a provider's stored responses about one token (the value of `keys.dead`).

    <token digest>:<epoch ms>:<kind>:<digest of last_sync>:<host keys>:<reason>

A mark belongs to one token: with another token it has no effect. Of the kinds, `gone` (Unregistered) holds everywhere
and `bad` (BadDeviceToken) for the named host keys alone: digests of host and topic, separated by blanks. Both end when
`last_sync` of the client changes, since a device that syncs is alive. The value of `last_sync` is compared with the one
at the time of the mark, so that neither its resolution of a second nor RhoConnect's clock matters. `host` means that
the token is bad for the named host key and was accepted at the provider's other environment: a sync does not end this
mark.

Earlier versions wrote `<token digest>:<epoch ms>:<reason>`. Such a mark of BadDeviceToken has no effect, since it names
no host key.
"""

import hashlib
from datetime import datetime
from typing import Final, NamedTuple

from gateway.store.connection import Script
from protocols.devices import ELSEWHERE
from protocols.instants import MS_MAX
from protocols.numbers import whole

GONE: Final = "gone"
BAD: Final = "bad"
OTHER_HOST: Final = "host"
DEAD_ON_ALL_HOSTS: Final = "dead"
"""Result of `interpret` that is not a list of host keys, which have 16 digits each."""

LEARNED_LUA: Final = "^%x+:%d+:host:"
"""Lua pattern of marks of the kind `host`, which outlive a registration with the same token."""

_HOSTS_MAX: Final = 8
_SYNC_DIGITS: Final = 8
_DIGEST: Final = 8
_WITHOUT_HOST: Final = b"BadDeviceToken"
_EPOCH_DIGITS: Final = 15


def digest(*words: str) -> str:
    """A digest of these words with 16 hex digits."""
    return hashlib.blake2b("\0".join(words).encode(), digest_size=_DIGEST).hexdigest()


def token_digest(pin: str) -> str:
    """The digest of a token in its mark; a new token has another digest, so its mark has no effect."""
    return digest(pin)


MARK: Final = Script(
    f"""
-- KEYS: mark, last sync; ARGV: what stands before and after the digest of the last sync, lifetime in seconds
local sync = redis.pcall('GET', KEYS[2])
local word = string.sub(redis.sha1hex(type(sync) == 'string' and sync or ''), 1, {_SYNC_DIGITS})
redis.call('SET', KEYS[1], ARGV[1] .. word .. ARGV[2], 'EX', ARGV[3])
return 1
"""
)
"""Write a mark of the kind `gone` or `bad`."""


def around(pin: str, reason: str, now_ms: int, host_keys: tuple[str, ...]) -> tuple[str, str]:
    """The parts of a mark before and after the digest of the last sync; `host_keys`: those for which the token is bad,
    empty: it is gone."""
    kind = BAD if host_keys else GONE
    return f"{token_digest(pin)}:{now_ms}:{kind}:", f":{' '.join(host_keys[-_HOSTS_MAX:])}:{reason}"


def host(pin: str, now_ms: int, host_key: str) -> str:
    """The mark of a token that was bad for this host key and accepted at the provider's other environment."""
    return f"{token_digest(pin)}:{now_ms}:{OTHER_HOST}::{host_key}:BadDeviceToken"


def _sync_word(last_sync: bytes | None) -> str:
    return hashlib.sha1(last_sync or b"", usedforsecurity=False).hexdigest()[:_SYNC_DIGITS]


def interpret(mark: bytes, pin: str, last_sync: bytes | None) -> str:
    """The effect of a mark on a device in its present state.

    Returns:
        `DEAD_ON_ALL_HOSTS`, or the value of `Device.bad_at`; "" if the mark has ended.
    """
    token, _, rest = mark.partition(b":")
    if token != token_digest(pin).encode():
        return ""
    words = rest.split(b":", 4)
    if len(words) < 5:
        return _of_earlier_version(words, last_sync)
    _, kind, sync, host_keys, _ = (word.decode("ascii", "replace") for word in words)
    if kind == OTHER_HOST:
        return ELSEWHERE + host_keys
    if sync != _sync_word(last_sync):
        return ""
    return DEAD_ON_ALL_HOSTS if kind == GONE else host_keys


class MarkFacts(NamedTuple):
    """The facts that a mark holds, whether it has ended or not.

    Attributes:
        reason: the provider's own name of the reason; "" where the mark is damaged.
        since_ms: epoch milliseconds of the mark, an instant that a date can show; None where it is damaged.
    """

    reason: str
    since_ms: int | None


def facts(mark: bytes) -> MarkFacts:
    """Read reason and time of a mark of this or of an earlier version."""
    words = mark.decode("utf-8", "replace").split(":", 5)
    since_ms = whole(words[1], highest=MS_MAX) if len(words) > 2 else None
    return MarkFacts(words[-1] if since_ms is not None else "", since_ms)


def _of_earlier_version(words: list[bytes], last_sync: bytes | None) -> str:
    at, reason = words[0], b":".join(words[1:])
    if reason == _WITHOUT_HOST or not (at.isdigit() and len(at) <= _EPOCH_DIGITS):
        return ""
    return DEAD_ON_ALL_HOSTS if synced_ms(last_sync) <= int(at) else ""


def synced_ms(value: bytes | None) -> int:
    """`2026-11-24T10:00:00+0000` (contract §7) as epoch ms; 0 if it is not a date."""
    if not value:
        return 0
    try:
        return int(datetime.fromisoformat(value.decode("ascii")).timestamp() * 1000)
    except (ValueError, OverflowError):
        return 0
