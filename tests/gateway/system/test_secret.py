"""A secret is equal to its like, and shows nothing."""

import pickle

import pytest

from gateway.settings import Secret


def test_it_shows_a_mask_and_gives_its_text_only_when_asked() -> None:
    secret = Secret("hush")
    assert f"{secret} {secret!r} {[secret]}" == "Secret(***) Secret(***) [Secret(***)]"
    assert secret.reveal() == "hush"


def test_it_compares_and_hashes_by_its_text() -> None:
    assert Secret("a") == Secret("a")
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2
    assert Secret("a") != "a"
    assert not Secret("")


def test_it_is_not_pickled() -> None:
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(Secret("hush"))
