"""The common part of providers for their lanes: the first delay of a retry."""

import pytest

from gateway.delivery.provider_registry import installed
from gateway.settings import RetrySettings
from protocols.verdict import Verdict, VerdictKind

RETRY = RetrySettings(apns_5xx_s=900, fcm_5xx_s=10, unknown_s=5)


@pytest.mark.parametrize(("name", "delay_s"), [("apns", 900), ("fcm", 10), ("rhoconnect_push", 10)])
def test_the_delay_after_a_server_error_is_the_providers(name: str, delay_s: float) -> None:
    provider = installed().get(name)
    assert provider is not None
    later = Verdict(VerdictKind.LATER, "ServiceUnavailable")
    assert provider.first_delay_s(later, 503, RETRY) == delay_s
    assert provider.first_delay_s(later, 429, RETRY) == 60
    assert provider.first_delay_s(Verdict(VerdictKind.UNKNOWN, "deadline"), 0, RETRY) == 5
