"""What can be set: one frozen struct a section, each default beside its reason.

The attribute path is the setting's name: `settings.apns.deadline_s` is `:gateway: {apns: {deadline_s: ...}}`
in the file and `RHOPUSH_APNS_DEADLINE_S` in the environment. `docs/settings.md` is the table for operators.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, cast

import msgspec
from msgspec import Meta

from gateway.errors import BadSetting
from gateway.settings.apns import ApnsSettings
from gateway.settings.fcm import FcmSettings
from gateway.settings.kinds import URL_PATTERN, PortOrAny, PositiveInt, PositiveSeconds, Seconds
from gateway.settings.provider_settings import ProviderSettings
from gateway.settings.secret import Secret

RHOCONNECT_PUSH_PORT = 8675


class QueueSettings(msgspec.Struct, frozen=True):
    """Where accepted pings wait, and what must hold before one is answered with 200.

    Attributes:
        redis: address of the queue's own Redis; None: the same as `Settings.redis`.
        durability: what Redis must promise: `memory` (nothing), `aof` (append-only file on), `fsync` (each
            append on disk), `replicas` (a replica has it).
    """

    redis: Secret | None = None
    durability: Literal["memory", "aof", "fsync", "replicas"] = "memory"


class App(msgspec.Struct, frozen=True):
    """What is said about one app on the phone (`device_app_id`); what is not said there came from above."""

    apns: ApnsSettings = ApnsSettings()
    fcm: FcmSettings = FcmSettings()

    def provider(self, name: str) -> ProviderSettings:
        """The section of a provider."""
        return cast("ProviderSettings", getattr(self, name))


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
        scheduled_pings, scheduled_bytes: most pings, and bytes of them, that may wait for their `deliver_at` (else
            503).
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
    scheduled_pings: PositiveInt = 1_000_000
    scheduled_bytes: PositiveInt = 1_073_741_824
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

    app_type: ClassVar[type[App]] = App
    """Its fields are the sections of providers; `with_providers` makes a type with further ones."""

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
        found = self.apps.get(device_app_id)
        if found is not None:
            return found
        return self.app_type(**{name: getattr(self, name) for name in self.app_type.__struct_fields__})

    @classmethod
    def provider_types(cls) -> dict[str, type[ProviderSettings]]:
        """The sections of providers: name and type."""
        return {field.name: field.type for field in msgspec.structs.fields(cls.app_type)}


def with_providers(sections: Mapping[str, type[ProviderSettings]]) -> type[Settings]:
    """The type of settings that also have these providers' sections, for all apps and for each.

    Args:
        sections: name of a provider, and the type of its section. The sections of `App` may be among them.

    Raises:
        BadSetting: a section has the name of another setting.
    """
    own = Settings.provider_types()
    further = {name: kind for name, kind in sections.items() if own.get(name) is not kind}
    for name in further:
        if name in Settings.__struct_fields__:
            raise BadSetting(f"{name}: a provider has the name of this setting", field=name)
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
