"""Keys that a simulated provider accepts."""

from gateway.simulators import ApnsSimulator


def test_keys_do_not_show() -> None:
    apns = ApnsSimulator()
    shown = repr(apns.signing_key) + repr(apns.client_certificate(["com.example.app"]))
    assert "PRIVATE KEY" not in shown
    assert apns.signing_key.key_id in shown
