"""Input of operators: the settings file, the environment, Redis' addresses, rhoconnect-push's config."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from gateway.settings import load
from gateway.settings.environment import setting_paths, variable_of
from gateway.settings.rhoconnect_push import read_config, translate
from gateway.store.address import RedisAddress, ResqueLocation, all_addresses
from tests.fuzz.target import Step, Target, plain

FILE: Final = b"""\
:sources:
  Product:
    :push_notify: true
    :partition_type: user
:development:
  :redis: localhost:6379:2
  :api_token: a-token
  :push_server: http://app:pwd@127.0.0.1:8675
  :iphonecertfile: settings/apple.pem
  :iphoneserver: gateway.sandbox.push.apple.com
  :iphoneport: 2195
  :fcm_project_id: project
  :gateway:
    data_dir: /tmp/data
    limits: {body_bytes: 1048576, queue_pings: 100000}
    retry: {base_s: 1.5}
    apps:
      com.example.app:
        apns: {key_id: KEY0000001, team_id: TEAM000001, topic: com.example.app}
    rhoconnect_push: {mode: server, port: 0}
"""
_WORDS: Final = (
    *(".".join(place).encode() for place, _ in setting_paths()),
    *(b": ", b"- ", b"&a ", b"*a", b"<<", b"!!", b"|"),
)
_ENVIRON: Final = (
    b"RHOPUSH_LIMITS_BODY_BYTES=5\nRHOPUSH_REDIS=redis://localhost:6379/1\nRHOPUSH_DATA_DIR=/tmp/x\nREDIS=a:1"
)
_CONFIG: Final = (
    b'{"ansServerPort":"8675","userAuthHost":"localhost","registrationTimeout":5,"httpSecure":"n"}'
)
ADDRESSES: Final = (
    b"localhost:6379:2",
    b"redis://user:p%40ss@host:6380/3?db=4",
    b"rediss://[::1]:6379/0?ssl_ca_certs=/etc/ca.pem",
    b"unix:///tmp/redis.sock?db=1",
    b"redis+sentinel://:pw@a:26379,b:26380/mymaster/2",
    b"redis://localhost:6379/0/resque:ns",
)


@contextmanager
def _file() -> Iterator[Step]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "settings.yml"

        def step(data: bytes) -> None:
            path.write_bytes(data)
            list(all_addresses(load(path, "development", {})))

        yield step


def _environment(data: bytes) -> None:
    said = dict(line.partition("=")[::2] for line in os.fsdecode(data).split("\n"))
    list(all_addresses(load(None, "development", said)))


@contextmanager
def _config() -> Iterator[Step]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.json"

        def step(data: bytes) -> None:
            path.write_bytes(data)
            translated = translate(read_config(path), {}, Path(folder))
            list(all_addresses(translated.settings))

        yield step


def _address(data: bytes) -> None:
    text = os.fsdecode(data)
    for read in (RedisAddress.parse, ResqueLocation.parse):
        found = read(text)
        str(found)


TARGETS: Final = (
    Target(
        "settings-file",
        _file,
        (FILE, b"", b"development: {gateway: {}}"),
        _WORDS,
        largest=16_384,
        byte_s=2e-5,
        base_s=0.1,
    ),
    Target(
        "settings-environment",
        plain(_environment),
        (_ENVIRON, *(f"{variable_of(place)}=5".encode() for place, _ in setting_paths())),
        (*_WORDS, b"=", b"\n", b"RHOPUSH_"),
        largest=16_384,
        base_s=0.1,
    ),
    Target(
        "redis-addresses",
        plain(_address),
        ADDRESSES,
        (b"://", b"@", b":", b"/", b"?db=", b",", b"[", b"]", b"%"),
    ),
    Target("rhoconnect-push-config", _config, (_CONFIG,), (b"PORT", b"redisToGoUrl"), tree="json"),
)
