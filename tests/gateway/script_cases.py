"""For each Lua script of the gateway: what a store holds before, and calls as the gateway makes them.

The keys and arguments are those of production; `test_scripts` damages them one by one.
"""

import msgspec

from gateway.change_events import scripts as event_scripts
from gateway.console import recorder
from gateway.delivery import proofs, quota
from gateway.mailbox import scripts as mailbox_scripts
from gateway.queue import (
    badges,
    batch_search,
    cancellation_scripts,
    device_deliveries,
    effects,
    everybody,
    idle_consumers,
    lane_resets,
    outbox,
    quarantine,
    schedule,
    scripts,
    unreadable,
    worker_reports,
)
from gateway.registry import account_scripts, change_log_scripts, client_scripts, login_limits, token_marks
from gateway.resque import scripts as resque_scripts
from gateway.store import keys
from gateway.webhooks import endpoint_state
from gateway.webhooks import outbox as webhook_outbox
from tests.gateway.script_stores import (
    ACCOUNT_KEYS,
    APPEND,
    APPEND_KEYS,
    APPEND_ONCE,
    AWAITED_LOG,
    BATCH,
    CANCEL_SCHEDULED,
    CANCEL_SCHEDULED_KEYS,
    CLIENT,
    CLOSE,
    CONDITION_KEYS,
    COUNTS,
    ENDPOINT,
    ENQUEUE,
    EVENT_KEYS,
    EVENTS,
    FINISH_KEYS,
    HEAR,
    LEADER,
    ONCE,
    OTHER_ONCE,
    PROGRESS,
    PUT_ASIDE,
    REACHED,
    RECEIPT,
    RESQUE_KEYS,
    SCHEDULE,
    SCHEDULE_KEYS,
    SETTLE,
    SETTLE_KEYS,
    TAKEN,
    USERS,
    Case,
    put_append,
    put_badges,
    put_cancelled,
    put_change_log,
    put_client,
    put_counted,
    put_cut,
    put_due,
    put_effects,
    put_endpoint,
    put_events,
    put_idle,
    put_leased,
    put_logins,
    put_mailbox,
    put_marked_change_log,
    put_nothing,
    put_once,
    put_outbox,
    put_proof,
    put_put_aside,
    put_renewed_in_the_future,
    put_requeue,
    put_resque,
    put_samples,
    put_scheduled,
    put_settle,
    put_settle_with_events,
    put_split,
    put_split_everybody,
    put_trim,
    put_users,
    put_windows,
)

CASES: dict[str, Case] = {
    "append": Case(scripts.APPEND, put_append, APPEND_KEYS, APPEND),
    "append once": Case(scripts.APPEND, put_append, [*APPEND_KEYS, ONCE, OTHER_ONCE], APPEND_ONCE),
    "append again": Case(
        scripts.APPEND, put_once, [*APPEND_KEYS, ONCE, OTHER_ONCE], APPEND_ONCE, changes=False
    ),
    "schedule": Case(schedule.SCHEDULE, put_scheduled, SCHEDULE_KEYS, SCHEDULE),
    "schedule once": Case(
        schedule.SCHEDULE, put_scheduled, [*SCHEDULE_KEYS, ONCE], [*SCHEDULE, 86400, f"ab:{BATCH}0000"]
    ),
    "release scheduled": Case(
        schedule.RELEASE_SCHEDULED,
        put_scheduled,
        [keys.SCHEDULED_PINGS, keys.SCHEDULED_BODIES, keys.STATS, keys.PINGS, keys.BROADCASTS],
        [2000, 200, 500, 600, 3600, 500, 400, 2000],
    ),
    "cancel": Case(
        cancellation_scripts.CANCEL,
        put_cancelled,
        [keys.CANCELLED, keys.CANCELLED_VERSION, RECEIPT, keys.RECEIPTS],
        [BATCH + "0000", 0, 1000, 3600, 10],
    ),
    "cancel scheduled": Case(
        cancellation_scripts.CANCEL_SCHEDULED, put_scheduled, CANCEL_SCHEDULED_KEYS, CANCEL_SCHEDULED
    ),
    "cancel the last scheduled": Case(
        cancellation_scripts.CANCEL_SCHEDULED,
        put_scheduled,
        CANCEL_SCHEDULED_KEYS,
        [*CANCEL_SCHEDULED[:2], b"", *CANCEL_SCHEDULED[3:]],
    ),
    "sweep": Case(
        cancellation_scripts.SWEEP,
        put_cancelled,
        [keys.SCHEDULE_BODIES, keys.SCHEDULE, keys.CANCELLED],
        [0, 100],
    ),
    "prune": Case(
        cancellation_scripts.PRUNE,
        put_cancelled,
        [keys.CANCELLED, keys.CANCELLED_VERSION, keys.CANCELLED_SWEPT],
        [9_999_999_999, 0, 0, 100],
    ),
    "fence": Case(scripts.FENCE, put_counted, [keys.marker(BATCH, 0)], [600]),
    "fence again": Case(
        scripts.FENCE,
        lambda store: store.set(keys.marker(BATCH, 0), "1-0", ex=100),
        [keys.marker(BATCH, 0)],
        [600],
        changes=False,
    ),
    "settle": Case(scripts.SETTLE, put_settle, SETTLE_KEYS, SETTLE),
    "settle nothing": Case(
        scripts.SETTLE, put_settle, SETTLE_KEYS, [keys.GROUP, "1-0", 1000, 3600, 0, 0, 0, 0, 0, 0, 0]
    ),
    "reset lane": Case(
        lane_resets.RECORD,
        lambda store: store.hset(keys.LANE_RESETS, mapping={"number": 3, "lane:apns:A": 2}),
        [keys.LANE_RESETS],
        ["apns:A", 3600],
    ),
    "find batch": Case(
        batch_search.FIND,
        lambda store: store.xadd(keys.PINGS, {"e": b"\x94\xbc" + BATCH.encode()}, id="5-0"),
        [keys.PINGS],
        ["XRANGE", "0", "9", 1, BATCH],
        writes=False,
    ),
    "search receipts": Case(
        device_deliveries.SEARCH, put_trim, [keys.RECEIPTS], ["packed", 0, 25], writes=False
    ),
    "remove idle consumers": Case(
        idle_consumers.REMOVE_IDLE, put_idle, [keys.PINGS], [keys.GROUP, 0, "working:0"]
    ),
    "drop record": Case(quarantine.DROP, put_put_aside, [keys.UNREADABLE, keys.STATS], ["1-0"]),
    "requeue": Case(
        quarantine.REQUEUE,
        put_requeue,
        [keys.UNREADABLE, keys.STATS, keys.RETRIES, RECEIPT],
        ["1-0", 3, 30, "0+1-0", "0:open", "e", b"entry", "n", 3],
    ),
    "remove reports": Case(
        worker_reports.REMOVE_UNCHANGED,
        lambda store: store.hset(keys.WORKER_REPORTS, mapping={"a:0": "packed", "b:0": "packed"}),
        [keys.WORKER_REPORTS],
        ["a:0", b"packed", "b:0", b"other"],
    ),
    "record syncs": Case(
        effects.RECORD_SYNCS,
        put_effects,
        [AWAITED_LOG, keys.STATS, keys.RECEIPTS],
        [
            1200,
            3600,
            1,
            b"entry",
            msgspec.msgpack.encode(
                [(BATCH + "0001", "phone", 7), (BATCH + "0000", "", 3), ("1" * 32, "one", 9)]
            ),
        ],
    ),
    "acknowledge": Case(
        effects.ACKNOWLEDGE,
        put_effects,
        [keys.STATS, keys.RECEIPTS],
        [BATCH + "0000", "phone", 10_000, 3600, 0],
    ),
    "acknowledge at once": Case(
        effects.ACKNOWLEDGE,
        put_counted,
        [keys.STATS, keys.RECEIPTS],
        [BATCH + "0000", "phone", 10_000, 3600, 1],
    ),
    "settle with events": Case(
        outbox.SETTLE_WITH_EVENTS, put_settle_with_events, EVENT_KEYS, [*SETTLE, *EVENTS]
    ),
    "sweep events": Case(
        webhook_outbox.SWEEP, put_outbox, [keys.WEBHOOK_EVENTS, keys.WEBHOOK_OUTBOX], [1000, 100, 2, 3600]
    ),
    "sweep no events": Case(
        webhook_outbox.SWEEP,
        put_counted,
        [keys.WEBHOOK_EVENTS, keys.WEBHOOK_OUTBOX],
        [1000, 100, 2, 3600],
        changes=False,
    ),
    "a lane is down": Case(
        webhook_outbox.CHANGE_CONDITION, put_outbox, CONDITION_KEYS, [150, "lane:one", "down", b"event"]
    ),
    "a lane is up": Case(
        webhook_outbox.CHANGE_CONDITION, put_endpoint, CONDITION_KEYS, [500, "lane:one", "", b"event"]
    ),
    "begin an endpoint": Case(
        endpoint_state.BEGIN, put_outbox, [ENDPOINT, keys.WEBHOOK_EVENTS, keys.WEBHOOK_OUTBOX], [3600]
    ),
    "lead an endpoint": Case(
        endpoint_state.HOLD,
        put_endpoint,
        [LEADER, ENDPOINT, keys.WEBHOOK_EVENTS, keys.WEBHOOK_OUTBOX],
        ["one:0", 30_000, 3600],
    ),
    "change an endpoint": Case(
        endpoint_state.CHANGE,
        put_endpoint,
        [LEADER, ENDPOINT],
        ["one:0", 30_000, 1, "sent", 2, "cursor", "6-0", "error", "none", "failed", 1],
    ),
    "release an endpoint": Case(endpoint_state.RELEASE, put_endpoint, [LEADER], ["one:0"]),
    "save": Case(
        scripts.SAVE, put_settle, [keys.PINGS, PROGRESS], [keys.GROUP, "one:0", "1-0", 3600, b"verdicts"]
    ),
    "renew": Case(scripts.RENEW, put_leased, [keys.PINGS], [keys.GROUP, "one:0", "1-0", "2-0"]),
    "touch": Case(scripts.FIX_FUTURE_LEASES, put_renewed_in_the_future, [keys.PINGS], [keys.GROUP, "-", 100]),
    "release": Case(scripts.RELEASE, put_leased, [keys.PINGS], [keys.GROUP, "one:0", 20_000]),
    "cut": Case(
        scripts.SPLIT_USERS,
        put_cut,
        [keys.BROADCASTS, PROGRESS, keys.CHUNKS, RECEIPT, keys.RECEIPTS],
        ["1-0", 16, 18, 3600, 1000, 3600, b"one", b"two"],
    ),
    "split everybody": Case(
        everybody.SPLIT_EVERYBODY,
        put_split_everybody,
        [keys.BROADCASTS, PROGRESS, keys.CHUNKS, RECEIPT, keys.RECEIPTS, USERS],
        ["1-0", "2:abc:17", "4:abc:end", 3600, 1000, 3600, 1_000_000, 2, 2, b"u1", b"u2", b"one", b"two"],
    ),
    "count badges": Case(
        badges.COUNT_BADGES,
        put_badges,
        [keys.badge("c1"), keys.badge("c2")],
        [BATCH + "0001", 3600, 2, 100, "2026-01-01", "2026-01-02"],
    ),
    "split": Case(
        scripts.SPLIT_DEVICES,
        put_split,
        [keys.PINGS, PROGRESS, keys.CHUNKS, RECEIPT, keys.RECEIPTS],
        ["1-0", "0:0:a", "0:0:b", 3600, 1000, 3600, "0:open", 1, b"one", b"two"],
    ),
    "claim": Case(scripts.CLAIM, put_settle, [REACHED], [1, 3600, "digest", "fresh"]),
    "due": Case(
        scripts.RELEASE_DUE,
        put_due,
        [keys.SCHEDULE, keys.SCHEDULE_BODIES, keys.RETRIES, keys.STATS],
        [100, 1000, 5000],
    ),
    "trim": Case(scripts.TRIM, put_trim, [keys.RECEIPTS, keys.STATS], [1000, 1_000_000, 500, 5000]),
    "trim bytes": Case(scripts.TRIM, put_trim, [keys.RECEIPTS, keys.STATS], [10**15, 1, 500, 5000]),
    "put aside": Case(
        unreadable.QUARANTINE,
        put_put_aside,
        [keys.PINGS, keys.STATS, PROGRESS, keys.UNREADABLE, RECEIPT, keys.RECEIPTS],
        PUT_ASIDE,
    ),
    "draw": Case(
        quota._DRAW,
        lambda store: store.hset(keys.quota("lane"), mapping={"tokens": 3.5, "at": 5}),
        [keys.quota("lane")],
        [2, 10.5, 20.0],
    ),
    "log beat": Case(
        change_log_scripts.HEARTBEAT,
        put_change_log,
        [keys.CHANGE_LOG, keys.LISTENERS, keys.heartbeat("one")],
        ["one", "new word", 3600],
    ),
    "log begun": Case(
        change_log_scripts.HEARTBEAT,
        put_counted,
        [keys.CHANGE_LOG, keys.LISTENERS, keys.heartbeat("one")],
        ["one", "new word", 3600],
    ),
    "log lapse": Case(
        change_log_scripts.RECORD_LAPSE, put_change_log, [keys.CHANGE_LOG, keys.LISTENERS], ["one"]
    ),
    "log write": Case(
        change_log_scripts.RECORD_CHANGES, put_change_log, [keys.CHANGE_LOG], [100, "bob", "ann"]
    ),
    "log full": Case(change_log_scripts.RECORD_CHANGES, put_change_log, [keys.CHANGE_LOG], [3, "bob", "ann"]),
    "log write with marks": Case(
        change_log_scripts.RECORD_CHANGES,
        put_marked_change_log,
        [keys.CHANGE_LOG, keys.dead("bob"), keys.dead("ann"), keys.dead("none")],
        [100, "bob", "ann"],
    ),
    "mark a token": Case(
        token_marks.MARK,
        put_marked_change_log,
        [keys.dead("bob"), keys.client("bob", "last_sync")],
        ["digest:1:gone:", "::Unregistered", 60],
    ),
    "record a sample": Case(
        recorder.RECORD,
        put_samples,
        [keys.CONSOLE_RECORDER, keys.console_history("5s")],
        ["one", 12_000, b"sample", 61, 100],
    ),
    "an acceptance": Case(proofs.ACCEPTED, put_proof, [keys.credential_proof("one")], [1000]),
    "a bad token": Case(proofs.COUNT, put_proof, [keys.credential_proof("one")], [1]),
    "hear": Case(event_scripts.WRITE_CHANGES, put_windows, [keys.WINDOWS], HEAR),
    "close": Case(event_scripts.CLOSE_WINDOWS, put_windows, [keys.WINDOWS, keys.PINGS, keys.STATS], CLOSE),
    "lead": Case(
        event_scripts.HOLD_LEASE, put_events, [keys.CHANGE_EVENTS], ["one", 2000, "one#2", 5000, 1500]
    ),
    "stand by": Case(
        event_scripts.HOLD_LEASE, put_events, [keys.CHANGE_EVENTS], ["two", 2000, "", 0, 10**15]
    ),
    "yield": Case(event_scripts.RELEASE_LEASE, put_events, [keys.CHANGE_EVENTS], ["one"]),
    "take": Case(
        resque_scripts.TAKE,
        put_resque,
        [*RESQUE_KEYS, "resque:queue:ping", "resque:queue:more"],
        ["one", BATCH, 100, 1_000_000, 200, 1, "PingJob", "ping", "more"],
    ),
    "admit": Case(
        resque_scripts.ADMIT,
        put_resque,
        [TAKEN, keys.PINGS, keys.STATS, *COUNTS],
        [2, 4, 1000, 10_000, b"entry", "a", "b"],
    ),
    "finish": Case(resque_scripts.FINISH, put_resque, FINISH_KEYS, ["a", ""]),
    "fail": Case(resque_scripts.FINISH, put_resque, FINISH_KEYS, ["a", b"record"]),
    "inherit": Case(
        resque_scripts.TAKE_OVER,
        put_resque,
        [keys.RESQUE_TAKERS, TAKEN],
        ["one", 1000, keys.RESQUE_TAKEN, 5000],
    ),
    "enqueue": Case(mailbox_scripts.ENQUEUE, put_mailbox, [], ENQUEUE),
    "withdraw": Case(mailbox_scripts.WITHDRAW, put_mailbox, [], [1, "9", "phone", "nobody"]),
    "poll": Case(
        mailbox_scripts.POLL, put_mailbox, [], [1000, 900, keys.MAILBOX_WAKE, "me", "phone", 8, "nobody", 0]
    ),
    "register": Case(
        mailbox_scripts.REGISTER, put_mailbox, [], [1000, 64, 50, "phone", "third", "tok3", "{}", "", 0]
    ),
    "register again": Case(
        mailbox_scripts.REGISTER, put_mailbox, [], [1000, 64, 50, "phone", "app", "tok3", "{}", "", 0]
    ),
    "register for another": Case(
        mailbox_scripts.REGISTER, put_mailbox, [], [1000, 64, 50, "phone", "app", "tok3", "{}", "eve", 0]
    ),
    "end tokens": Case(
        mailbox_scripts.END_TOKENS, put_mailbox, [], [keys.MAILBOX_WAKE, 50, 1, "tok1", "tok2"]
    ),
    "look up": Case(mailbox_scripts.LOOK_UP, put_mailbox, [], [1000, "phone", "app", ""]),
    "unregister": Case(mailbox_scripts.UNREGISTER, put_mailbox, [], [keys.MAILBOX_WAKE, 50, "phone", "app"]),
    "register a client": Case(client_scripts.REGISTER, put_client, [], CLIENT),
    "delete a client": Case(client_scripts.DELETE, put_client, [], ["c1", "", "device_pin", "phone_id"]),
    "delete a client of its owner": Case(
        client_scripts.DELETE, put_client, [], ["c1", "eve", "device_pin", "phone_id"]
    ),
    "delete a client of another user": Case(
        client_scripts.DELETE,
        put_client,
        [],
        ["c1", "bob", "device_pin", "phone_id"],
        writes=False,
        changes=False,
    ),
    "create a user": Case(
        account_scripts.CREATE, put_users, ACCOUNT_KEYS, ["eve", "application", "eve", "salt"]
    ),
    "change a user": Case(
        account_scripts.WRITE,
        put_users,
        [keys.user("bob", name) for name in ("rho__id", "salt", "hashed_password")],
        ["other salt", "other hash"],
    ),
    "begin the users": Case(everybody.BEGIN_USERS, put_nothing, [USERS], [600, 0, b"u0", 1, b"u1"]),
    "reserve a login": Case(login_limits._RESERVE, put_logins, ["l1", "l2", "l3"], [60_000, 10, 100, 0]),
    "settle a login": Case(login_limits._ADJUST, put_logins, ["l1", "l2", "l3"], [-1, 1]),
    "forget": Case(mailbox_scripts.END_INSTANCE, put_mailbox, [], [50, "phone"]),
}
