"""Parameters of providers of other packages, in each form of a ping."""

import json
from collections.abc import Callable
from urllib.parse import quote

import pytest

from protocols.errors import InvalidField
from protocols.ping import overrides
from protocols.ping.parse import (
    Submission,
    from_form,
    from_json,
    from_json_and_query,
    from_line,
    from_params,
    json_in_steps,
    line_in_steps,
    run_steps,
)

RULES = {"courier": overrides.plain, "pigeon": overrides.plain}
ADDED = {"user_id": "bob", "courier": {"lane": 3}, "pigeon": None, "odd": 1}


@pytest.mark.parametrize(
    "read",
    [
        lambda: from_json(json.dumps(ADDED).encode(), RULES),
        lambda: from_json_and_query(json.dumps(ADDED).encode(), "message=", RULES),
        lambda: from_form(b"user_id=bob&odd=1&courier=" + quote('{"lane": 3}').encode(), "", RULES),
        lambda: from_params(ADDED, RULES),
        lambda: run_steps(json_in_steps(json.dumps(ADDED).encode(), rules=RULES)),
        lambda: from_line(json.dumps(ADDED).encode(), RULES)[0],
        lambda: run_steps(line_in_steps(json.dumps(ADDED).encode(), RULES))[0],
    ],
    ids=["json", "json and query", "form", "parameters", "json in steps", "line", "line in steps"],
)
def test_a_parameter_of_another_provider_is_parsed_by_its_rule(read: Callable[[], Submission]) -> None:
    found = read()
    assert found.ping.additions == {"courier": {"lane": 3}}
    assert found.unknown == ("odd",)
    assert found.ping.additions_of("courier") == {"lane": 3}
    assert found.ping.additions_of("pigeon") is None


def test_a_long_body_keeps_the_additions() -> None:
    users = [f"user{number}" for number in range(20_000)]
    found = from_json(json.dumps({"user_id": users, "courier": {"lane": 3}}).encode(), RULES)
    assert (len(found.ping.users), found.ping.additions) == (20_000, {"courier": {"lane": 3}})


def test_without_a_rule_the_parameter_is_unknown() -> None:
    found = from_params(ADDED)
    assert found.ping.additions is None
    assert found.unknown == ("courier", "pigeon", "odd")


def test_a_rule_refuses_by_the_name_of_the_parameter() -> None:
    with pytest.raises(InvalidField) as refused:
        from_json(b'{"user_id": "bob", "courier": 7}', RULES)
    assert refused.value.field == "courier"


def test_no_rule_changes_a_parameter_of_every_ping() -> None:
    assert from_json(b'{"message": "hi", "odd": 1}', {"message": overrides.plain}).ping.message == "hi"
