"""Options that several commands have."""

import argparse

import pytest

from gateway.cli.options import count, number, port, seconds


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "x", ""])
def test_a_count_is_a_whole_number_above_0(text: str) -> None:
    assert count("12") == 12
    with pytest.raises(argparse.ArgumentTypeError, match="at least 1"):
        count(text)


@pytest.mark.parametrize("text", ["-1", "1.5", "x", ""])
def test_a_number_is_whole_and_not_negative(text: str) -> None:
    assert (number("0"), number("12")) == (0, 12)
    with pytest.raises(argparse.ArgumentTypeError, match="at least 0"):
        number(text)


@pytest.mark.parametrize("text", ["65536", "-1", "http", ""])
def test_a_port_has_16_bits(text: str) -> None:
    assert (port("0"), port("65535")) == (0, 65_535)
    with pytest.raises(argparse.ArgumentTypeError, match="port number"):
        port(text)


@pytest.mark.parametrize("text", ["-1", "0", "nan", "inf", "1e30", "soon", ""])
def test_a_time_limit_is_a_positive_number(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"expected seconds, above 0 and at most 1000000$"):
        seconds(text)
    assert seconds("2.5") == 2.5
