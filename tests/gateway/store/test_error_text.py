import pytest
import redis
from redis import exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from gateway.store.error_text import error_text, refusal_text, refused_text
from tests.support.redis import RedisServer


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (exceptions.TimeoutError("Timeout reading from 10.0.0.1:6379"), "does not answer in time"),
        (exceptions.AuthenticationError("invalid"), "refuses the user or password"),
        (exceptions.ResponseError("NOAUTH Authentication required."), "requires a password"),
        (
            exceptions.ResponseError("NOPERM User x has no permissions"),
            "does not permit this user a required command (ACL)",
        ),
        (exceptions.ResponseError("ERR something new"), "refuses the command"),
        (exceptions.ConnectionError("Connection closed by server."), "closed the connection"),
        (ConnectionResetError(104, "x"), "cannot be reached (connection reset by the peer)"),
    ],
)
def test_each_error_has_its_own_text(error: Exception, words: str) -> None:
    assert error_text(error) == words


def test_a_port_without_a_listener_is_a_refused_connection(redis_server: RedisServer) -> None:
    with (
        redis.Redis(host="127.0.0.1", port=1, retry=Retry(NoBackoff(), 0)) as client,
        pytest.raises(exceptions.ConnectionError) as caught,
    ):
        client.ping()
    assert error_text(caught.value) == "cannot be reached (connection refused)"


def test_error_replies_have_texts(redis_server: RedisServer) -> None:
    with redis_server.client() as client, pytest.raises(exceptions.ResponseError) as caught:
        client.execute_command("NONSENSE")
    assert error_text(caught.value) == "refuses the command"
    assert (
        refusal_text("OOM command not allowed")
        == "is full: it refuses writes until memory is freed (maxmemory)"
    )
    assert refusal_text("ERR unknown") is None
    assert (
        refused_text("OOM command not allowed")
        == "it is full: it refuses writes until memory is freed (maxmemory) (OOM)"
    )
    assert refused_text("UNKILLABLE Sorry") == "error UNKILLABLE"
    assert refused_text("odd words") == "error ERR"
