"""The rate limit at its bounds. `test_ping.py` tests the other decisions of admission through the routes."""

from types import SimpleNamespace
from typing import Any

import pytest

from gateway.errors import ApiTokenRefused, TooManyRequests
from gateway.http_api.admission import BROADCAST_OVER, LineKeys, PingAdmission, RequestRate, needed_scope
from gateway.metrics import Metrics
from gateway.registry.accounts import TokenRole
from gateway.registry.scopes import Scope
from gateway.settings import LimitSettings, Settings
from protocols.ping.addressees import Addressees, RawToken
from protocols.ping.model import Ping
from protocols.ping.parse import from_json


def test_without_a_limit_every_request_is_admitted() -> None:
    rate = RequestRate(None)
    assert all(rate.take() for _ in range(10_000))


@pytest.mark.parametrize("per_s", [1.0, 5.0, 100.0])
def test_the_rate_allows_a_burst_of_one_second(per_s: float) -> None:
    now = 0.0
    rate = RequestRate(per_s, lambda: now)
    assert sum(rate.take() for _ in range(500)) == per_s
    now += 1.0 / per_s - 0.0001
    assert not rate.take()
    now += 0.0002
    assert rate.take()
    assert not rate.take()
    now += 1_000.0
    assert sum(rate.take() for _ in range(500)) == per_s


def test_a_rate_below_one_a_second_admits_one_request_per_period() -> None:
    now = 0.0
    rate = RequestRate(0.5, lambda: now)
    assert [rate.take(), rate.take()] == [True, False]
    now = 2.0
    assert [rate.take(), rate.take()] == [True, False]


async def test_only_an_admins_ping_is_admitted() -> None:
    services: Any = SimpleNamespace(metrics=Metrics(), settings=Settings(), workers=1)
    tokens: Any = None
    admission = PingAdmission(services, tokens)
    submission = from_json(b'{"user_id": ["bob"], "message": "hello"}')
    admission.admit(submission, TokenRole.ADMIN)
    for role in TokenRole:
        if role is not TokenRole.ADMIN:
            with pytest.raises(ApiTokenRefused):
                admission.admit(submission, role)


def test_the_key_of_a_line_belongs_to_its_caller() -> None:
    one, other = LineKeys("one").digest("key", b"{}"), LineKeys("other").digest("key", b"{}")
    assert one.scope != other.scope
    assert one == LineKeys("one").digest("key", b"{}\r")


def test_a_refused_request_does_not_count_the_same_time_again() -> None:
    now = 0.0
    rate = RequestRate(1.0, lambda: now)
    assert rate.take()
    now = 0.6
    assert not rate.take()
    now = 0.9
    assert not rate.take()
    now = 1.1
    assert rate.take()


async def test_the_workers_share_the_rate() -> None:
    limits = LimitSettings(requests_per_s=6)
    services: Any = SimpleNamespace(metrics=Metrics(), settings=Settings(limits=limits), workers=3)
    tokens: Any = None
    admission = PingAdmission(services, tokens)
    submission = from_json(b'{"user_id": ["bob"], "message": "hello"}')
    for _ in range(2):
        admission.admit(submission, TokenRole.ADMIN)
    with pytest.raises(TooManyRequests):
        admission.admit(submission, TokenRole.ADMIN)


@pytest.mark.parametrize(("more", "scope"), [(0, Scope.PING), (1, Scope.BROADCAST)])
def test_users_devices_and_tokens_together_need_the_scope(more: int, scope: Scope) -> None:
    third = BROADCAST_OVER // 4
    tokens = tuple(RawToken("apns", f"{number:064x}") for number in range(2 * third + more))
    to = Addressees(devices=tuple(f"c{number}" for number in range(third)), tokens=tokens)
    assert needed_scope(Ping(users=tuple(f"u{number}" for number in range(third)), to=to)) is scope
