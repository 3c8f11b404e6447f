"""Names of Redis keys: one slot for the queue, and no duplicates."""

import inspect
from collections.abc import Callable, Iterator

import pytest

from gateway.store import keys
from gateway.store.keys import HASH_TAG, PREFIX, ResqueKeys

OF_THE_QUEUE: tuple[Callable[..., str], ...] = (
    *(keys.marker, keys.idempotency, keys.progress, keys.receipt, keys.quota),
    *(keys.broadcast_users, keys.broadcast_devices),
    *(keys.webhook_endpoint, keys.webhook_leader, keys.console_history, keys.awaited_syncs, keys.badge),
)
RHOCONNECTS = (keys.user, keys.client, keys.api_token, keys.app, keys.count, ResqueKeys().queue)


def named(make: Callable[..., str], text: str = "x") -> str:
    """A key of this function, with `text` for each of its arguments."""
    arguments = inspect.signature(make).parameters.values()
    return make(*(text.encode() if one.annotation is bytes else text for one in arguments))


def functions() -> Iterator[Callable[..., str]]:
    for found in vars(keys).values():
        # A module with annotations has the function __annotate__ since Python 3.14.
        if inspect.isfunction(found) and found.__module__ == keys.__name__ and found.__name__[0] != "_":
            yield found


@pytest.mark.parametrize("make", [*functions()])
def test_a_key_is_ours_unless_it_is_rhoconnects(make: Callable[..., str]) -> None:
    assert named(make).startswith(PREFIX) == (make not in RHOCONNECTS)
    assert (HASH_TAG in named(make)) == (make in OF_THE_QUEUE)


def test_the_keys_of_the_queues_scripts_share_one_slot() -> None:
    for name in (
        *keys.STREAMS,
        keys.SCHEDULE,
        keys.SCHEDULED_PINGS,
        keys.SCHEDULED_BODIES,
        keys.STATS,
        keys.PARKED,
        keys.RECEIPTS,
        keys.UNREADABLE,
        keys.WEBHOOK_EVENTS,
        keys.WEBHOOK_OUTBOX,
        keys.WEBHOOK_CONDITIONS,
        keys.PROBE,
    ):
        assert name.startswith(f"{PREFIX}{HASH_TAG}:")


def test_no_two_keys_have_one_name() -> None:
    names = [named(make) for make in functions()]
    assert len(set(names)) == len(names)


def test_the_progress_of_an_entry_names_its_stream() -> None:
    names = [keys.progress(stream, "1-0") for stream in keys.STREAMS]
    assert len(set(names)) == len(keys.STREAMS)
    assert names[0] == "rhopush:{q}:progress:pings:1-0"


def test_resques_names_begin_with_its_namespace() -> None:
    assert ResqueKeys().queue("ping") == "resque:queue:ping"
    assert ResqueKeys().queues == "resque:queues"
    shop = ResqueKeys("shop")
    assert (shop.workers, shop.heartbeats, shop.failed) == (
        "shop:workers",
        "shop:workers:heartbeat",
        "shop:failed",
    )
    assert (shop.worker("w"), shop.started("w")) == ("shop:worker:w", "shop:worker:w:started")
    assert shop.pause == "shop:pause-all-workers"
