"""Every Redis name and lifetime that is ours, and RhoConnect's key layout.

Ours begin with `rhopush:`. All that the queue's scripts touch together carries the hash tag `{q}`, so that it
stays in one slot of a cluster. RhoConnect's own keys (contract §7) are read by fan-out and written only by
registration.
"""

from typing import Final, NamedTuple

PREFIX: Final = "rhopush:"
"""The gateway's own keys begin so, and no others."""
HASH_TAG: Final = "{q}"

# -- the queue -----------------------------------------------------------------------------------------------

CLOCK_DRIFT_MS: Final = 5_000
"""An instant in Redis that lies further in the future than it can was taken before Redis' clock was set back."""
GROUP: Final = "gateway"
"""Consumer group of every stream."""

PINGS: Final = "rhopush:{q}:pings"
"""STREAM: what the doors appended, up to `ENTRY_PINGS` pings an entry."""
RETRIES: Final = "rhopush:{q}:retries"
"""STREAM: pieces whose time has come again."""
BROADCASTS: Final = "rhopush:{q}:broadcasts"
"""STREAM: pings for many users, which wait to be cut."""
CHUNKS: Final = "rhopush:{q}:pieces"
"""STREAM: pieces of broadcasts, a chunk of users each."""
STREAMS: Final = (PINGS, RETRIES, BROADCASTS, CHUNKS)

SCHEDULE: Final = "rhopush:{q}:later"
"""ZSET: piece name -> epoch ms at which it is due again."""
SCHEDULE_BODIES: Final = "rhopush:{q}:later_body"
"""HASH: piece name -> the piece."""
STATS: Final = "rhopush:{q}:stats"
"""HASH: `pings` and `bytes` accepted and not settled; `receipt_bytes`; `clock`: Redis' TIME in ms when the schedule was
last looked at, by which it finds that the clock was set."""
PARKED: Final = "rhopush:{q}:parked"
"""HASH: lane -> sends of it that wait in LATER because the lane cannot send."""
RECEIPTS: Final = "rhopush:{q}:receipts"
"""ZSET: receipt key -> epoch ms of its first verdict; oldest dropped first."""

PROBE: Final = "rhopush:{q}:probe"
"""Never there: who writes it only where it is learns whether Redis takes writes."""
UNREADABLE: Final = "rhopush:{q}:unreadable_entries"
"""STREAM: records of entries that no worker could read or plan, newest last: `size` of the record, `stream` and `entry`
they came from, `reason`, `at_ms` (epoch), `fields` (msgpack list of the entry's fields and values; missing where it is
longer than `UNREADABLE_ENTRY_BYTES`)."""
UNREADABLE_MAX: Final = 1_000
"""Records kept."""
UNREADABLE_BYTES: Final = 64 * 1024 * 1024
"""Bytes of all records kept."""
UNREADABLE_ENTRY_BYTES: Final = 8 * 1024 * 1024
"""Bytes of an entry that is kept as it was: several times `ENTRY_BYTES`."""

MARKER_S: Final = 600
"""Longer than any door waits to learn what became of a lost append."""
IDEMPOTENCY_S: Final = 86_400
"""An Idempotency-Key is honoured for 24 h (docs/http-api.md)."""
BROADCAST_S: Final = 7 * 86_400
"""Users and dedupe keys of a broadcast, should its last gateway never come back."""
RECEIPT_SLACK_S: Final = 3_600
"""Receipts are dropped by upkeep; this much later Redis does it alone."""

ENTRY_PINGS: Final = 200
"""Pings in one entry: 0.5 µs a ping instead of one XADD each, and the most that one open send can keep back."""
ENTRY_BYTES: Final = 1_000_000
ENTRY_USERS: Final = 2_000
"""Users of all pings of an entry: what is looked up and in hand together."""
BROADCAST_USERS: Final = 200
"""A ping for more users than this is kept beside the queue and cut into pieces."""
CHUNK_USERS: Final = 400
"""Users of a broadcast that are looked up, reached and settled together: a piece."""


VOID: Final = b"void"
"""What the marker of an append says that was given up: it can never happen any more."""


def marker(batch: str, attempt: int) -> str:
    """STRING: the entry that this append made, or `VOID` (EX MARKER_S)."""
    return f"rhopush:{{q}}:append:{batch}.{attempt}"


def idempotency(scope: bytes) -> str:
    """STRING: `<hex digest of the body>:<ping id>` (EX IDEMPOTENCY_S)."""
    return f"rhopush:{{q}}:once:{scope.hex()}"


def progress(stream: str, entry: str) -> str:
    """HASH: what is already settled of a unit: `plan`, `accepted`, `rest`, or a broadcast's `cursor`."""
    return f"rhopush:{{q}}:progress:{stream.rpartition(':')[2]}:{entry}"


def receipt(batch: str) -> str:
    """HASH: what became of the pings of a batch."""
    return f"rhopush:{{q}}:receipt:{batch}"


def broadcast_users(ping_id: str) -> str:
    """HASH: chunk number -> msgpack list of logins."""
    return f"rhopush:{{q}}:users:{ping_id}"


def broadcast_devices(ping_id: str) -> str:
    """HASH: digest of a phone or pin -> the chunk by which this broadcast reaches it."""
    return f"rhopush:{{q}}:reached:{ping_id}"


def quota(lane: str) -> str:
    """HASH: `tokens` of a lane's quota and `at`, the epoch ms of that count."""
    return f"rhopush:{{q}}:quota:{lane}"


def completion_channel(name: str) -> str:
    """Channel on which the door `name` hears that a ping it waits for is finished."""
    return f"rhopush:done:{name}"


# -- beside RhoConnect's registry ----------------------------------------------------------------------------


def dead(client_id: str) -> str:
    """STRING: what a provider said of this device's token (see `marks`)."""
    return f"rhopush:dead:{client_id}"


def registered(client_id: str) -> str:
    """STRING: epoch ms of the last registration through this gateway, against which a 410 is held."""
    return REGISTERED_PREFIX + client_id


OWNED_SINCE: Final = "rhopush:owned_since:"
"""+ client. STRING: epoch ms at which its present owner got it (EX OWNED_SINCE_S); absent: it never changed hands."""
OWNED_SINCE_S: Final = 30 * 86_400
"""Longer than a ping can wait for its next try (FCM keeps a message for 28 days)."""
HOLDERS: Final = "rhopush:holders:"
"""+ SHA-1 of a push token. SET: clients that registered it through this gateway (EX DEAD_S)."""
HOLDERS_MAX: Final = 100
"""One device makes a new client at each installation; of more any one is forgotten."""


def owned_since(client_id: str) -> str:
    """STRING: see `OWNED_SINCE`."""
    return OWNED_SINCE + client_id


def snapshot(login: str) -> str:
    """STRING: what a look-up of this user found, and when by the journal (EX SNAPSHOT_S)."""
    return f"rhopush:snapshot:{login}"


SNAPSHOT_S: Final = 7 * 86_400
"""Of a user whom nobody pings for so long there need be none."""
CHANGE_LOG: Final = "rhopush:journal"
"""HASH: user or client that changed -> count of the journal when that was noted; beside them its count and void."""
LISTENERS: Final = "rhopush:listeners"
"""HASH: who listens for changes -> how often it has proved that."""


def heartbeat(listener: str) -> str:
    """STRING: the word that this listener left last, when it began or beat (EX BEAT_KEPT_S)."""
    return f"rhopush:beat:{listener}"


HEARTBEAT_TTL_S: Final = 3_600
"""Of a listener that has gone nothing stays."""


DEAD_PREFIX: Final = "rhopush:dead:"
REGISTERED_PREFIX: Final = "rhopush:registered:"
DEAD_S: Final = 400 * 86_400
"""Longer than any provider keeps a token alive unseen (FCM: 270 days)."""


BAD_TOKEN_S: Final = 7 * 86_400
"""BadDeviceToken may also mean a wrong setting: such a mark ends much sooner than that of a token that is gone."""


def credential_proof(identity: str) -> str:
    """HASH: `accepted` (epoch ms) once a credential's send to a host and topic was accepted, and `bad`, the number of
    BadDeviceToken answers before that (EX PROOF_S)."""
    return f"rhopush:proof:{identity}"


PROOF_S: Final = 400 * 86_400
"""As long as the longest mark."""


CONNECTION_NAME: Final = "rhopush:"
"""CLIENT SETNAME of every connection begins so: an operator sees what each is for."""


# -- RhoConnect's own layout (contract §7) -------------------------------------------------------------------

USER_PREFIX: Final = "user:"
CLIENT_PREFIX: Final = "client:"


def user(login: str, field: str) -> str:
    """STRING: a field of a user; `user:LOGIN:clients` is a SET of client ids."""
    return f"user:{login}:{field}"


def client(client_id: str, field: str) -> str:
    """STRING: a field of a client."""
    return f"client:{client_id}:{field}"


def api_token(token: str, field: str) -> str:
    """STRING: a field of an API token."""
    return f"api_token:{token}:{field}"


# -- logins and sessions of the doors ------------------------------------------------------------------------

SESSION_HMAC: Final = "rhopush:session_secret"
"""STRING: key of the session cookies' HMAC, made once and shared by all processes."""
LOGIN_WINDOW_S: Final = 60
"""Attempts to log in are counted over this time."""
APP_USERS: Final = "app:application:users"
"""SET: every login but rhoadmin (contract §7)."""
ADMIN_LOGIN: Final = "rhoadmin"


def login_attempts(scope: str) -> str:
    """HASH: `tried` and `failed` attempts of an account, a client or both in this window (EX LOGIN_WINDOW_S)."""
    return f"rhopush:attempts:{scope}"


def app(field: str) -> str:
    """STRING: a field of the one RhoConnect app."""
    return f"app:application:{field}"


def count(kind: str) -> str:
    """STRING: how many users or clients RhoConnect believes there are (`user:count`, `client:count`)."""
    return f"{kind}:count"


# -- data changes --------------------------------------------------------------------------------------------

CHANGE_EVENTS: Final = "rhopush:{q}:events"
"""HASH: who listens for all gateways: `holder`, `until` and `heard` (epoch ms), `mark`."""
WINDOWS: Final = "rhopush:{q}:windows"
"""ZSET: user -> epoch ms at which the next of the user's sources is due."""
WINDOW: Final = "rhopush:{q}:window:"
"""+ user. ZSET: source that changed -> epoch ms at which it is due."""
PUSHED: Final = "rhopush:{q}:pushed:"
"""+ user. HASH: when a source was last pushed for its data's change (`=` and its name), and the last two
pushes of the user (`last`, `before`), in epoch ms."""
CHANGE_ID: Final = "rhopush:{q}:change:"
"""+ id. STRING: this change is known (EX CHANGE_ID_S)."""
CHANGE_ID_S: Final = 3_600
"""Longer than any take-over; an hour of 1,000 changes a second takes some 400 MB."""
CHANGE_EVENT_GROUP: Final = "rhopush"
"""Consumer group of the streams that writers append changes to."""
CHANGE_EVENT_MARKS: Final = "rhopush:events:mark"
"""Channel by which the listening gateways agree what of a channel is written down."""


# -- Resque (contract §3.2) ----------------------------------------------------------------------------------

RESQUE_QUEUES: Final = "resque:queues"
"""SET: the names of Resque's queues."""


def resque_queue(name: str) -> str:
    """LIST: the jobs of one of Resque's queues."""
    return f"resque:queue:{name}"


class ResqueKeys(NamedTuple):
    """Resque's own names, which all begin with its namespace (`resque` where none is set)."""

    namespace: str = "resque"

    def of(self, name: str) -> str:
        """Any of them."""
        return f"{self.namespace}:{name}"

    @property
    def queues(self) -> str:
        """SET: the names of the queues."""
        return self.of("queues")

    @property
    def workers(self) -> str:
        """SET: ids of the workers."""
        return self.of("workers")

    @property
    def heartbeats(self) -> str:
        """HASH: worker id -> ISO 8601 time of its last heartbeat."""
        return self.of("workers:heartbeat")

    @property
    def failed(self) -> str:
        """LIST: records of failures."""
        return self.of("failed")

    @property
    def pause(self) -> str:
        """STRING: `true` while all workers are paused."""
        return self.of("pause-all-workers")

    def queue(self, name: str) -> str:
        """LIST: the jobs of a queue."""
        return self.of(f"queue:{name}")

    def worker(self, worker_id: str) -> str:
        """STRING: what a worker is busy with."""
        return self.of(f"worker:{worker_id}")

    def started(self, worker_id: str) -> str:
        """STRING: when a worker began."""
        return self.of(f"worker:{worker_id}:started")

    def stat(self, name: str, worker_id: str = "") -> str:
        """STRING: a count of all workers, or of one."""
        return self.of(f"stat:{name}:{worker_id}" if worker_id else f"stat:{name}")


RESQUE_HOST_PREFIX: Final = "rhopush-"
"""The host part of the gateway's own Resque workers begins so."""
RESQUE_TAKEN: Final = "rhopush:{q}:resque:taken:"
"""+ gateway. HASH: recovery id -> `queue NUL job` of what was taken off a queue and is not durable yet."""
RESQUE_TAKERS: Final = "rhopush:{q}:resque:takers"
"""ZSET: gateway -> epoch ms of its last sign of life."""


# -- the RhoConnect Push Service (contract §9): rhoconnect-push's own names, so that its data goes on --------

MAILBOX_REGISTRATIONS: Final = "reg:"
"""+ instance. SET: `{"token":..,"appname":..}` of each registered app."""
MAILBOX_INSTANCE_OF: Final = "tok:"
"""+ token. STRING: its instance."""
MAILBOX_COUNTER: Final = "cnt:"
"""+ instance. STRING: id of its last message."""
MAILBOX_QUEUE: Final = "que:"
"""+ instance. ZSET: message as the device gets it -> id."""
MAILBOX_COLLAPSE: Final = "col:"
"""+ instance. ZSET: `collapseId:appname` -> id; ours without a collapse id begin with `~`."""
MAILBOX_REGISTRATION_S: Final = 2_592_000
"""rhoconnect-push's registrationTimeout: all of these live 30 days from the last call of device or app."""

MAILBOX_ID_KEY: Final = "rhopush:rps:secret"
"""STRING: the secret of the service's ids, made once and shared by all processes."""
MAILBOX_WAKE: Final = "rhopush:rps:wake"
"""Channel on which every process of the service hears of messages and ended registrations."""
