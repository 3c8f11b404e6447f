"""The settings: one frozen struct per section, each default beside its reason.

The attribute path is the setting's name: `settings.apns.deadline_s` is `:gateway: {apns: {deadline_s: ...}}`
in the file and `RHOPUSH_APNS_DEADLINE_S` in the environment. `docs/settings.md` is the table for operators.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, cast

import msgspec
from msgspec import Meta

from gateway.errors import BadSetting
from gateway.logs.levels import LogLevel
from gateway.settings.apns import ApnsSettings
from gateway.settings.fcm import FcmSettings
from gateway.settings.kinds import URL_PATTERN, PortOrAny, PositiveInt, PositiveSeconds, Seconds
from gateway.settings.provider_settings import ProviderSettings
from gateway.settings.webhooks import WebhookSettings
from gateway.system.secret import Secret

RHOCONNECT_PUSH_PORT = 8675


class QueueSettings(msgspec.Struct, frozen=True):
    """The queue of accepted pings, and the durability that a response of 200 requires.

    Attributes:
        redis: address of the queue's own Redis; None: the same as `Settings.redis`.
        durability: required durability: `memory` (none), `aof` (append-only file on), `fsync` (each append on disk),
            `replicas` (a replica has it).
    """

    redis: Secret | None = None
    durability: Literal["memory", "aof", "fsync", "replicas"] = "memory"


class App(msgspec.Struct, frozen=True):
    """The settings of one app (`device_app_id`); each setting that is not given is inherited from those of all apps."""

    apns: ApnsSettings = ApnsSettings()
    fcm: FcmSettings = FcmSettings()

    def provider(self, name: str) -> ProviderSettings:
        """Return the section of a provider."""
        return cast("ProviderSettings", getattr(self, name))


class RhoConnectPushSettings(msgspec.Struct, frozen=True):
    """The RhoConnect Push service.

    Attributes:
        mode: `builtin` (this gateway is the service), `client` (it posts to the service of `push_server`) or `off`.
        host: address on which the built-in service listens; None: the gateway's.
        port: port of the built-in service; 0: any free port. If the default port is in use, the gateway runs without
            RhoConnect Push devices and logs this; any other port is required.
        redis: the service's own Redis; None: the same as `Settings.redis`.
        user_auth_url: URL that authenticates a device's session; None: this gateway itself.
        app_auth_url: URL that authenticates an app's credentials; None: compared with those of `push_server`.
        auth_cache_s: lifetime of a cached positive answer about an app; about a user, at most 10 s of it.
        wait_s: longest wait of a poll; 0: unlimited. Windows devices end a poll after 100 s, Android devices after
            120 s (contract §9.1).
        registration_ttl_s: lifetime of a registration after the last call of its device or app (rhoconnect-push's
            registrationTimeout).
        queue_max: largest number of queued messages per device; beyond it the oldest are removed.
        accept_unsigned_ids: whether polls and messages accept ids without a signature, as rhoconnect-push creates them.
        collapse_unnamed: whether all messages without a collapse id replace each other, as in rhoconnect-push.
        secret: signs new ids; None: a secret generated once, and stored in Redis and in `data_dir`.
        certificate_file: PEM with the service's certificate chain, for devices that use TLS; None: no TLS.
        key_file: PEM with its key; None: the key is in `certificate_file`.
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
    """Pushes caused by data changes.

    Attributes:
        channels: Redis channels to subscribe to.
        streams: Redis streams to read: the same events, stored while no gateway runs.
        keyspace: `listen` to keyspace notifications, `configure` them too, or `off`.
        window_ms: changes within this time are combined into one push.
        min_interval_s: minimum interval of pushes derived from keyspace notifications, per user and source.
        sources: names of the sources that push; None: those whose `push_notify` is true.
    """

    channels: tuple[str, ...] = ("rhoconnect:changes",)
    streams: tuple[str, ...] = ("rhoconnect:changes",)
    keyspace: Literal["off", "listen", "configure"] = "off"
    window_ms: Annotated[int, Meta(ge=0)] = 250
    min_interval_s: Seconds = 60.0
    sources: tuple[str, ...] | None = None


class ResqueSettings(msgspec.Struct, frozen=True):
    """RhoConnect's Resque jobs: the queues to process (empty: no worker), and their Redis (None: the same)."""

    queues: tuple[str, ...] = ("ping",)
    redis: Secret | None = None


class RetrySettings(msgspec.Struct, frozen=True):
    """Initial delays of repeated deliveries; each further delay doubles. A Retry-After takes precedence.

    Attributes:
        apns_5xx_s: after a 500 or 503, Apple asks for a delay of a quarter of an hour.
        fcm_5xx_s: Google asks for at least 10 s.
        unknown_s: no response arrived: the message was possibly delivered, so the delay is short but not zero.
        give_up_s: after this time, or the ping's time to live if that is shorter, the delivery is rejected permanently.
        jitter: each delay is extended by a random share of up to this fraction.
    """

    apns_5xx_s: PositiveSeconds = 900.0
    fcm_5xx_s: PositiveSeconds = 10.0
    unknown_s: PositiveSeconds = 5.0
    give_up_s: PositiveSeconds = 3600.0
    jitter: Annotated[float, Meta(ge=0, le=1)] = 0.2


class PingSettings(msgspec.Struct, frozen=True):
    """Defaults of a ping: time to live with and without visible content, the longest `wait=true`, and whether payloads
    have the ping's id as `ping_id`."""

    ttl_s: Annotated[int, Meta(ge=0)] = 86_400
    sync_ttl_s: Annotated[int, Meta(ge=0)] = 3_600
    wait_max_s: PositiveSeconds = 30.0
    include_id: bool = False


class LimitSettings(msgspec.Struct, frozen=True):
    """Limits of the HTTP API.

    Attributes:
        body_bytes: longest body of a request whose header has a valid API token (else 413).
        unauthenticated_body_bytes: longest body of any other request (else 413 that names the header).
        bodies_bytes: bytes of request bodies that one process holds at a time (else 503).
        line_bytes: longest line of a request with many pings (else 413 for that line).
        users_per_ping: most users that a ping may name (else 413).
        queue_pings, queue_bytes: most pings, and bytes of them, that may wait in the queue (else 503).
        scheduled_pings, scheduled_bytes: most pings, and bytes of them, that may wait for their `deliver_at` (else
            503).
        webhook_bytes: most bytes of events that are stored for webhooks; beyond it the oldest are removed.
        requests_per_s: most pings per second and gateway (else 429); None: no limit.
        connections: most HTTP connections of one process on each of its ports; None: derived from RLIMIT_NOFILE.
        devices_per_user: most devices that one user may have (else 422).
        users: number of users from which a device's login creates no further one (`auth.devices: open`, else 422).
    """

    body_bytes: PositiveInt = 33_554_432
    unauthenticated_body_bytes: PositiveInt = 65_536
    bodies_bytes: PositiveInt = 134_217_728
    line_bytes: PositiveInt = 262_144
    users_per_ping: PositiveInt = 1_000_000
    queue_pings: PositiveInt = 1_000_000
    queue_bytes: PositiveInt = 2_147_483_648
    scheduled_pings: PositiveInt = 1_000_000
    scheduled_bytes: PositiveInt = 1_073_741_824
    webhook_bytes: PositiveInt = 268_435_456
    requests_per_s: Annotated[float, Meta(gt=0)] | None = None
    connections: PositiveInt | None = None
    devices_per_user: PositiveInt = 1_000
    users: PositiveInt = 1_000_000


class HttpSettings(msgspec.Struct, frozen=True):
    """The HTTP API behind a reverse proxy.

    Attributes:
        trusted_proxies: addresses or networks (CIDR) whose X-Forwarded-For and X-Forwarded-Proto are trusted.
    """

    trusted_proxies: tuple[str, ...] = ()


class MetricsSettings(msgspec.Struct, frozen=True):
    """The listener of the metrics.

    Attributes:
        port: port of a listener that serves `/metrics` alone; None: the main port serves it.
    """

    port: PortOrAny | None = None


class ConsoleSettings(msgspec.Struct, frozen=True):
    """The console for operators.

    Attributes:
        enabled: whether the HTTP API serves `/console`.
        demo: whether the console shows the simulated devices that `rhopush demo` reports to it.
    """

    enabled: bool = True
    demo: bool = False


class ReadyzSettings(msgspec.Struct, frozen=True):
    """The answer of `/readyz`.

    Attributes:
        strict: whether a part that only some pings need makes the gateway not ready.
    """

    strict: bool = False


class ReceiptSettings(msgspec.Struct, frozen=True):
    """Receipts of pings: their lifetime, and the largest number of stored receipts."""

    ttl_s: PositiveInt = 86_400
    max_bytes: PositiveInt = 268_435_456


class RegistrySettings(msgspec.Struct, frozen=True):
    """Look-up of devices.

    Attributes:
        snapshots: store a user's devices as one key of some 220 bytes, beside RhoConnect's ten keys per device.
    """

    snapshots: bool = True


class AuthSettings(msgspec.Struct, frozen=True):
    """Authentication of devices: none may register here, existing users with their password, or anyone."""

    devices: Literal["off", "redis", "open"] = "redis"


class TracingSettings(msgspec.Struct, frozen=True):
    """Traces of pings for OpenTelemetry.

    Attributes:
        endpoint: URL to which spans are posted (OTLP over HTTP); None: no traces.
        sample: share of the pings without a caller's trace that are recorded; a caller's trace decides by its flag.
    """

    endpoint: Annotated[str, Meta(pattern=URL_PATTERN)] | None = None
    sample: Annotated[float, Meta(ge=0, le=1)] = 0.01


class Source(msgspec.Struct, frozen=True):
    """A RhoConnect source: `user` or `app` partition, and whether its changes push."""

    partition_type: str = "user"
    push_notify: bool = False


class Settings(msgspec.Struct, frozen=True):
    """All settings. `load` creates them; no other code reads the file or the environment.

    Attributes:
        redis: address of RhoConnect's Redis; None: the embedded store.
        api_token: authorizes the admin routes; None: the token in `data_dir/api_token`, generated at the first start.
        admin_password: password of `rhoadmin` if this user does not exist yet (`PSWRD`).
        push_server: URL of the RhoConnect Push service, including the app's credentials.
        data_dir: folder of the embedded store, the locks and the token.
        documents: every Redis over which RhoConnect distributes its documents, beginning with `redis`; empty: `redis`
            alone.
        apps: resolved settings by `device_app_id`; use `app`.
        webhooks: endpoints of webhooks by name.
        drain_s: longest time in which a stopping worker finishes its work.
        log_level: the lowest level of log lines that are written.
        sources: RhoConnect's sources by name.
        origins: source of each setting that is not a default, by its name: a variable, or file and line.
        warnings: texts that are not errors, for the log.
    """

    app_type: ClassVar[type[App]] = App
    """Type of the apps' settings. Its fields are the sections of providers; `with_providers` adds further ones."""

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
    console: ConsoleSettings = ConsoleSettings()
    readyz: ReadyzSettings = ReadyzSettings()
    receipts: ReceiptSettings = ReceiptSettings()
    registry: RegistrySettings = RegistrySettings()
    auth: AuthSettings = AuthSettings()
    tracing: TracingSettings = TracingSettings()
    drain_s: Seconds = 25.0
    log_level: LogLevel = "info"
    documents: tuple[Secret, ...] = ()
    apps: Mapping[str, App] = {}
    webhooks: Mapping[str, WebhookSettings] = {}
    sources: Mapping[str, Source] = {}
    origins: Mapping[str, str] = {}
    warnings: tuple[str, ...] = ()

    def app(self, device_app_id: str) -> App:
        """Return the settings of one app; an unknown or empty id has those of all apps."""
        found = self.apps.get(device_app_id)
        if found is not None:
            return found
        return self.app_type(**{name: getattr(self, name) for name in self.app_type.__struct_fields__})

    @classmethod
    def provider_types(cls) -> dict[str, type[ProviderSettings]]:
        """Return the sections of providers: name and type."""
        return {field.name: field.type for field in msgspec.structs.fields(cls.app_type)}


def with_providers(sections: Mapping[str, type[ProviderSettings]]) -> type[Settings]:
    """Return a type of settings with these providers' sections, both for all apps and for each app.

    Args:
        sections: name of a provider, and the type of its section. The sections of `App` may be included.

    Raises:
        BadSetting: a section has the name of another setting.
    """
    own = Settings.provider_types()
    further = {name: kind for name, kind in sections.items() if own.get(name) is not kind}
    for name in further:
        if name in Settings.__struct_fields__:
            raise BadSetting(f"{name}: a provider cannot have the name of a setting", field=name)
    if not further:
        return Settings
    fields: list[tuple[str, Any, Any]] = [(name, kind, kind()) for name, kind in further.items()]
    app_type: Any = msgspec.defstruct("App", fields, bases=(App,), module=__name__, frozen=True)
    fields.append(("apps", Mapping[str, app_type], {}))
    namespace = {"app_type": app_type}
    derived = msgspec.defstruct(
        "Settings", fields, bases=(Settings,), module=__name__, namespace=namespace, frozen=True
    )
    return cast("type[Settings]", derived)
