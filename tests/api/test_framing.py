"""What is taken for a request, against h11, an independent reader of HTTP/1.1."""

from __future__ import annotations

import h11
from dbaudit.api.arriving import ArrivingBody
from dbaudit.api.framing import Refusal, end_of_head, read_head
from hypothesis import given
from hypothesis import strategies as st

LINES = st.sampled_from(
    [
        b"Host: x",
        b"Host: y",
        b"Content-Length: 5",
        b"Content-Length: 0",
        b"Content-Length: -1",
        b"Content-Length: 5, 5",
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding : chunked",
        b"Connection: close",
        b" folded",
        b"X_Y: z",
        b"Broken",
        b"X: \x00",
        b"X: \x7f",
        b"X:",
        b": x",
    ]
)
REQUEST_LINES = st.sampled_from(
    [
        b"GET / HTTP/1.1",
        b"POST /a%2Fb%20c?d=e HTTP/1.1",
        b"POST http://x/y HTTP/1.1",
        b"GET / HTTP/1.0",
        b"GET  / HTTP/1.1",
        b"GET /a b HTTP/1.1",
        b"GET / HTTP/2.0",
        b"G\xe9T / HTTP/1.1",
        b"get / http/1.1",
    ]
)
ENDS = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r"])
BODIES = st.one_of(
    st.just(b"hello"),
    st.lists(
        st.sampled_from(
            [
                b"5\r\nhello\r\n",
                b"1;x=y\r\nh\r\n",
                b"0\r\n",
                b"A: b\r\n",
                b"\r\n",
                b"-1\r\n",
                b"0x5\r\n",
                b"5\nhello",
            ]
        ),
        max_size=5,
    ).map(b"".join),
)


@given(REQUEST_LINES, st.lists(LINES, max_size=4), ENDS, BODIES)
def test_what_is_accepted_is_read_in_the_same_way_by_h11(
    first: bytes, lines: list[bytes], end: bytes, body: bytes
) -> None:
    sent = first + b"\r\n" + b"".join(line + end for line in lines) + b"\r\n"
    length = end_of_head(bytearray(sent))
    try:
        head = read_head(sent[:length], 1000)
    except Refusal:
        return
    assert length == len(sent)
    arriving, received = ArrivingBody(head.length), bytearray(body)
    arriving.take(received)
    other = h11.Connection(h11.SERVER)
    other.receive_data(sent + body)
    request = other.next_event()
    assert isinstance(request, h11.Request)
    assert (request.method.decode(), request.target.decode()) == (head.method, head.target)
    if arriving.malformed or not arriving.whole:
        return
    content = b""
    while isinstance(event := other.next_event(), h11.Data):
        content += event.data
    assert isinstance(event, h11.EndOfMessage)
    assert content == bytes(arriving.content)
    assert other.trailing_data[0] == bytes(received)


@given(BODIES, st.integers(1, 7))
def test_a_body_is_the_same_however_it_is_cut(body: bytes, size: int) -> None:
    at_once, in_parts = ArrivingBody(None), ArrivingBody(None)
    rest, received = bytearray(body), bytearray()
    at_once.take(rest)
    for start in range(0, len(body), size):
        received += body[start : start + size]
        in_parts.take(received)
    assert (at_once.whole, at_once.malformed) == (in_parts.whole, in_parts.malformed)
    assert at_once.content == in_parts.content
    assert at_once.malformed or rest == received
