"""What can be set: one frozen struct a section, each default beside its reason.

The attribute path is the setting's name: `settings.apns.deadline_s` is `:gateway: {apns: {deadline_s: ...}}`
in the file and `RHOPUSH_APNS_DEADLINE_S` in the environment. `docs/settings.md` is the table for operators.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from gateway.settings.secret import Secret

Port = Annotated[int, Meta(ge=1, le=65535)]
PortOrAny = Annotated[int, Meta(ge=0, le=65535)]
RHOCONNECT_PUSH_PORT = 8675
SANDBOX_HOST = "api.sandbox.push.apple.com"
ORIGIN_PATTERN = "^https?://[^/?#]+/?$"
URL_PATTERN = "^https?://[^/?#]+"
PositiveInt = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(ge=0)]
PositiveSeconds = Annotated[float, Meta(gt=0)]


class QueueSettings(msgspec.Struct, frozen=True):
    """Where accepted pings wait, and what must hold before one is answered with 200.

    Attributes:
        redis: address of the queue's own Redis; None: the same as `Settings.redis`.
        durability: what Redis must promise: `memory` (nothing), `aof` (append-only file on), `fsync` (each
            append on disk), `replicas` (a replica has it).
    """

    redis: Secret | None = None
    durability: Literal["memory", "aof", "fsync", "replicas"] = "memory"


class ApnsSettings(msgspec.Struct, frozen=True):
    """Apple: one credential (a key, or a certificate) and the way to the server.

    Attributes:
        key_file: path of the p8 key; key: the same as text. At most one of the two.
        key_id: ten characters, from the name of the key file.
        team_id: ten characters, of the Apple developer account.
        certificate_file: PEM with certificate and key together, instead of a p8 key (`:iphonecertfile:`).
        certificate_passphrase: of that PEM's key.
        topic: the app's bundle id; None: what the certificate says.
        environment: which of Apple's hosts is meant where `host` is not given; `auto`: both; the gateway learns for
            each device which of them takes its token.
        host: the server; None: the one of `environment`, with `auto` the production host. `server` is the one in
            force.
        port: its port. Apple offers 443 and 2197 (providers: "Sending notification requests to APNs").
        sandbox_host: with `auto`, the sandbox; None: Apple's, or none where `host` is given.
        sandbox_port: its port.
        ca_file: PEM of authorities to trust instead of the system's.
        deadline_s: how long one request may wait for its answer before it counts as unknown.
        connections_max: at most so many connections a credential and worker. Apple asks for few, long-lived
            ones.
        background_min_interval_s: shortest time between two background pushes to one device; 0: no limit.
        alert: `auto`: `aps.alert` is a text, or Apple's object where there is a title; `text`: always a text, title and
            message joined (Rhodes up to 3.x reads no object).
    """

    key_file: Path | None = None
    key: Secret | None = None
    key_id: str | None = None
    team_id: str | None = None
    certificate_file: Path | None = None
    certificate_passphrase: Secret | None = None
    topic: str | None = None
    environment: Literal["production", "sandbox", "auto"] = "production"
    host: str | None = None
    port: Port = 443
    sandbox_host: str | None = None
    sandbox_port: Port = 443
    ca_file: Path | None = None
    deadline_s: PositiveSeconds = 15.0
    connections_max: PositiveInt = 4
    background_min_interval_s: Seconds = 0.0
    alert: Literal["auto", "text"] = "auto"

    @property
    def server(self) -> str:
        """Host name in force: `host`, or Apple's for `environment`."""
        if self.host is not None:
            return self.host
        return SANDBOX_HOST if self.environment == "sandbox" else "api.push.apple.com"

    @property
    def sandbox(self) -> tuple[str, int] | None:
        """Host and port of the second server that `auto` tries; None: there is only `server`."""
        if self.environment != "auto":
            return None
        if self.sandbox_host is None and self.host is not None:
            return None  # a host of the operator's own must not make the gateway ask Apple's sandbox
        return self.sandbox_host or SANDBOX_HOST, self.sandbox_port

    @property
    def configured(self) -> bool:
        """Whether there is a credential at all: without one nothing is sent to Apple."""
        return self.key is not None or self.key_file is not None or self.certificate_file is not None


class FcmSettings(msgspec.Struct, frozen=True):
    """Firebase Cloud Messaging, HTTP v1.

    Attributes:
        credentials_file: path of the JSON of a credential of Google's; credentials: the same as text, or `metadata` for
            the metadata server. At most one of the two.
        project_id: Firebase project (`:fcm_project_id:`); None: the one that the credential names.
        package_name: Android package to restrict to (`:package_name:`).
        endpoint: scheme, host and port of the API.
        ca_file: PEM of authorities to trust instead of the system's.
        deadline_s: how long one request may wait for its answer before it counts as unknown.
        connections_max: at most so many connections a credential and worker.
        per_minute: the project's quota of messages, over all gateways (600,000 is Google's default).
        style: `notification` adds the notification block to a message; `data` leaves showing it to the app.
        sync_priority: Android's priority of messages that show nothing, unless the ping has one of its own.
    """

    credentials_file: Path | None = None
    credentials: Secret | None = None
    project_id: str | None = None
    package_name: str | None = None
    endpoint: Annotated[str, Meta(pattern=ORIGIN_PATTERN)] = "https://fcm.googleapis.com"
    ca_file: Path | None = None
    deadline_s: PositiveSeconds = 15.0
    connections_max: PositiveInt = 8
    per_minute: PositiveInt = 600_000
    style: Literal["notification", "data"] = "notification"
    sync_priority: Literal["high", "normal"] = "high"

    @property
    def configured(self) -> bool:
        """Whether there is a credential at all: without one nothing is sent to Google."""
        return self.credentials is not None or self.credentials_file is not None


class App(msgspec.Struct, frozen=True):
    """What is said about one app on the phone (`device_app_id`); what is not said there came from above."""

    apns: ApnsSettings = ApnsSettings()
    fcm: FcmSettings = FcmSettings()


class RhoConnectPushSettings(msgspec.Struct, frozen=True):
    """The RhoConnect Push Service for legacy devices.

    Attributes:
        mode: `builtin` (this gateway is the service), `client` (it posts to the one of `push_server`) or
            `off`.
        host: where the built-in service listens; None: where the gateway does.
        port: of the built-in service; 0: any free one. Where the default is taken, the gateway goes on
            without legacy devices and says so; any other port must be had.
        redis: its own Redis; None: the same as `Settings.redis`.
        user_auth_url: where a device's session is asked for; None: this gateway itself.
        app_auth_url: where an app's credentials are asked for; None: those of `push_server`.
        auth_cache_s: how long a good answer about an app is believed; about a user, at most 10 s of it.
        wait_s: how long a poll waits; 0: for ever. Windows devices give up after 100 s, Android after 120 s
            (contract §9.1).
        registration_ttl_s: a registration ends so long after the last call of its device or app
            (rhoconnect-push's registrationTimeout).
        queue_max: messages that wait for one device; of more the oldest go.
        accept_unsigned_ids: whether polls and messages accept ids without a signature, as rhoconnect-push makes them.
        collapse_unnamed: rhoconnect-push's rule: all messages without a collapse id are one.
        secret: what new ids are made with; None: one that is made once, and kept in Redis and in `data_dir`.
        certificate_file: PEM with the service's certificate chain, for devices that use TLS; None: no TLS.
        key_file: PEM of its key; None: in `certificate_file`.
    """

    mode: Literal["builtin", "client", "off"] = "builtin"
    host: str | None = None
    port: PortOrAny = RHOCONNECT_PUSH_PORT
    redis: Secret | None = None
    user_auth_url: Annotated[str, Meta(pattern=URL_PATTERN)] | None = None
    app_auth_url: Annotated[str, Meta(pattern=URL_PATTERN)] | None = None
    auth_cache_s: Seconds = 60.0
    wait_s: Seconds = 90.0
    registration_ttl_s: PositiveInt = 2_592_000
    queue_max: PositiveInt = 100
    accept_unsigned_ids: bool = True
    collapse_unnamed: bool = False
    secret: Secret | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None


class EventSettings(msgspec.Struct, frozen=True):
    """Pushes that follow from data changes.

    Attributes:
        channels: Redis channels to listen on.
        streams: Redis streams to read: the same events, kept while nobody listens.
        keyspace: `listen` to keyspace notifications, `configure` them too, or `off`.
        window_ms: changes within this time become one push.
        min_interval_s: of events derived from keyspace: at most one a user and source in this time.
        sources: names of the sources that push; None: those whose `push_notify` is true.
    """

    channels: tuple[str, ...] = ("rhoconnect:changes",)
    streams: tuple[str, ...] = ("rhoconnect:changes",)
    keyspace: Literal["off", "listen", "configure"] = "off"
    window_ms: Annotated[int, Meta(ge=0)] = 250
    min_interval_s: Seconds = 60.0
    sources: tuple[str, ...] | None = None


class ResqueSettings(msgspec.Struct, frozen=True):
    """RhoConnect's Resque jobs: queues to work on (none: no worker), and their Redis (None: the same)."""

    queues: tuple[str, ...] = ("ping",)
    redis: Secret | None = None


class RetrySettings(msgspec.Struct, frozen=True):
    """First delays of a send that must go out again; each further one doubles. A Retry-After wins.

    Attributes:
        apns_5xx_s: Apple asks for a quarter of an hour after a 500 or 503 before more is sent.
        fcm_5xx_s: Google asks for at least 10 s.
        unknown_s: no answer came: the send is perhaps delivered, so this is short but not at once.
        give_up_s: after this time the send is rejected for good, if its time to live did not end before.
        jitter: each delay is made longer by a random part of up to this fraction.
    """

    apns_5xx_s: PositiveSeconds = 900.0
    fcm_5xx_s: PositiveSeconds = 10.0
    unknown_s: PositiveSeconds = 5.0
    give_up_s: PositiveSeconds = 3600.0
    jitter: Annotated[float, Meta(ge=0, le=1)] = 0.2


class PingSettings(msgspec.Struct, frozen=True):
    """Defaults of a ping: time to live with and without something to show, and the longest `wait=true`."""

    ttl_s: Annotated[int, Meta(ge=0)] = 86_400
    sync_ttl_s: Annotated[int, Meta(ge=0)] = 3_600
    wait_max_s: PositiveSeconds = 30.0


class LimitSettings(msgspec.Struct, frozen=True):
    """Limits of the HTTP API.

    Attributes:
        body_bytes: longest body of a request whose header has a valid API token (else 413).
        unauthenticated_body_bytes: longest body of any other request (else 413 that names the header).
        bodies_bytes: bytes of request bodies that one process holds at a time (else 503).
        line_bytes: longest line of a request with many pings (else 413 for that line).
        users_per_ping: most users that a ping may name (else 413).
        queue_pings, queue_bytes: most pings, and bytes of them, that may wait in the queue (else 503).
        requests_per_s: most pings per second and gateway (else 429); None: no limit.
        connections: most HTTP connections of one process on each of its ports; None: derived from RLIMIT_NOFILE.
        devices_per_user: most devices that one user may have (else 422).
    """

    body_bytes: PositiveInt = 33_554_432
    unauthenticated_body_bytes: PositiveInt = 65_536
    bodies_bytes: PositiveInt = 134_217_728
    line_bytes: PositiveInt = 262_144
    users_per_ping: PositiveInt = 1_000_000
    queue_pings: PositiveInt = 1_000_000
    queue_bytes: PositiveInt = 2_147_483_648
    requests_per_s: Annotated[float, Meta(gt=0)] | None = None
    connections: PositiveInt | None = None
    devices_per_user: PositiveInt = 1_000


class HttpSettings(msgspec.Struct, frozen=True):
    """The HTTP API behind a reverse proxy.

    Attributes:
        trusted_proxies: addresses or networks (CIDR) whose X-Forwarded-For and X-Forwarded-Proto are believed.
    """

    trusted_proxies: tuple[str, ...] = ()


class MetricsSettings(msgspec.Struct, frozen=True):
    """Where Prometheus reads the metrics.

    Attributes:
        port: port of a listener that serves `/metrics` alone; None: the main port serves it.
    """

    port: PortOrAny | None = None


class ReceiptSettings(msgspec.Struct, frozen=True):
    """What became of pings: how long that is kept, and how much of it at most."""

    ttl_s: PositiveInt = 86_400
    max_bytes: PositiveInt = 268_435_456


class RegistrySettings(msgspec.Struct, frozen=True):
    """How devices are looked up.

    Attributes:
        snapshots: keep what was found of a user as one key beside RhoConnect's ten a device, some 220 bytes.
    """

    snapshots: bool = True


class AuthSettings(msgspec.Struct, frozen=True):
    """Who may register devices: nobody here, users that exist (with their password), or anyone."""

    devices: Literal["off", "redis", "open"] = "redis"


class Source(msgspec.Struct, frozen=True):
    """A RhoConnect source, as far as push goes: `user` or `app` partition, and whether changes push."""

    partition_type: str = "user"
    push_notify: bool = False


class Settings(msgspec.Struct, frozen=True):
    """The whole. Made by `load`; nothing else reads the file or the environment.

    Attributes:
        redis: address of RhoConnect's Redis; None: the embedded one.
        api_token: opens the admin routes; None: the one in `data_dir/api_token`, made at the first start.
        admin_password: of `rhoadmin` where it does not exist yet (`PSWRD`).
        push_server: URL of the legacy service with the app's credentials in it.
        data_dir: folder of the embedded store, the locks and the token.
        documents: every Redis over which RhoConnect spreads its documents, the first being `redis`; empty:
            that one alone.
        apps: by `device_app_id`, resolved: use `app`.
        drain_s: how long an ending worker may finish what it has begun.
        sources: RhoConnect's sources by name.
        warnings: what was noticed and is no error, for the log.
    """

    redis: Secret | None = None
    api_token: Secret | None = None
    admin_password: Secret | None = None
    push_server: Secret | None = None
    data_dir: Path = Path("data")
    queue: QueueSettings = QueueSettings()
    apns: ApnsSettings = ApnsSettings()
    fcm: FcmSettings = FcmSettings()
    rhoconnect_push: RhoConnectPushSettings = RhoConnectPushSettings()
    events: EventSettings = EventSettings()
    resque: ResqueSettings = ResqueSettings()
    retry: RetrySettings = RetrySettings()
    ping: PingSettings = PingSettings()
    limits: LimitSettings = LimitSettings()
    http: HttpSettings = HttpSettings()
    metrics: MetricsSettings = MetricsSettings()
    receipts: ReceiptSettings = ReceiptSettings()
    registry: RegistrySettings = RegistrySettings()
    auth: AuthSettings = AuthSettings()
    drain_s: Seconds = 25.0
    documents: tuple[Secret, ...] = ()
    apps: Mapping[str, App] = {}
    sources: Mapping[str, Source] = {}
    warnings: tuple[str, ...] = ()

    def app(self, device_app_id: str) -> App:
        """What holds for one app on the phone; an unknown or empty id has what is said for all."""
        return self.apps.get(device_app_id) or App(self.apns, self.fcm)
