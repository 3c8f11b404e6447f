"""Pings as Resque jobs, in the form that RhoConnect's `PingJob.enqueue` writes (contract §3.2).

This module loads redis-py, so it is imported only if a Redis is configured.
"""

from typing import Any, Final

import redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError
from redis.retry import Retry
from redis.sentinel import Sentinel

from gateway.client.errors import PingError
from gateway.client.messages import Parameters, json_text
from gateway.store.address import RedisAddress
from gateway.store.authentication import worth_a_try
from gateway.store.error_replies import original_error, words_of
from gateway.store.error_text import error_text
from gateway.store.keys import ResqueKeys

JOB_CLASS: Final = "Rhoconnect::PingJob"
QUEUE: Final = "ping"
_TIMEOUT_S: Final = 10.0
_NAMES: Final = ResqueKeys()


def push(address: RedisAddress, parameters: Parameters) -> None:
    """Append a job to RhoConnect's queue `ping`.

    Raises:
        PingError: Redis cannot be reached or refuses, or JSON has no form for a value. If the reply was lost, the job
            may have been appended.
        TypeError: JSON has no form for the type of a value.
    """
    job = {"class": JOB_CLASS, "args": [dict(parameters)]}
    text = json_text(job)  # as Resque writes it
    try:
        _append(address, text)
    except (RedisError, OSError) as error:
        raise PingError([f"Redis at {address} cannot be reached: it {error_text(error)}"]) from error


def _append(address: RedisAddress, job: str) -> None:
    """Append a job. After a failed AUTH, with which no job was sent, try again without the refused credential, as
    redis-rb does."""
    try:
        _send(address, job)
    except RedisError as error:
        other = worth_a_try(address, words_of(original_error(error))) if _at_login(error) else None
        if other is None or not _sent(other, job):
            raise


def _sent(address: RedisAddress, job: str) -> bool:
    """Append a job; False: AUTH failed."""
    try:
        _send(address, job)
    except RedisError as error:
        if not _at_login(error):
            raise
        return False
    return True


def _at_login(error: RedisError) -> bool:
    return isinstance(original_error(error), AuthenticationError)


def _send(address: RedisAddress, job: str) -> None:
    with _client(address) as client, client.pipeline(transaction=True) as commands:
        commands.sadd(_NAMES.queues, QUEUE)
        commands.rpush(_NAMES.queue(QUEUE), job)
        commands.execute()


def _client(address: RedisAddress) -> redis.Redis:
    connection: dict[str, Any] = {"socket_timeout": _TIMEOUT_S, "socket_connect_timeout": _TIMEOUT_S}
    connection["protocol"] = 2  # with AUTH, since HELLO accepts any password for a default user that has none
    connection["retry"] = Retry(NoBackoff(), 0)  # a repeated append is a second ping
    if address.tls:
        connection |= {"ssl": True, "ssl_ca_certs": address.ca_file}
    password = address.password.reveal() if address.password else None
    options = {**connection, "db": address.db, "username": address.username, "password": password}
    if address.unix_path is not None:
        return redis.Redis(unix_socket_path=address.unix_path, **options)
    if address.sentinels:
        own = address.sentinel_password.reveal() if address.sentinel_password else None
        make: Any = Sentinel  # redis-py's constructor has no type annotations
        found: redis.Redis = make(
            address.sentinels, sentinel_kwargs={**connection, "password": own}
        ).master_for(address.service, **options)
        return found
    return redis.Redis(host=address.host, port=address.port, **options)
