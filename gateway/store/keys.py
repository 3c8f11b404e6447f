"""Names and lifetimes of all Redis keys: the gateway's own, and RhoConnect's key layout.

The gateway's keys begin with `rhopush:`. All keys that the queue's scripts use together carry the hash tag `{q}`, so
that they share one slot of a cluster. RhoConnect's own keys (contract §7) are read by fan-out and written only by
registration.
"""

from typing import Final, NamedTuple

PREFIX: Final = "rhopush:"
"""Prefix of the gateway's own keys, and of no others."""
HASH_TAG: Final = "{q}"

# -- queue ---------------------------------------------------------------------------------------------------

CLOCK_DRIFT_MS: Final = 5_000
"""Redis timestamps further in the future than they can be by more than this were taken before Redis' clock was set
back."""
GROUP: Final = "gateway"
"""Consumer group of every stream."""

PINGS: Final = "rhopush:{q}:pings"
"""STREAM: pings as the ingresses append them, up to `ENTRY_PINGS` in each entry."""
RETRIES: Final = "rhopush:{q}:retries"
"""STREAM: retry batches that are due."""
BROADCASTS: Final = "rhopush:{q}:broadcasts"
"""STREAM: pings for many users that are not split yet."""
CHUNKS: Final = "rhopush:{q}:pieces"
"""STREAM: chunks of broadcasts, each for some of the users."""
STREAMS: Final = (PINGS, RETRIES, BROADCASTS, CHUNKS)

SCHEDULE: Final = "rhopush:{q}:later"
"""ZSET: name of a retry batch -> epoch ms at which it is due."""
SCHEDULE_BODIES: Final = "rhopush:{q}:later_body"
"""HASH: name of a retry batch -> the batch."""
SCHEDULED_PINGS: Final = "rhopush:{q}:scheduled"
"""ZSET: batch of pings with `deliver_at` -> epoch ms of that instant."""
SCHEDULED_BODIES: Final = "rhopush:{q}:scheduled_body"
"""HASH: batch of pings with `deliver_at` -> its number of pings, its size, its stream (`p` pings, `b` broadcasts) and
its entry, without the instant of acceptance."""
STATS: Final = "rhopush:{q}:stats"
"""HASH: `pings` and `bytes` accepted and not settled; `scheduled_pings` and `scheduled_bytes` that wait for their
`deliver_at`; `receipt_bytes`; `clock`: Redis' TIME in ms at the last check of the schedule, by which a change of Redis'
clock is detected; `release_*`: of the release of scheduled pings, epoch ms of its last step, pings that were unfinished
then, pings finished per second, and epoch ms of the last release."""
PARKED: Final = "rhopush:{q}:parked"
"""HASH: lane -> number of its deliveries that are parked in the schedule because the lane is down."""
RECEIPTS: Final = "rhopush:{q}:receipts"
"""ZSET: receipt key -> epoch ms of its first verdict or cancellation; oldest dropped first."""
CANCELLED: Final = "rhopush:{q}:cancelled"
"""ZSET: id of a ping that was cancelled and may still have deliveries to come -> epoch ms at which the id leaves the
set in any case."""
CANCELLED_VERSION: Final = "rhopush:{q}:cancelled_version"
"""STRING: differs after each change of `CANCELLED`; absent while that is empty (EX CANCELLED_S)."""
CANCELLED_SWEPT: Final = "rhopush:{q}:cancelled_swept"
"""STRING: the value of `CANCELLED_VERSION` for which the retries and mailboxes were swept (EX CANCELLED_S)."""
CANCELLED_SWEEPER: Final = "rhopush:{q}:cancelled_sweeper"
"""STRING: exists while a worker sweeps (PX)."""
CANCELLED_S: Final = 31 * 86_400
"""Longest time for which a cancelled id is kept: more than the longest time to live of a ping (28 days)."""
CANCELLED_MAX: Final = 100_000
"""Most ids in the set. An id leaves it soon after the last verdict of its ping."""

CONSOLE_RECORDER: Final = "rhopush:{q}:console:recorder"
"""STRING: the worker that records the console's time series (PX: see `gateway.console.recorder`)."""


def console_history(name: str) -> str:
    """LIST: samples of one resolution of the console's time series, the newest last (EX CONSOLE_HISTORY_S)."""
    return f"rhopush:{{q}}:console:{name}"


CONSOLE_HISTORY_S: Final = 2 * 86_400
"""Lifetime of the console's time series after the last sample."""

PROBE: Final = "rhopush:{q}:probe"
"""A key that never exists: `SET … XX` on it probes whether Redis accepts writes."""
UNREADABLE: Final = "rhopush:{q}:unreadable_entries"
"""STREAM: records of entries that no worker could read, plan or settle, newest last: `size` of the record, `stream` and
`entry` they came from, `reason`, `at_ms` (epoch), `fields` (msgpack list of the entry's fields and values; missing
if it is longer than `UNREADABLE_ENTRY_BYTES`)."""
UNREADABLE_MAX: Final = 1_000
"""Most records stored."""
UNREADABLE_BYTES: Final = 64 * 1024 * 1024
"""Most bytes of all records together."""
UNREADABLE_ENTRY_BYTES: Final = 8 * 1024 * 1024
"""Longest entry in bytes that is stored unchanged: several times `ENTRY_BYTES`."""

WORKER_REPORTS: Final = "rhopush:{q}:workers"
"""HASH: name of a worker (`gateway:slot`) -> its latest report (EX WORKER_REPORTS_S)."""
WORKER_REPORTS_S: Final = 3_600
"""Lifetime of the reports after the last one."""
LANE_RESETS: Final = "rhopush:{q}:lane_resets"
"""HASH: lane -> number of the operator's last request to close its breaker; `number`: the last number given (EX
LANE_RESETS_S)."""
LANE_RESETS_S: Final = 3_600
"""Lifetime of such requests: every worker reads them once a second."""
WEBHOOK_EVENTS: Final = "rhopush:{q}:webhook_events"
"""STREAM: the outbox of webhooks, one record a settlement (`w`, `d`) or change of a condition (`c`); `s`: its bytes,
`q`: its number."""
WEBHOOK_OUTBOX: Final = "rhopush:{q}:webhook_outbox"
"""HASH: `bytes` of all records in the outbox, and the `number` of the newest."""
WEBHOOK_CONDITIONS: Final = "rhopush:{q}:webhook_conditions"
"""HASH: lane or credential -> its condition, while it is not the normal one."""
WEBHOOK_OUTBOX_S: Final = 4 * 86_400
"""Lifetime of the outbox after the last sweep: longer than an event is delivered (three days)."""
WEBHOOK_ENDPOINT_S: Final = 30 * 86_400
"""Lifetime of an endpoint's state after the last sweep of a gateway that has the endpoint."""


def webhook_endpoint(name: str) -> str:
    """HASH: the delivery state of a webhook endpoint (see `gateway.webhooks.endpoint_state`)."""
    return f"rhopush:{{q}}:webhook:{name}"


def webhook_leader(name: str) -> str:
    """STRING: the worker that delivers to a webhook endpoint (PX, see `gateway.webhooks.endpoint_state`)."""
    return f"rhopush:{{q}}:webhook_leader:{name}"


MARKER_S: Final = 600
"""Lifetime of a marker: longer than any ingress waits for the result of an append whose reply was lost."""
IDEMPOTENCY_S: Final = 86_400
"""An Idempotency-Key is honoured for 24 h (docs/http-api.md); that of a scheduled ping for 24 h after `deliver_at`."""
SCHEDULE_AHEAD_S: Final = 30 * 86_400
"""Longest time between the acceptance of a ping and its `deliver_at` (docs/http-api.md)."""
RELEASED_S: Final = 7 * 86_400
"""Lifetime of the marker of a released batch, by which its receipt finds it in the queue: as long as `BROADCAST_S`."""
BROADCAST_S: Final = 7 * 86_400
"""Lifetime of a broadcast's users and dedupe keys if no gateway ever completes it."""
RECEIPT_SLACK_S: Final = 3_600
"""Redis expires receipts this long after the maintenance task should have removed them."""

ENTRY_PINGS: Final = 200
"""Most pings in one entry: 0.5 µs a ping instead of one XADD each. It also bounds the pings that one unfinished
delivery keeps from being acknowledged."""
ENTRY_BYTES: Final = 1_000_000
ENTRY_USERS: Final = 2_000
"""Most users of all pings of an entry: the users that are looked up and held in memory together."""
BROADCAST_USERS: Final = 200
"""A ping for more users than this is stored outside the queue and split into chunks."""
CHUNK_USERS: Final = 400
"""Users of one chunk of a broadcast: looked up, delivered to and settled together."""


VOID: Final = b"void"
"""Value of the marker of an abandoned append: such an append can no longer take effect."""
IN_SCHEDULE: Final = b"0-0"
"""Value of the marker of a scheduled batch until its release: the id of no entry."""


def marker(batch: str, attempt: int) -> str:
    """STRING: the entry that this append created, `IN_SCHEDULE` or `VOID` (EX MARKER_S; RELEASED_S after a release)."""
    return f"rhopush:{{q}}:append:{batch}.{attempt}"


def idempotency(scope: bytes) -> str:
    """STRING: `<hex digest of the body>:<ping id>` (EX IDEMPOTENCY_S)."""
    return f"rhopush:{{q}}:once:{scope.hex()}"


def progress(stream: str, entry: str) -> str:
    """HASH: the progress of an entry: `verdicts`, a packed `gateway.queue.consumer.BatchProgress`, or `cursor` of a
    broadcast or of a ping that is split."""
    return f"rhopush:{{q}}:progress:{stream.rpartition(':')[2]}:{entry}"


def receipt(batch: str) -> str:
    """HASH: the receipts of a batch's pings."""
    return f"rhopush:{{q}}:receipt:{batch}"


def awaited_syncs(worker: str) -> str:
    """LIST: log of the syncs that this worker awaits (`gateway.queue.effects`; EX AWAITED_LOG_S)."""
    return f"rhopush:{{q}}:awaited:{worker}"


def broadcast_users(ping_id: str) -> str:
    """HASH: chunk number -> msgpack list of logins; of a broadcast to all users also `everybody.SCAN_CHUNK`."""
    return f"rhopush:{{q}}:users:{ping_id}"


def broadcast_devices(ping_id: str) -> str:
    """HASH: digest of a device or push token -> the chunk by which this broadcast reaches it."""
    return f"rhopush:{{q}}:reached:{ping_id}"


BADGE_S: Final = 30 * 86_400
"""Lifetime of a device's counter after its last increment."""
BADGE_PINGS: Final = 64
"""Most pings of which a counter keeps the number: a retry is counted again only after this many further pings."""


def badge(client_id: str) -> str:
    """HASH: the counter of a device for the badge "+1": `count`, `sync` (its `last_sync` at the first increment), and
    `pings`, the ids and numbers of its last pings (EX BADGE_S)."""
    return f"rhopush:{{q}}:badge:{client_id}"


def quota(lane: str) -> str:
    """HASH: `tokens` of a lane's quota, and `at`, the epoch ms of that count."""
    return f"rhopush:{{q}}:quota:{lane}"


def completion_channel(name: str) -> str:
    """Channel on which the process `name` receives the completions of the pings that its callers wait for."""
    return f"rhopush:done:{name}"


# -- beside RhoConnect's registry ----------------------------------------------------------------------------


def dead(client_id: str) -> str:
    """STRING: a provider's verdict about this device's push token (see `gateway.registry.token_marks`)."""
    return f"rhopush:dead:{client_id}"


def registered(client_id: str) -> str:
    """STRING: epoch ms of the last registration through this gateway, with which the timestamp of a 410 is compared."""
    return REGISTERED_PREFIX + client_id


OWNED_SINCE: Final = "rhopush:owned_since:"
"""+ client. STRING: epoch ms at which its present owner registered it (EX OWNED_SINCE_S); absent: it never changed
owners."""
OWNED_SINCE_S: Final = 30 * 86_400
"""Longer than a ping can wait for its next attempt (FCM keeps a message for 28 days)."""
HOLDERS: Final = "rhopush:holders:"
"""+ SHA-1 of a push token. SET: clients that registered it through this gateway (EX DEAD_S)."""
HOLDERS_MAX: Final = 100
"""Most clients in such a set: a device makes a new client at each installation. Beyond it, an arbitrary one is
removed."""


def owned_since(client_id: str) -> str:
    """STRING: see `OWNED_SINCE`."""
    return OWNED_SINCE + client_id


def snapshot(login: str) -> str:
    """STRING: the result of a look-up of this user, with its position in the change log (EX SNAPSHOT_S)."""
    return f"rhopush:snapshot:{login}"


SNAPSHOT_S: Final = 7 * 86_400
"""Lifetime of a snapshot: a user without a ping for so long needs none."""
CHANGE_LOG: Final = "rhopush:journal"
"""HASH: user or client that changed -> counter of the change log at that change; also the counter itself and `void`.
"""
LISTENERS: Final = "rhopush:listeners"
"""HASH: name of each process that listens for changes -> number of its confirmed heartbeats."""


def heartbeat(listener: str) -> str:
    """STRING: the word that this listener wrote last, at its start or heartbeat (EX HEARTBEAT_TTL_S)."""
    return f"rhopush:beat:{listener}"


HEARTBEAT_TTL_S: Final = 3_600
"""Lifetime of a heartbeat: the key of a listener that has ended expires."""


DEAD_PREFIX: Final = "rhopush:dead:"
REGISTERED_PREFIX: Final = "rhopush:registered:"
DEAD_S: Final = 400 * 86_400
"""Lifetime of a dead-token mark: longer than any provider keeps an unused token valid (FCM: 270 days)."""


BAD_TOKEN_S: Final = 7 * 86_400
"""Lifetime of a mark after BadDeviceToken. This reason may also mean a wrong setting, so the mark ends much sooner
than that of a token that the provider reports as unregistered."""


def credential_proof(identity: str) -> str:
    """HASH: `accepted` (epoch ms) once a delivery with this credential to a host and topic was accepted, and `bad`,
    the number of BadDeviceToken answers before that (EX PROOF_S)."""
    return f"rhopush:proof:{identity}"


PROOF_S: Final = 400 * 86_400
"""Lifetime of a credential proof, equal to that of the longest dead-token mark."""


CONNECTION_NAME: Final = "rhopush:"
"""Prefix of CLIENT SETNAME on every connection, so that an operator sees the purpose of each."""


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


# -- logins and sessions of the HTTP API ---------------------------------------------------------------------

SESSION_HMAC: Final = "rhopush:session_secret"
"""STRING: key of the session cookies' HMAC, generated once and shared by all processes."""
LOGIN_WINDOW_S: Final = 60
"""Period over which login attempts are counted."""
APP_USERS: Final = "app:application:users"
"""SET: every login but rhoadmin (contract §7)."""
ADMIN_LOGIN: Final = "rhoadmin"


CONSOLE_SESSION_S: Final = 12 * 3_600
"""Lifetime of a session of the console."""


def console_session(digest: str) -> str:
    """STRING: a session of the console, encrypted by a key that only its cookie holds (EX CONSOLE_SESSION_S)."""
    return f"rhopush:console:session:{digest}"


NAMED_TOKENS: Final = "rhopush:{q}:named_tokens"
"""HASH: SHA-256 of a named token (hex) -> its name, scopes, apps and instants as JSON. In the queue's Redis."""
NAMED_TOKENS_BY_NAME: Final = "rhopush:{q}:named_tokens_by_name"
"""HASH: name of a named token -> the SHA-256 of the token."""
NAMED_TOKENS_USED: Final = "rhopush:{q}:named_tokens_used"
"""HASH: SHA-256 of a named token -> epoch s of its last use, written at most once in `NAMED_TOKEN_USE_S`."""
NAMED_TOKENS_MAX: Final = 1_000
"""Most named tokens."""
NAMED_TOKEN_USE_S: Final = 60
AUDIT: Final = "rhopush:{q}:audit"
"""STREAM: the recorded actions of operators, the oldest dropped first: `r`, a JSON object. In the queue's Redis."""
AUDIT_MAX: Final = 10_000
"""Most records of the audit."""
AUDIT_RECORD_BYTES: Final = 2_200
"""Longest record; hence the audit takes 22 MB at most."""


def login_attempts(scope: str) -> str:
    """HASH: `tried` and `failed` attempts of an account, a client or both in this window (EX LOGIN_WINDOW_S)."""
    return f"rhopush:attempts:{scope}"


def app(field: str) -> str:
    """STRING: a field of the one RhoConnect app."""
    return f"app:application:{field}"


def count(kind: str) -> str:
    """STRING: number of users or clients by RhoConnect's count (`user:count`, `client:count`)."""
    return f"{kind}:count"


# -- data changes --------------------------------------------------------------------------------------------

CHANGE_EVENTS: Final = "rhopush:{q}:events"
"""HASH: the lease of the gateway that stores changes: `holder`, `until`, `heard` (epoch ms of its last renewal) and
`mark`; while no gateway holds it, `since` and `by`: the longest subscribed gateway that asked for it."""
WINDOWS: Final = "rhopush:{q}:windows"
"""ZSET: user -> epoch ms at which the next of the user's sources is due."""
WINDOW: Final = "rhopush:{q}:window:"
"""+ user. ZSET: source that changed -> epoch ms at which it is due."""
PUSHED: Final = "rhopush:{q}:pushed:"
"""+ user. HASH: time of the last push of a source after a change of its data (`=` and its name), and of the user's
last two pushes (`last`, `before`), in epoch ms."""
CHANGE_ID: Final = "rhopush:{q}:change:"
"""+ id. STRING: exists if this change was already received (EX CHANGE_ID_S)."""
CHANGE_ID_S: Final = 3_600
"""Longer than any takeover; an hour of 1,000 changes a second takes some 400 MB."""
CHANGE_EVENT_GROUP: Final = "rhopush"
"""Consumer group of the streams that writers append changes to."""
CHANGE_EVENT_MARKS: Final = "rhopush:events:mark"
"""Channel on which the gateways with a subscription agree on the part of a channel that is stored."""


# -- Resque (contract §3.2) ----------------------------------------------------------------------------------


class ResqueKeys(NamedTuple):
    """Resque's key names, which all begin with its namespace (`resque` by default)."""

    namespace: str = "resque"

    def of(self, name: str) -> str:
        """The key `name` within the namespace."""
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
        """STRING: the job that a worker is processing."""
        return self.of(f"worker:{worker_id}")

    def started(self, worker_id: str) -> str:
        """STRING: start time of a worker."""
        return self.of(f"worker:{worker_id}:started")

    def stat(self, name: str, worker_id: str = "") -> str:
        """STRING: a counter of all workers, or of one."""
        return self.of(f"stat:{name}:{worker_id}" if worker_id else f"stat:{name}")


RESQUE_HOST_PREFIX: Final = "rhopush-"
"""Prefix of the host part in the ids of the gateway's own Resque workers."""
RESQUE_TAKEN: Final = "rhopush:{q}:resque:taken:"
"""+ gateway. HASH: recovery id -> `queue NUL job` of each job that was taken from a queue and is not durable yet."""
RESQUE_TAKERS: Final = "rhopush:{q}:resque:takers"
"""ZSET: gateway -> epoch ms of its last heartbeat."""


# -- the RhoConnect Push service (contract §9): rhoconnect-push's key names, so that its data stays in use ---

MAILBOX_REGISTRATIONS: Final = "reg:"
"""+ instance. SET: `{"token":..,"appname":..}` of each registered app."""
MAILBOX_INSTANCE_OF: Final = "tok:"
"""+ token. STRING: its instance."""
MAILBOX_COUNTER: Final = "cnt:"
"""+ instance. STRING: id of its last message."""
MAILBOX_QUEUE: Final = "que:"
"""+ instance. ZSET: message as the device receives it -> id."""
MAILBOX_COLLAPSE: Final = "col:"
"""+ instance. ZSET: `collapseId:appname` -> id; names that the gateway gives to messages without a collapse id begin
with `~`."""
MAILBOX_REGISTRATION_S: Final = 2_592_000
"""Default of rhoconnect-push's registrationTimeout: all these keys expire 30 days after the last call of device or
app."""

MAILBOX_ID_KEY: Final = "rhopush:rps:secret"
"""STRING: the secret of the service's ids, generated once and shared by all processes."""
MAILBOX_WAKE: Final = "rhopush:rps:wake"
"""Channel on which every process of the service receives new messages and ended registrations."""
