"""The parameter `to`: what is accepted, and what is refused by its name."""

import json
from typing import Any

import pytest

from protocols.errors import InvalidField
from protocols.ping import from_form, from_json, from_params
from protocols.ping.address import LIST_MAX, TOKEN_CHARACTERS, addressees
from protocols.ping.addressees import Addressees, RawToken
from protocols.ping.large import LARGE_BYTES

TOKEN = {"provider": "apns", "token": "ab" * 32, "app": "com.example.app"}
RAW = RawToken("apns", "ab" * 32, "com.example.app")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({}, Addressees()),
        ({"all_users": True}, Addressees(all_users=True)),
        ({"all_users": "true", "apps": ["a"]}, Addressees(all_users=True, apps=("a",))),
        ({"all_users": False, "devices": None}, Addressees()),
        ({"all_users": "false"}, Addressees()),
        ({"devices": ["c1", "c2", "c1"]}, Addressees(devices=("c1", "c2"))),
        ({"tokens": [TOKEN, TOKEN]}, Addressees(tokens=(RAW,))),
        ({"tokens": [TOKEN | {"token": " ".join(["AB" * 8] * 4)}, TOKEN]}, Addressees(tokens=(RAW,))),
        ({"tokens": [{"provider": "fcm", "token": "AB CD"}]}, Addressees(tokens=(RawToken("fcm", "AB CD"),))),
        (
            {"tokens": [{"provider": "fcm", "token": "t", "app": None}]},
            Addressees(tokens=(RawToken("fcm", "t"),)),
        ),
        (
            {"apps": ["a"], "providers": ["apns", "fcm"], "except_users": ["bob"]},
            Addressees(apps=("a",), providers=("apns", "fcm"), except_users=("bob",)),
        ),
        ({"except_users": []}, Addressees()),
        (json.dumps({"all_users": True}), Addressees(all_users=True)),
    ],
)
def test_addressees_are_read(value: Any, expected: Addressees) -> None:
    assert addressees(value, "to") == expected


@pytest.mark.parametrize(
    ("value", "field", "expected"),
    [
        ("", "to", "an object, or the JSON of one"),
        ("[", "to", "an object, or the JSON of one"),
        ("[]", "to", "an object, or the JSON of one"),
        ([], "to", "an object, or the JSON of one"),
        (5, "to", "not a number"),
        ({"user": "bob"}, "to.user", "all_users, devices, tokens"),
        ({"All_users": True}, "to.All_users", "unknown"),
        ({"x" * 500: 1}, "to." + "x" * 64, "unknown"),
        ({"all_users": 1}, "to.all_users", "true or false, not a number"),
        ({"all_users": "yes"}, "to.all_users", "true or false, not a text"),
        ({"all_users": True, "devices": ["c"]}, "to.all_users", "cannot be combined"),
        ({"all_users": True, "tokens": [TOKEN]}, "to.all_users", "cannot be combined"),
        ({"devices": "c1"}, "to.devices", "a list of texts, not a text"),
        ({"devices": {"a": "c1"}}, "to.devices", "a list of texts, not an object"),
        ({"devices": ["c1", 5]}, "to.devices[1]", "a text, not a number"),
        ({"devices": [""]}, "to.devices[0]", "must not be empty"),
        ({"devices": ["x" * 1025]}, "to.devices[0]", "at most 1024"),
        ({"devices": ["c"] * (LIST_MAX + 1)}, "to.devices", f"at most {LIST_MAX} items"),
        ({"tokens": TOKEN}, "to.tokens", "a list of objects, not an object"),
        ({"tokens": ["ab"]}, "to.tokens[0]", "an object with provider, token and app"),
        ({"tokens": [TOKEN, {"provider": "apns"}]}, "to.tokens[1].token", "a text, not null"),
        ({"tokens": [{"token": "ab"}]}, "to.tokens[0].provider", "a text, not null"),
        ({"tokens": [TOKEN | {"topic": "x"}]}, "to.tokens[0].topic", "unknown"),
        ({"tokens": [TOKEN | {"token": " "}]}, "to.tokens[0].token", "must not be empty"),
        ({"tokens": [TOKEN | {"app": 5}]}, "to.tokens[0].app", "a text, not a number"),
        ({"tokens": [TOKEN | {"token": "a" * (TOKEN_CHARACTERS + 1)}]}, "to.tokens[0].token", "at most 4096"),
        ({"apps": []}, "to.apps", "at least one name"),
        ({"apps": "a"}, "to.apps", "a list of texts"),
        ({"providers": []}, "to.providers", "at least one name"),
        ({"providers": [None]}, "to.providers[0]", "a text, not null"),
        ({"except_users": "bob"}, "to.except_users", "a list of texts"),
    ],
)
def test_refused_by_name(value: Any, field: str, expected: str) -> None:
    with pytest.raises(InvalidField) as refused:
        from_params({"user_id": "bob", "to": value})
    assert refused.value.field == field
    assert refused.value.message.startswith(field)
    assert expected in refused.value.message
    assert "abab" not in refused.value.message


def test_every_form_of_a_ping_carries_it() -> None:
    expected = Addressees(devices=("c1",), tokens=(RAW,), apps=("a",))
    value = {"devices": ["c1"], "tokens": [TOKEN], "apps": ["a"]}
    body = json.dumps({"message": "hi", "to": value}).encode()
    assert from_json(body).ping.to == expected
    many = value | {"except_users": [f"user{number:095d}" for number in range(LIST_MAX)]}
    large = json.dumps({"message": "hi", "to": many}).encode()
    assert len(large) > LARGE_BYTES
    assert from_json(large).ping.to == addressees(many, "to")
    text = "to=" + json.dumps(value).replace("&", "%26")
    assert from_form(text.encode(), "").ping.to == expected
    assert from_form(b"message=hi", text).ping.to == expected
    brackets = "to[devices][]=c1&to[apps][]=a" + "".join(
        f"&to[tokens][][{name}]={item}" for name, item in TOKEN.items()
    )
    assert from_form(brackets.encode(), "").ping.to == expected
    assert from_form(b"to[all_users]=true", "").ping.to == Addressees(all_users=True)


def test_users_stand_beside_it_and_not_beside_everybody() -> None:
    ping = from_params({"user_id": ["bob", "eve"], "to": {"except_users": ["eve"]}}).ping
    assert (ping.users, ping.to) == (("bob", "eve"), Addressees(except_users=("eve",)))
    assert from_params({"user_id": "bob"}).ping.to is None
    assert from_params({"user_id": "bob", "to": None}).ping.to is None
    with pytest.raises(InvalidField) as refused:
        from_params({"user_id": "bob", "to": {"all_users": True}})
    assert refused.value.field == "to.all_users"


@pytest.mark.parametrize(
    ("badge", "expected"),
    [
        ("+1", (1, 1)),
        (1, (1, 0)),
        ("1", (1, 0)),
        ("+2", (2, 0)),
        (" 1", (1, 0)),
        ("+1 ", (1, 0)),
        ("+01", (1, 0)),
    ],
)
def test_the_badge_that_counts_up(badge: Any, expected: tuple[int, int]) -> None:
    ping = from_params({"user_id": "bob", "badge": badge}).ping
    assert (ping.badge, ping.badge_increment) == expected


def test_the_badge_that_counts_up_in_a_form() -> None:
    assert from_form(b"user_id=bob&badge=%2B1", "").ping.badge_increment == 1
    assert from_form(b"user_id=bob&badge=+1", "").ping.badge_increment == 0
    assert from_form(b"user_id=bob", "").ping.badge_increment == 0
