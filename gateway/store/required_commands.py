"""Every command that the gateway may send to Redis, with its purpose and the consequence if Redis refuses it.

`gateway.store.command_probe` tests them at startup and in `rhopush check`; a test compares this table with the
source.

| `consequence` | if Redis refuses a command of the purpose |
| --- | --- |
| "" | `rhopush serve` does not start: no ping could be accepted or delivered |
| text | `rhopush serve` starts without it, and logs the text |

Each command is written in the form in which it is tested: queued in a transaction that is discarded, so that Redis
checks its name, its number of arguments, its keys and channels against the user's permissions, and never executes
it. The same holds for commands that scripts call: Redis checks them against the permissions of the script's caller.
"""

from typing import Final, Literal, NamedTuple

from gateway.store import keys

Role = Literal[
    "queue",
    "replicas",
    "registry",
    "devices",
    "users",
    "rhoconnect_push",
    "events",
    "documents",
    "streams",
    "resque",
    "check",
]
"""The part of the gateway that uses a Redis; the settings give the address of each."""

PROBE_NAME: Final = "rhopush-probe"
"""Login, client and token in the keys of the tested commands; nothing is read or written under this name."""

_CLIENTS: Final = keys.user(PROBE_NAME, "clients")
_FIELD: Final = keys.client(PROBE_NAME, "device_pin")
_TOKEN: Final = keys.api_token(PROBE_NAME, "user_id")


class CommandPurpose(NamedTuple):
    """Commands with one purpose.

    Attributes:
        role: the part of the gateway that uses them.
        use: their purpose.
        consequence: the function that does not work without them; "": the gateway does not work.
        commands: each in the form in which it is tested, with blanks between its words.
    """

    role: Role
    use: str
    consequence: str
    commands: tuple[str, ...]


def _on(key: str, *commands: str) -> tuple[str, ...]:
    """Commands with `KEY` replaced by this key."""
    return tuple(command.replace("KEY", key) for command in commands)


_SCRIPTS: Final = ("EVALSHA 0000000000000000000000000000000000000000 0", "EVAL return 0", "TIME")

_WRITES: Final = ("DEL KEY", "EXPIRE KEY 1", "SET KEY v")

PURPOSES: Final = (
    # -- pings: always required ------------------------------------------------------------------------------
    CommandPurpose("queue", "connecting", "", ("PING", "HELLO 3", "SELECT 0")),
    CommandPurpose(
        "queue",
        "queue, receipts and limits of pings",
        "",
        (
            *_SCRIPTS,
            *_on(
                keys.PROBE,
                *_WRITES,
                *("EXISTS KEY", "GET KEY", "MGET KEY", "PEXPIRE KEY 1", "PTTL KEY", "UNLINK KEY"),
                *(
                    "HDEL KEY f",
                    "HSCAN KEY 0",
                    "HGET KEY f",
                    "HGETALL KEY",
                    "HINCRBY KEY f 1",
                    "HMGET KEY f",
                    "HSET KEY f v",
                ),
                *("HSETNX KEY f v", "HLEN KEY", "PERSIST KEY", "TYPE KEY", "XREVRANGE KEY + -"),
                *("XACK KEY g 0-1", "XADD KEY * f v", "XAUTOCLAIM KEY g c 0 0", "XCLAIM KEY g c 0 0-1"),
                *("XDEL KEY 0-1", "XGROUP CREATE KEY g 0 MKSTREAM", "XLEN KEY", "XPENDING KEY g"),
                *("XRANGE KEY - +", "XREADGROUP GROUP g c STREAMS KEY >"),
                *("ZADD KEY 1 m", "ZCARD KEY", "ZRANGE KEY 0 0", "ZRANGEBYSCORE KEY 0 1", "ZREM KEY m"),
                "ZSCORE KEY m",
            ),
        ),
    ),
    CommandPurpose("replicas", "queue.durability: replicas", "", ("WAIT 0 1",)),
    CommandPurpose(
        "queue",
        "wait=true between processes",
        "answers to wait=true come up to 0.25 s later",
        (
            f"SUBSCRIBE {keys.completion_channel(PROBE_NAME)}",
            f"PUBLISH {keys.completion_channel(PROBE_NAME)} m",
        ),
    ),
    CommandPurpose(
        "queue",
        "syncs of devices after pings",
        "receipts and metrics do not show whether devices synced after a ping",
        _on(keys.PROBE, "LINDEX KEY 0", "LLEN KEY", "LRANGE KEY 0 -1", "LTRIM KEY 0 -1", "RPUSH KEY v"),
    ),
    CommandPurpose(
        "queue",
        "facts about the server and names of connections",
        "queue.durability and maxmemory-policy cannot be checked; CLIENT LIST does not name the connections",
        ("INFO", "CONFIG GET appendfsync", "CLIENT SETNAME n"),
    ),
    CommandPurpose(
        "queue",
        "consumer names of gateways that do not return, which are removed",
        "such names stay in the consumer groups",
        _on(keys.PROBE, "XINFO CONSUMERS KEY g", "XGROUP DELCONSUMER KEY g c"),
    ),
    # -- users, devices and API tokens: always read ----------------------------------------------------------
    CommandPurpose(
        "registry",
        "users, devices and API tokens",
        "",
        (
            *("PING", "HELLO 3", *_SCRIPTS),
            *(f"SMEMBERS {_CLIENTS}", f"SSCAN {_CLIENTS} 0"),
            f"MGET {_CLIENTS} {_FIELD} {_TOKEN} {keys.dead(PROBE_NAME)}",
            *_on(keys.dead(PROBE_NAME), "SET KEY v EX 1"),
        ),
    ),
    CommandPurpose(
        "registry",
        "list of dead device tokens",
        "`rhopush dead` finds no devices; it can restore those that are named",
        ("SCAN 0",),
    ),
    CommandPurpose(
        "registry",
        "marks of dead device tokens, which are removed when a device registers again",
        "pushes to devices with a dead token are repeated, or such devices are skipped until they sync",
        (
            *_on(keys.dead(PROBE_NAME), "GET KEY", "SET KEY v EX 1", "DEL KEY"),
            *_on(_FIELD, "GET KEY"),
            *_on(
                keys.credential_proof(PROBE_NAME), "HEXISTS KEY f", "HGET KEY f", "HSET KEY f v", "HDEL KEY f"
            ),
            *_on(keys.credential_proof(PROBE_NAME), "EXPIRE KEY 1"),
        ),
    ),
    CommandPurpose(
        "registry",
        "pings to all users (`to.all_users`)",
        "pings to all users are accepted and wait until these commands are permitted",
        ("INFO server", f"SSCAN {keys.APP_USERS} 0", f"SCARD {keys.APP_USERS}"),
    ),
    CommandPurpose(
        "registry",
        "one look-up for all devices of a user",
        "each look-up of a user's devices costs two more round trips",
        (f"SORT {_CLIENTS} BY nosort GET {keys.client('*', 'device_pin')}",),
    ),
    CommandPurpose(
        "registry",
        "a cache of devices that Redis invalidates",
        "devices are read from Redis for every ping",
        (
            *("CLIENT TRACKING ON", "INFO memory", f"SSCAN {keys.APP_USERS} 0"),
            *_on(keys.snapshot(PROBE_NAME), "SET KEY v EX 1", "MGET KEY"),
            *_on(keys.CHANGE_LOG, "DEL KEY", "GET KEY", "HEXISTS KEY f", "HGET KEY f", "HGETALL KEY"),
            *_on(keys.CHANGE_LOG, "HINCRBY KEY f 1", "HLEN KEY", "HSET KEY f v"),
            *_on(keys.LISTENERS, "HGETALL KEY", "HSET KEY f v", "DEL KEY"),
            *_on(keys.heartbeat(PROBE_NAME), "SET KEY v EX 1", "GET KEY"),
        ),
    ),
    CommandPurpose(
        "registry",
        "limits of login attempts, sessions of devices",
        "logins and sessions of devices are refused",
        (
            *_on(
                keys.login_attempts(PROBE_NAME),
                *("EXISTS KEY", "HINCRBY KEY f 1", "HMGET KEY f", "PEXPIRE KEY 1", "PTTL KEY"),
            ),
            *_on(keys.SESSION_HMAC, "GET KEY", "SET KEY v NX"),
        ),
    ),
    CommandPurpose(
        "devices",
        "registration and deletion of devices",
        "devices cannot register through the gateway",
        (
            *("MULTI", "EXEC"),
            *_on(_FIELD, "GET KEY", "MSET KEY v", "DEL KEY"),
            *_on(_CLIENTS, "SADD KEY m", "SCARD KEY", "SISMEMBER KEY m", "SREM KEY m", "SMEMBERS KEY"),
            *_on(keys.count("client"), "INCR KEY", "DECRBY KEY 1"),
            *_on(keys.HOLDERS + PROBE_NAME, "EXPIRE KEY 1", "SADD KEY m", "SMEMBERS KEY", "SCARD KEY"),
            *_on(keys.HOLDERS + PROBE_NAME, "SPOP KEY", "SREM KEY m"),
            *_on(keys.registered(PROBE_NAME), "SET KEY v EX 1", "DEL KEY"),
            *_on(keys.owned_since(PROBE_NAME), "SET KEY v EX 1"),
            *_on(keys.dead(PROBE_NAME), "DEL KEY"),
        ),
    ),
    CommandPurpose(
        "users",
        "creation and deletion of users",
        "users cannot be created, changed or deleted through the gateway",
        (
            *("MULTI", "EXEC"),
            *_on(keys.user(PROBE_NAME, "login"), "MSET KEY v", "EXISTS KEY", "DEL KEY"),
            *_on(keys.count("user"), "INCR KEY", "DECRBY KEY 1"),
            *_on(keys.app("name"), "SET KEY v NX"),
            *_on(keys.APP_USERS, "SADD KEY m", "SREM KEY m", "SMEMBERS KEY", "SCARD KEY", "SISMEMBER KEY m"),
        ),
    ),
    # -- RhoConnect Push -------------------------------------------------------------------------------------
    CommandPurpose(
        "rhoconnect_push",
        "RhoConnect Push: registrations and messages of its devices",
        "RhoConnect Push devices are not served",
        (
            *("PING", "HELLO 3", *_SCRIPTS),
            *_on(keys.MAILBOX_REGISTRATIONS + PROBE_NAME, *_WRITES, "EXISTS KEY", "SADD KEY m", "SCARD KEY"),
            *_on(keys.MAILBOX_REGISTRATIONS + PROBE_NAME, "SMEMBERS KEY", "SREM KEY m", "TTL KEY"),
            *_on(keys.MAILBOX_INSTANCE_OF + PROBE_NAME, *_WRITES, "GET KEY", "EXISTS KEY"),
            *_on(keys.MAILBOX_COUNTER + PROBE_NAME, *_WRITES, "INCR KEY", "GET KEY"),
            *(
                command
                for key in (keys.MAILBOX_QUEUE + PROBE_NAME, keys.MAILBOX_COLLAPSE + PROBE_NAME)
                for command in _on(
                    key,
                    *("DEL KEY", "EXPIRE KEY 1", "ZADD KEY 1 m", "ZCARD KEY", "ZRANGE KEY 0 0", "ZREM KEY m"),
                    *("ZREMRANGEBYRANK KEY 0 0", "ZREMRANGEBYSCORE KEY 0 1", "ZREVRANGE KEY 0 0"),
                    "ZSCORE KEY m",
                )
            ),
            *_on(keys.MAILBOX_ID_KEY, "GET KEY", "SET KEY v NX"),
        ),
    ),
    CommandPurpose(
        "rhoconnect_push",
        "RhoConnect Push: withdrawal of the waiting messages of cancelled pings",
        "devices still get the messages of a cancelled ping that waited for them",
        ("SCAN 0",),
    ),
    CommandPurpose(
        "rhoconnect_push",
        "RhoConnect Push: wake-up of waiting polls",
        "messages reach RhoConnect Push devices up to 2 s later",
        (f"SUBSCRIBE {keys.MAILBOX_WAKE}", f"PUBLISH {keys.MAILBOX_WAKE} m"),
    ),
    # -- data changes ----------------------------------------------------------------------------------------
    CommandPurpose(
        "events",
        "data changes: windows of users",
        "data changes cause no pings",
        (
            *_on(keys.CHANGE_EVENTS, "HDEL KEY f", "HGET KEY f", "HMGET KEY f", "HSET KEY f v"),
            *_on(keys.WINDOWS, "ZADD KEY 1 m", "ZRANGEBYSCORE KEY 0 1", "ZREM KEY m", "ZSCORE KEY m"),
            *_on(keys.WINDOW + PROBE_NAME, "PEXPIRE KEY 1", "ZADD KEY 1 m", "ZRANGE KEY 0 0"),
            *_on(keys.WINDOW + PROBE_NAME, "ZREMRANGEBYSCORE KEY 0 1", "ZREM KEY m"),
            *_on(keys.PUSHED + PROBE_NAME, "HINCRBY KEY f 1", "HSET KEY f v", "HMGET KEY f", "PEXPIRE KEY 1"),
            *_on(keys.CHANGE_ID + PROBE_NAME, "SET KEY v EX 1 NX"),
        ),
    ),
    CommandPurpose(
        "documents",
        "data changes: channels",
        "changes that are published on the refused channels cause no pings",
        (
            "HELLO 3",
            "PING",
            f"SUBSCRIBE {keys.CHANGE_EVENT_MARKS}",
            f"PUBLISH {keys.CHANGE_EVENT_MARKS} m",
            "SUBSCRIBE CHANNEL",
        ),
    ),
    CommandPurpose(
        "documents",
        "data changes: keyspace notifications",
        "changes of documents cause no pings",
        ("PSUBSCRIBE PATTERN",),
    ),
    CommandPurpose(
        "documents",
        "data changes: configuration of keyspace notifications",
        "the gateway cannot check whether Redis sends keyspace notifications, nor configure them",
        ("CONFIG GET notify-keyspace-events", "CONFIG SET notify-keyspace-events Kg"),
    ),
    CommandPurpose(
        "streams",
        "data changes: streams",
        "changes that are appended to the refused streams cause no pings",
        (
            "XGROUP CREATE STREAM g 0 MKSTREAM",
            "XINFO GROUPS STREAM",
            "XREADGROUP GROUP g c STREAMS STREAM >",
            "XACK STREAM g 0-1",
            "XDEL STREAM 0-1",
        ),
    ),
    # -- Resque ----------------------------------------------------------------------------------------------
    CommandPurpose(
        "resque",
        "Resque: jobs of RhoConnect",
        "jobs in Resque's queues cause no pings",
        (
            *_SCRIPTS,
            *_on("NAMESPACE:queues", "SMEMBERS KEY"),
            *_on("NAMESPACE:workers", "SADD KEY m", "SMEMBERS KEY", "SREM KEY m"),
            *_on("NAMESPACE:workers:heartbeat", "HSET KEY f v", "HGETALL KEY", "HDEL KEY f", "HMGET KEY f"),
            *_on("NAMESPACE:failed", "RPUSH KEY v"),
            *_on("NAMESPACE:queue:q", "LPOP KEY", "LLEN KEY", "LINDEX KEY 0", "LREM KEY 1 v", "RPUSH KEY v"),
            *_on("NAMESPACE:worker:w", "SET KEY v", "DEL KEY", "GET KEY"),
            *_on("NAMESPACE:stat:processed", "INCR KEY", "INCRBY KEY 1", "DEL KEY"),
            *_on(keys.RESQUE_TAKEN + PROBE_NAME, "HSET KEY f v", "HEXISTS KEY f", "HDEL KEY f", "DEL KEY"),
            *_on(keys.RESQUE_TAKEN + PROBE_NAME, "HGETALL KEY"),
            *_on(keys.RESQUE_TAKERS, "ZADD KEY 1 m", "ZRANGEBYSCORE KEY 0 1", "ZREM KEY m"),
        ),
    ),
    # -- rhopush check ---------------------------------------------------------------------------------------
    CommandPurpose(
        "check",
        "counts of users, devices and keys in `rhopush check`",
        "`rhopush check` cannot count users and devices, or `--clean` cannot remove keys",
        (
            *(
                f"SSCAN {keys.APP_USERS} 0",
                f"SCARD {keys.APP_USERS}",
                f"LLEN {keys.ResqueKeys().queues}",
                "SCAN 0",
            ),
            *("CLIENT LIST", f"XINFO GROUPS {keys.PROBE}", f"XGROUP DESTROY {keys.PROBE} g"),
            *(f"XINFO STREAM {keys.PROBE}", f"DEL {keys.PROBE}", "EVAL return 0"),
            *_on(keys.PROBE, "GET KEY", "UNLINK KEY", "HLEN KEY", "ZRANGE KEY 0 0"),
        ),
    ),
)
"""Required commands. The names of the keys come from `gateway.store.keys`."""

EXECUTED: Final = ("SORT",)
"""Reads that are executed after the transaction: Redis checks the permission for BY and GET of SORT only then."""

EXTERNAL: Final = {
    "AUTH": "the login itself: its error is the first on a connection",
    "DISCARD": "ends the transaction in which the commands are tested",
    "SHUTDOWN": "only the embedded Valkey is stopped",
}
"""Commands that are not tested -> the reason."""

CHANNEL, PATTERN, STREAM, NAMESPACE = "CHANNEL", "PATTERN", "STREAM", "NAMESPACE"
"""Placeholders for values from the settings, in commands of `documents`, `streams` and `resque`."""
