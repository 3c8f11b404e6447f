"""Keys, certificates and accounts in all forms that editing and copying give them."""

import json
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st

from protocols.apns.credentials import ProviderKey
from protocols.credential_text import (
    TEXT_BYTES,
    control_character,
    is_path,
    json_object,
    pem_blocks,
    private_key,
)
from protocols.errors import InputError, InvalidCredential
from protocols.fcm.credentials import GoogleCredential, ServiceAccount
from tests.support.certificates import PRIVATE, pem
from tests.support.certificates import RSA as KEY

PKCS8 = serialization.PrivateFormat.PKCS8
PLAIN = serialization.NoEncryption()
P8 = pem(PRIVATE).decode()
RSA = pem(KEY).decode()
ACCOUNT = {
    "type": "service_account",
    "project_id": "project",
    "private_key_id": "1",
    "private_key": RSA,
    "client_email": "push@project.iam.gserviceaccount.com",
    "token_uri": "https://oauth2.googleapis.com/token",
}

FORMS = {
    "as it is": lambda text: text,
    "a BOM": lambda text: "\ufeff" + text,
    "UTF-16": lambda text: text.encode("utf-16"),
    "CR": lambda text: text.replace("\n", "\r"),
    "CR LF": lambda text: text.replace("\n", "\r\n"),
    "indented": lambda text: "    " + text.replace("\n", "\n    "),
    "white space at the ends": lambda text: text.replace("\n", " \t\n"),
    "empty lines": lambda text: text.replace("\n", "\n\n"),
    "no line end at the end": str.rstrip,
    "two characters": lambda text: text.replace("\n", "\\n"),
    "two characters, CR LF": lambda text: text.replace("\n", "\\r\\n"),
    "blanks for line ends": lambda text: text.replace("\n", " "),
    "one line": lambda text: text.replace("\n", ""),
    "text around": lambda text: f"Bag Attributes\n  friendlyName: x\n{text}\nmore -----",
    "in quotes": lambda text: f'"{text}"',
    "a NUL at the end": lambda text: text + "\0",
}


@pytest.mark.parametrize("form", FORMS)
def test_a_p8_key_is_read_in_any_form(form: str) -> None:
    written = FORMS[form](P8)
    key = ProviderKey(written, "KEY0000001", "TEAM000001")
    assert key.token(1e9) == ProviderKey(P8, "KEY0000001", "TEAM000001").token(1e9)
    assert private_key(written).decode() == P8


@pytest.mark.parametrize("form", FORMS)
def test_an_accounts_key_in_any_form(form: str) -> None:
    written = FORMS[form](RSA)
    if isinstance(written, bytes):  # a text of JSON has no encoding of its own
        return
    whole = json.dumps({**ACCOUNT, "private_key": written.rstrip("\0")})
    assert ServiceAccount.from_json(whole).assertion(1e9) == ServiceAccount.from_json(
        json.dumps(ACCOUNT)
    ).assertion(1e9)


@pytest.mark.parametrize(
    "altered",
    [
        lambda text: text.replace("\\n", "\n"),  # real line ends in a text
        lambda text: text.replace("\\n", "\r\n"),
        lambda text: json.dumps(json.loads(text), indent=2).replace("\n", "\\n").replace("\\\\n", "\\n"),
        lambda text: "\ufeff" + text,
        lambda text: text.encode("utf-16"),
        lambda text: f" \n{text}\n ",
        lambda text: f"'{text}'",
        lambda text: text.replace("\\n", "\\\\n"),
    ],
    ids=["line ends", "CR LF", "two characters", "BOM", "UTF-16", "white space", "quotes", "escaped twice"],
)
def test_an_account_is_read_in_any_form(altered: Callable[[str], str | bytes]) -> None:
    account = ServiceAccount.from_json(altered(json.dumps(ACCOUNT)))
    assert account.assertion(1e9) == ServiceAccount.from_json(json.dumps(ACCOUNT)).assertion(1e9)


def test_white_space_around_the_fields_of_an_account() -> None:
    said = {name: f" {value}\n" for name, value in ACCOUNT.items()}
    account = ServiceAccount.from_json(json.dumps(said))
    assert (account.client_email, account.token_uri) == (ACCOUNT["client_email"], ACCOUNT["token_uri"])


@pytest.mark.parametrize("name", ["client_email", "token_uri", "private_key_id", "project_id"])
def test_a_control_character_in_a_field_is_refused_by_name(name: str) -> None:
    with pytest.raises(InvalidCredential, match=rf"'{name}' holds the control character U\+000A"):
        ServiceAccount.from_json(json.dumps({**ACCOUNT, name: "a\nb"}))


def test_blocks_are_separated_without_a_line_end_between_them() -> None:
    glued = (P8 + RSA).replace("-----\n-----", "----------")
    assert [block.pem.decode() for block in pem_blocks(glued)] == [P8, RSA]
    assert "MII" not in repr(pem_blocks(glued))


def test_a_block_without_an_end_does_not_hide_the_others() -> None:
    cut = "-----BEGIN CERTIFICATE-----\nMIIB\n"
    assert [block.label for block in pem_blocks(cut + P8)] == ["PRIVATE KEY"]
    assert [block.label for block in pem_blocks(P8 + cut)] == ["PRIVATE KEY"]
    assert pem_blocks("-----END PRIVATE KEY-----\n-----BEGIN ") == []


def test_headers_of_an_old_encrypted_key_stay() -> None:
    old = (
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n"
        "-----END RSA PRIVATE KEY-----\n"
    )
    assert pem_blocks(old.replace("\n", "\r"))[0].pem.decode() == old


def test_a_text_that_is_too_long_is_refused() -> None:
    for read in (pem_blocks, json_object, GoogleCredential.read):
        with pytest.raises(InvalidCredential, match="longer than"):
            read(b"x" * (TEXT_BYTES + 1))


@pytest.mark.parametrize(
    "text",
    [
        P8,
        P8.replace("\n", "\\n"),
        P8.replace("\n", " "),
        P8.splitlines()[1] + P8.splitlines()[2],
        json.dumps(ACCOUNT),
        f"'{json.dumps(ACCOUNT)}'",
        "a\nb",
        "a\0b",
        "x" * 256,
        "/tmp/" + "x/" * 3000,
        "",
    ],
    ids=range(11),
)
def test_texts_that_cannot_be_a_path(text: str) -> None:
    assert not is_path(text)


@pytest.mark.parametrize(
    "text",
    [
        "/secrets/AuthKey_ABC123DEFG.p8",
        "settings/apple push.pem",
        "schlüssel.json",
        "C:\\keys\\a.p8",
        "/var/lib/MIIx/eyJ/" + "a/" * 100,
    ],
)
def test_texts_that_can_be_a_path(text: str) -> None:
    assert is_path(text)


def test_control_characters_by_their_code() -> None:
    assert [control_character(text) for text in ("a", "a\tb", "\0", "\x7f")] == [
        None,
        "U+0009",
        "U+0000",
        "U+007F",
    ]
    assert control_character("a\r\n\tb", lines=True) is None


SEEDS = (P8.encode(), json.dumps(ACCOUNT).encode())
WORDS = st.sampled_from(
    [b"-----BEGIN ", b"-----END ", b"\\n", b"\xff", b"https://[::1", b"{", b'"', b"\\ud800"]
)


@given(
    st.sampled_from(SEEDS),
    st.lists(
        st.tuples(st.integers(0, 2500), st.integers(0, 30), st.one_of(WORDS, st.binary(max_size=8))),
        max_size=4,
    ),
)
def test_a_mutated_credential_is_read_or_an_input_error(
    data: bytes, edits: list[tuple[int, int, bytes]]
) -> None:
    for place, gone, instead in edits:
        data = data[:place] + instead + data[place + gone :]
    for read in (
        lambda: ProviderKey(data, "KEY0000001", "TEAM000001").token(1e9),
        lambda: repr(GoogleCredential.read(data)),
        lambda: ServiceAccount.from_json(data).token_request(1e9),
    ):
        try:
            read()
        except InputError as error:
            assert "PRIVATE KEY" not in error.message
            assert error.__cause__ is None


VALUES = st.one_of(
    st.none(),
    st.integers(),
    st.text(max_size=20),
    st.lists(st.integers(), max_size=2),
    st.just("https://[::1"),
)


@given(
    st.sampled_from(
        ["service_account", "external_account", "impersonated_service_account", "authorized_user"]
    ),
    st.dictionaries(
        st.sampled_from(
            [
                *ACCOUNT,
                "audience",
                "credential_source",
                "source_credentials",
                "service_account_impersonation_url",
                "token_url",
                "client_id",
                "refresh_token",
                "quota_project_id",
                "delegates",
            ]
        ),
        st.one_of(VALUES, st.dictionaries(st.sampled_from(["type", "file", "url", "client_id"]), VALUES)),
    ),
)
def test_fields_of_any_type_are_read_or_an_input_error(kind: str, fields: dict[str, object]) -> None:
    try:
        found = GoogleCredential.read(json.dumps({**ACCOUNT, **fields, "type": kind}))
    except InputError:
        return
    assert found.kind == kind
