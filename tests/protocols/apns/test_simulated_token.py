"""Provider token checks of a simulated APNs."""

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from protocols.apns.simulator import SigningKey
from tests.protocols.apns.test_simulator import KEY, NOW_S, PRIVATE, ask, rules, token, verdict

OTHER = ec.generate_private_key(ec.SECP256R1())


def test_a_forged_signature_is_refused() -> None:
    forged = jwt.encode({"iss": KEY.team_id, "iat": int(NOW_S)}, OTHER, "ES256", {"kid": KEY.key_id})
    answer = ask(rules().session(), {"authorization": f"bearer {forged}"})
    assert verdict(answer) == (403, "InvalidProviderToken")


def test_an_unsigned_token_is_refused() -> None:
    unsigned = jwt.encode({"iss": KEY.team_id, "iat": int(NOW_S)}, None, "none", {"kid": KEY.key_id})
    answer = ask(rules().session(), {"authorization": f"bearer {unsigned}"})
    assert verdict(answer) == (403, "InvalidProviderToken")


@pytest.mark.parametrize(("later_s", "reason"), [(1199, "TooManyProviderTokenUpdates"), (1200, "")])
def test_a_token_may_change_every_twenty_minutes(later_s: int, reason: str) -> None:
    session = rules().session()
    ask(session)
    change = {"authorization": f"bearer {token(NOW_S + later_s)}"}
    answer = ask(session, change, now_s=NOW_S + later_s)
    assert verdict(answer) == (429 if reason else 200, reason)


def test_after_too_many_updates_the_connection_is_of_no_use_for_a_while() -> None:
    session = rules().session()
    ask(session)
    ask(session, {"authorization": f"bearer {token(NOW_S + 1)}"}, now_s=NOW_S + 1)
    assert verdict(ask(session, now_s=NOW_S + 1200)) == (429, "TooManyProviderTokenUpdates")
    assert verdict(ask(session, now_s=NOW_S + 1202)) == (200, "")


def test_another_connection_does_not_count_the_same_updates() -> None:
    server = rules()
    ask(server.session())
    other = {"authorization": f"bearer {token(NOW_S + 1)}"}
    assert verdict(ask(server.session(), other)) == (200, "")


def test_a_connection_belongs_to_the_team_of_its_first_push() -> None:
    server = rules()
    server.tokens.add(SigningKey("KEY0000002", "TEAM000002", PRIVATE.public_key()))
    session = server.session()
    ask(session)
    theirs = {"authorization": f"bearer {token(NOW_S + 1300, 'KEY0000002', 'TEAM000002')}"}
    assert verdict(ask(session, theirs, now_s=NOW_S + 1300)) == (403, "InvalidProviderToken")
    assert verdict(ask(server.session(), theirs, now_s=NOW_S + 1300)) == (200, "")


def test_topic_specific_keys_are_not_mixed_and_keep_to_their_topics() -> None:
    server = rules()
    server.tokens.add(SigningKey("KEY0000002", "TEAM000001", PRIVATE.public_key(), frozenset({"com.x"})))
    narrow: dict[str, str | None] = {"authorization": f"bearer {token(NOW_S, 'KEY0000002')}"}
    session = server.session()
    assert verdict(ask(session, narrow)) == (400, "TopicDisallowed")
    assert verdict(ask(session, {**narrow, "apns-topic": "com.x"})) == (200, "")
    assert verdict(ask(session)) == (403, "UnrelatedKeyIdInToken")


def test_a_key_of_the_other_environment_gets_its_own_reason() -> None:
    server = rules()
    server.tokens.add(SigningKey("KEY0000002", "TEAM000001", PRIVATE.public_key(), None, "sandbox"))
    answer = ask(server.session(), {"authorization": f"bearer {token(NOW_S, 'KEY0000002')}"})
    assert verdict(answer) == (403, "BadEnvironmentKeyIdInToken")
