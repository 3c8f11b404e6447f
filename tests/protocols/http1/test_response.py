"""Responses as bytes."""

from protocols.http1.response import HttpResponse, encode


def test_an_answers_bytes() -> None:
    answer = HttpResponse(422, (("A", "b"),), b"text")
    date = "Tue, 24 Nov 2026 10:00:00 GMT"
    assert encode(answer, date, close=False) == (
        b"HTTP/1.1 422 Unprocessable Content\r\nA: b\r\nContent-Length: 4\r\n"
        b"Date: Tue, 24 Nov 2026 10:00:00 GMT\r\n\r\ntext"
    )
    assert b"\r\nConnection: close\r\n\r\ntext" in encode(answer, date, close=True)
