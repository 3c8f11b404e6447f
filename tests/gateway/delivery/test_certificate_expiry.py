"""Certificates' ends: exported, warned about at a month, a week and a day, and once each."""

import json
import time
from pathlib import Path

import pytest
import structlog
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, load_pem_private_key, pkcs12
from cryptography.x509 import load_pem_x509_certificate

from gateway.delivery.certificate_expiry import DAY_S, CertificateExpiryMonitor, warnings_due
from gateway.metrics import Metrics
from gateway.settings import ApnsSettings, App, Secret, Settings
from gateway.simulators.authority import Authority
from gateway.transport.tls import client_context
from protocols.apns.credentials import PushCertificate

AUTHORITY = Authority()
CERTIFICATE = AUTHORITY.client_certificate(["com.example.app"])
EXPIRES_S = PushCertificate.load(CERTIFICATE.pem).expires_s


@pytest.mark.parametrize(
    ("days", "due"),
    [(31, 0), (30.01, 0), (30, 1), (7.01, 1), (7, 2), (1.01, 2), (1, 3), (0.01, 3), (0, 4), (-5, 4)],
)
def test_a_warning_is_due_at_a_month_a_week_a_day_and_the_end(days: float, due: int) -> None:
    assert warnings_due(days * DAY_S) == due


def settings(folder: Path) -> Settings:
    (folder / "apple.pem").write_bytes(CERTIFICATE.pem)
    apps = {"com.x": App(ApnsSettings(certificate_file=folder / "none.pem"))}
    return Settings(apns=ApnsSettings(certificate_file=folder / "apple.pem"), apps=apps)


def gauge(metrics: Metrics) -> float:
    text = metrics.exposition().decode()
    name = 'rhopush_credential_expiry_seconds{app="",provider="apns"}'
    return next(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))


def test_each_warning_is_logged_once_and_the_time_left_is_exported_every_minute(tmp_path: Path) -> None:
    metrics = Metrics()
    expiries = CertificateExpiryMonitor(settings(tmp_path), metrics)
    with structlog.testing.capture_logs() as logs:
        for left_s in (40 * DAY_S, 29 * DAY_S, 28 * DAY_S, 6 * DAY_S, 0.5 * DAY_S, 0.4 * DAY_S, -1):
            expiries.update(EXPIRES_S - left_s)
            assert gauge(metrics) == pytest.approx(left_s, abs=1)
        expiries.update(EXPIRES_S + 2)  # within the minute
        assert gauge(metrics) == pytest.approx(-1, abs=1)
    told = [(log["log_level"], log["event"], log["days"]) for log in logs]
    assert told == [
        ("warning", "certificate_expiry_near", 29),
        ("warning", "certificate_expiry_near", 6),
        ("error", "certificate_expiry_near", 0),
        ("error", "certificate_expired", -1),
    ]
    assert {log["topic"] for log in logs} == {"com.example.app"}


def test_settings_that_name_the_same_certificate_repeat_no_warning(tmp_path: Path) -> None:
    expiries = CertificateExpiryMonitor(settings(tmp_path), Metrics())
    with structlog.testing.capture_logs() as logs:
        expiries.update(EXPIRES_S - DAY_S)
        expiries.apply_settings(settings(tmp_path))
        expiries.update(EXPIRES_S - DAY_S)
    assert len(logs) == 1


def test_a_pkcs12_file_works_like_a_pem_file(tmp_path: Path) -> None:
    file = tmp_path / "apple.p12"
    key = load_pem_private_key(CERTIFICATE.pem, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey)
    leaf = load_pem_x509_certificate(CERTIFICATE.certificate_pem)
    file.write_bytes(
        pkcs12.serialize_key_and_certificates(b"push", key, leaf, None, BestAvailableEncryption(b"hush"))
    )
    assert client_context(certificate=PushCertificate.load(file.read_bytes(), "hush"))
    expiries = CertificateExpiryMonitor(
        Settings(apns=ApnsSettings(certificate_file=file, certificate_passphrase=Secret("hush"))),
        metrics := Metrics(),
    )
    expiries.update(time.time())
    assert gauge(metrics) == pytest.approx(EXPIRES_S - time.time(), abs=5)
    assert "hush" not in json.dumps(metrics.exposition().decode())


def test_a_corrected_clock_suppresses_no_warning(tmp_path: Path) -> None:
    """It was a year ahead for a while; the certificate's true end must not come unannounced."""
    expiries = CertificateExpiryMonitor(settings(tmp_path), Metrics())
    expiries.update(EXPIRES_S - 40 * DAY_S + 365 * DAY_S)
    expiries.update(EXPIRES_S - 40 * DAY_S)
    with structlog.testing.capture_logs() as logs:
        expiries.update(EXPIRES_S - 29 * DAY_S)
    assert [log["event"] for log in logs] == ["certificate_expiry_near"]


def test_a_certificate_that_is_no_longer_in_use_raises_no_alert(tmp_path: Path) -> None:
    metrics = Metrics()
    expiries = CertificateExpiryMonitor(settings(tmp_path), metrics)
    expiries.update(EXPIRES_S - DAY_S)
    assert gauge(metrics) == pytest.approx(DAY_S, abs=1)
    expiries.apply_settings(Settings())
    assert gauge(metrics) == float("inf")
    expiries.apply_settings(settings(tmp_path))
    expiries.update(EXPIRES_S - DAY_S)
    assert gauge(metrics) == pytest.approx(DAY_S, abs=1)


def test_a_certificate_whose_new_file_cannot_be_read_stays_exported(tmp_path: Path) -> None:
    metrics = Metrics()
    expiries = CertificateExpiryMonitor(settings(tmp_path), metrics)
    expiries.update(EXPIRES_S - 2 * DAY_S)
    (tmp_path / "apple.pem").write_bytes(b"damaged")
    expiries.apply_settings(Settings(apns=ApnsSettings(certificate_file=tmp_path / "apple.pem")))
    expiries.update(EXPIRES_S - DAY_S)
    assert gauge(metrics) == pytest.approx(DAY_S, abs=1)
