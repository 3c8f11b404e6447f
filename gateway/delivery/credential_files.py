"""Reading of credentials: texts and files that the settings name, and authorities."""

from pathlib import Path

from gateway.errors import CredentialError
from gateway.settings import Secret
from gateway.settings.paths import not_a_path
from gateway.transport.tls import client_context
from protocols.credential_text import TEXT_BYTES
from protocols.errors import InputError


def try_authorities(ca_file: Path | None) -> None:
    """Check the trusted authorities of a provider.

    Raises:
        CredentialError: `ca_file` cannot be used.
    """
    if ca_file is not None:
        client_context(ca_file=ca_file)


def text_of_setting(secret: Secret | None, path: Path | None, field: str) -> bytes:
    """The text of a credential: in the settings, or in a file that they name.

    Args:
        secret: the text in the settings; None: there is none.
        path: path of the file.
        field: name of the setting with the path.

    Raises:
        CredentialError: as `read_file`.
    """
    if secret is not None:
        return secret.reveal().encode("utf-8", "replace")
    return read_file(path, field)


def invalid(secret: Secret | None, path: Path | None, field: str, error: InputError) -> CredentialError:
    """The error about a credential whose text is invalid; it names the setting, and the path of a file.

    Args:
        secret, path: as for `text_of_setting`.
        field: name of the setting with the path; without its end `_file`, the name of the setting with the text.
        error: the fault of the text.
    """
    if secret is not None:
        field = field.removesuffix("_file")
        return CredentialError(f"{field}: {error.message}", field=field)
    return CredentialError(f"{field}: {path}: {error.message}", field=field)


def read_file(path: Path | None, field: str) -> bytes:
    """Read a file with a credential. Content beyond the longest credential is dropped, so that parsing fails.

    Args:
        path: path of the file; None: an invalid path, which is an error.
        field: name of the setting.

    Raises:
        CredentialError: the file cannot be read, or the setting is not a path; then its value is not shown.
    """
    wrong = not_a_path(field, str(path or ""))
    if wrong is not None:
        raise CredentialError(f"{field}: {wrong}", field=field)
    try:
        with Path(path or "").open("rb") as file:
            return file.read(TEXT_BYTES + 1)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else None
        raise CredentialError(f"{field}: {path}: {why or 'cannot be read'}", field=field) from error
