"""The checks of `rhopush check`. They deliver nothing and change nothing.

Each check returns findings: facts in order, future problems, and problems that keep a gateway from serving.
"""

import asyncio
import os
import ssl
import time
from typing import Final

from gateway.check.findings import Finding, Level
from gateway.clock import SKEW_WARNING_S
from gateway.delivery.provider_registry import installed
from gateway.delivery.providers.base import ProviderServer, PushProvider
from gateway.errors import (
    BadSetting,
    CredentialError,
    RhoPushError,
    StoreDown,
    StoreRefused,
    UnsafeFile,
)
from gateway.server.data_dir import ID_FILE, DataDir, DataDirInUse
from gateway.server.file_permissions import exposed
from gateway.server.id_secret import read_copy
from gateway.server.push_certificate import read_push_certificate
from gateway.settings import Settings
from gateway.store.address import RedisAddress, queue_address
from gateway.store.client_factory import ServerFacts, client, facts, invalid_ca_files
from gateway.store.command_probe import by_address, refused_by, uses
from gateway.store.durability import CLUSTER, judge
from gateway.store.embedded import fsync_policy, socket_path
from gateway.store.error_replies import in_cluster_mode
from gateway.transport.error_text import describe
from gateway.transport.tls import client_context

EXPIRY_WARNING_S: Final = 30 * 86_400.0
"""Time before an expiry from which the check warns: Apple's certificates are renewed by hand, which may take a
month."""

_CONNECT_S: Final = 5.0


# -- credentials ---------------------------------------------------------------------------------------------


def check_credentials(settings: Settings) -> list[Finding]:
    """Check every credential in the settings, once for each app with settings of its own."""
    return [
        _credential(provider, settings, app)
        for provider, app in installed().credentials(settings)
        if provider.per_app
    ]


def _credential(provider: PushProvider, settings: Settings, app: str) -> Finding:
    subject = f"{provider.name} ({app})" if app else provider.name
    try:
        found = provider.check(settings, app)
    except (BadSetting, CredentialError) as error:
        return Finding(Level.BAD, subject, error.message)
    if found is None:
        return Finding(Level.WARNING, subject, f"no credential: {provider.devices} devices are not served")
    if found.expires_s is not None:
        return expiry(subject, found.text, found.expires_s - time.time())
    return Finding(Level.GOOD, subject, found.text)


def expiry(subject: str, what: str, left_s: float) -> Finding:
    """Return a finding about the remaining validity of a credential or certificate."""
    days = int(left_s // 86_400)
    if left_s <= 0:
        return Finding(Level.BAD, subject, f"{what} has expired")
    level = Level.WARNING if left_s < EXPIRY_WARNING_S else Level.GOOD
    return Finding(level, subject, f"{what}, valid for {days} more days")


def check_push_certificate(settings: Settings) -> list[Finding]:
    """Check the certificate of the RhoConnect Push service, read as `serve` reads it."""
    rhoconnect_push, subject = settings.rhoconnect_push, "rhoconnect_push"
    if rhoconnect_push.mode != "builtin":
        return []
    if rhoconnect_push.certificate_file is None and rhoconnect_push.key_file is not None:
        text = (
            "rhoconnect_push.key_file is not used, and devices connect without TLS: "
            "rhoconnect_push.certificate_file is not set"
        )
        return [Finding(Level.WARNING, subject, text)]
    try:
        certificate = read_push_certificate(rhoconnect_push)
    except BadSetting as error:
        return [Finding(Level.BAD, subject, error.message)]
    if certificate is None:
        return []
    return [
        expiry(
            subject, f"certificate {rhoconnect_push.certificate_file}", certificate.expires_s - time.time()
        )
    ]


# -- files ---------------------------------------------------------------------------------------------------


def check_files(settings: Settings) -> list[Finding]:
    """Check the data folder as `serve` does, and report all files that other users of this machine can read or
    change."""
    findings = [Finding(Level.WARNING, "files", warning) for warning in exposed(settings)]
    folder = DataDir(settings.data_dir)
    try:
        folder.probe()
        folder.check_kept(token=settings.api_token is None)
    except (DataDirInUse, UnsafeFile) as error:
        return [*findings, Finding(Level.BAD, "data_dir", error.message)]
    return findings + _id_copy(settings)


def _id_copy(settings: Settings) -> list[Finding]:
    """Check the copy of the secret of RhoConnect Push ids: a gateway starts without one, and logs that."""
    file = settings.data_dir / ID_FILE
    if (
        settings.rhoconnect_push.mode != "builtin"
        or settings.rhoconnect_push.secret is not None
        or not os.path.lexists(file)
    ):
        return []
    try:
        if read_copy(file) is not None:
            return []
        why = "is no secret"
    except OSError as error:
        why = f"cannot be read: {error.strerror}"
    text = f"{file} {why}: if Redis loses the secret of RhoConnect Push ids, devices must register again"
    return [Finding(Level.WARNING, "data_dir", text)]


# -- Redis ---------------------------------------------------------------------------------------------------


def check_trust(settings: Settings) -> list[Finding]:
    """Check the certificate authority files in the addresses of Redis."""
    return [Finding(Level.BAD, error.field or "redis", error.message) for error in invalid_ca_files(settings)]


async def check_store(settings: Settings) -> list[Finding]:
    """Check the Redis of the registry and that of the queue: product, version, persistence and eviction."""
    if settings.redis is None:
        return [_embedded(settings)]
    found = await _redis(
        "redis", RedisAddress.parse(settings.redis), settings, queue=settings.queue.redis is None
    )
    if settings.queue.redis is not None:
        found += await _redis("redis (queue)", RedisAddress.parse(settings.queue.redis), settings, queue=True)
    return found


def _embedded(settings: Settings) -> Finding:
    """Check the folder of the embedded store, which must be writable; the store runs only while a gateway does."""
    try:
        DataDir(settings.data_dir).probe()
        socket_path(settings.data_dir.absolute() / "valkey")
        fsync_policy(settings.queue.durability)
    except RhoPushError as error:
        return Finding(Level.BAD, "redis", error.message)
    return Finding(Level.GOOD, "redis", f"embedded Valkey in {settings.data_dir}")


async def check_commands(settings: Settings) -> list[Finding]:
    """Try every command that the gateway may need, without effect: see `gateway.store.command_probe`.

    `check_store` reports a Redis of the pings that does not answer.
    """
    if settings.redis is None:
        return []
    reported = (RedisAddress.parse(settings.redis), queue_address(settings))
    findings: list[Finding] = []
    for address, here in by_address(uses(settings, checking=True)).items():
        try:
            refused = await refused_by(address, here)
        except StoreDown as error:
            if address not in reported:
                findings.append(Finding(Level.BAD, here[0].setting, f"{address}: {error.message}"))
            continue
        findings += [
            Finding(Level.BAD if one.fatal else Level.WARNING, f"{one.setting} (permissions)", str(one))
            for one in refused
            if not in_cluster_mode(one.words)  # `check_store` reports this
        ]
    return findings


async def _redis(subject: str, address: RedisAddress, settings: Settings, *, queue: bool) -> list[Finding]:
    try:
        async with client(address, timeout_s=_CONNECT_S) as redis:
            found = await facts(redis)
    except StoreDown as error:
        setting = "redis" if subject == "redis" else "queue.redis"
        advice = "" if isinstance(error, StoreRefused) else "start Redis, or "
        text = f"{address}: {error.message.removesuffix('.')}: {advice}correct the setting {setting}"
        return [Finding(Level.BAD, subject, text)]
    log = {None: "append-only file unknown", True: "append-only file on", False: "append-only file off"}
    eviction = found.eviction or "unknown"
    text = f"{address}: {found.product} {found.version}, {log[found.append_only]}, eviction {eviction}"
    findings = [Finding(Level.GOOD, subject, text)]
    if found.cluster and not queue:
        findings.append(Finding(Level.BAD, subject, CLUSTER))
    if queue:
        refused, warned = judge(found, settings.queue.durability)
        findings += [Finding(Level.BAD, subject, words) for words in refused]
        findings += [Finding(Level.WARNING, subject, words) for words in warned]
        findings += _clock(subject, found)
    return findings


def _clock(subject: str, found: ServerFacts) -> list[Finding]:
    """Compare the clock of Redis with that of this host."""
    behind_s = found.clock_behind_s
    if behind_s is None or abs(behind_s) < SKEW_WARNING_S:
        return []
    way = "behind" if behind_s > 0 else "ahead of"
    text = f"its clock is {abs(behind_s):.0f} s {way} this host's: one of them is wrong, and providers refuse tokens"
    return [Finding(Level.WARNING, subject, f"{text} made by a wrong clock")]


# -- providers -----------------------------------------------------------------------------------------------


def providers(settings: Settings) -> list[ProviderServer]:
    """Return every server that the configured credentials use, each once."""
    found: dict[tuple[str, int], ProviderServer] = {}
    for provider, app in installed().credentials(settings):
        for server in provider.servers(settings, app):
            found.setdefault((server.host, server.port), server)
    return list(found.values())


async def check_provider(provider: ProviderServer) -> list[Finding]:
    """Connect to a provider, with TLS and a check of its certificate."""
    subject = f"{provider.name} {provider.host}:{provider.port}"
    begun_s = time.monotonic()
    try:
        context = client_context(ca_file=provider.ca_file) if provider.tls else None
        async with asyncio.timeout(_CONNECT_S):
            _, writer = await asyncio.open_connection(provider.host, provider.port, ssl=context)
    except (OSError, UnicodeError, RuntimeError) as error:  # the last two: an invalid name, unusual addresses
        return [Finding(Level.BAD, subject, _unreachable(provider, error))]
    except CredentialError as error:
        return [Finding(Level.BAD, subject, error.message)]
    session: ssl.SSLObject | None = writer.get_extra_info("ssl_object")
    writer.transport.abort()
    security = f"{session.version()}" if session else "without TLS"
    return [
        Finding(Level.GOOD, subject, f"connected in {(time.monotonic() - begun_s) * 1000:.0f} ms, {security}")
    ]


def _unreachable(provider: ProviderServer, error: Exception) -> str:
    """Return the reason why a connection failed, and the settings and parts to look at."""
    if isinstance(error, ssl.SSLError):
        advice = "its ca_file, if its certificate comes from an authority of your own"
    else:
        advice = "the network between (name server, firewall, proxy)"
    return f"{describe(error)}: check {provider.setting}{' and ' if provider.setting else ''}{advice}"
