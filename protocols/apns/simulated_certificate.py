"""The topics of a provider certificate: Apple's extension, as bytes (CERT; ITU-T X.690 for DER)."""

from collections.abc import Iterator, Sequence
from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID

TOPICS_OID: Final = x509.ObjectIdentifier("1.2.840.113635.100.6.3.6")
"""Lists the topics; where it is missing, the subject's UID is the only one."""

_SEQUENCE, _UTF8_STRING = 0x30, 0x0C


def topics_of(certificate_der: bytes) -> tuple[str, ...]:
    """The topics that the holder of a certificate may push to; none where it is no push certificate."""
    certificate = x509.load_der_x509_certificate(certificate_der)
    try:
        extension = certificate.extensions.get_extension_for_oid(TOPICS_OID).value
    except x509.ExtensionNotFound:
        names = certificate.subject.get_attributes_for_oid(NameOID.USER_ID)
        return tuple(str(name.value) for name in names)
    if not isinstance(extension, x509.UnrecognizedExtension):
        return ()
    return tuple(
        content.decode()
        for tag, sequence in _elements(extension.value)
        if tag == _SEQUENCE
        for inner, content in _elements(sequence)
        if inner == _UTF8_STRING
    )


def encode_topics(topics: Sequence[str]) -> bytes:
    """The extension's value: one sequence of each topic and the sequence of its kinds, in turn."""
    kinds = _element(_SEQUENCE, _element(_UTF8_STRING, b"app"))
    return _element(_SEQUENCE, b"".join(_element(_UTF8_STRING, topic.encode()) + kinds for topic in topics))


def _element(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    place = 0
    while place + 2 <= len(data):
        tag, size, start = data[place], data[place + 1], place + 2
        if size & 0x80:
            length = size & 0x7F
            size, start = int.from_bytes(data[start : start + length], "big"), start + length
        yield tag, data[start : start + size]
        place = start + size
