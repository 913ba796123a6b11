"""Framing: the same records come out of a stream however it was formatted, joined and split."""

import json
import time
from itertools import pairwise

import pytest
from dbaudit.engines.redis_enterprise.framing import HEAD_BYTES, Framer, Piece, split
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engines.redis_enterprise.records import AUTH, EVERY_RECORD, NEW_CONN, NEW_CONN_82

MOST_BYTES = 100_000
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def records(pieces: list[Piece]) -> list[object]:
    """The JSON objects of whole pieces; what is none is left out."""
    found = []
    for piece in pieces:
        for part in split(piece) if piece.whole else []:
            try:
                found.append(json.loads(part.data))
            except ValueError:
                continue
    return found


def framed(parts: list[bytes], most_bytes: int = MOST_BYTES) -> list[Piece]:
    framer = Framer(most_bytes)
    pieces = [piece for part in parts for piece in framer.feed(part)]
    return pieces + framer.end()


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    borders = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[start:end] for start, end in pairwise(borders)]


def pretty(record: bytes) -> bytes:
    return json.dumps(json.loads(record), indent=4).encode()


def flush_left(record: bytes) -> bytes:
    return json.dumps(json.loads(record), indent=0, separators=(" ,", " : ")).encode()


FORMATS = [bytes, pretty, flush_left]
SEPARATORS = [b"\n", b"", b"\0", b"\r\n", b" ", b"\n\n\n", b"\x1e", b"\t", BYTE_ORDER_MARK, b"\r"]


@given(
    st.lists(st.tuples(st.sampled_from(EVERY_RECORD), st.sampled_from(FORMATS), st.sampled_from(SEPARATORS))),
    st.lists(st.integers(0, 100_000), max_size=30),
    st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_any_split_of_any_concatenation_gives_the_same_records(
    sent: list[tuple[bytes, object, bytes]], places: list[int], marked: bool
) -> None:
    stream = b"".join(form(record) + separator for record, form, separator in sent)  # type: ignore[operator]
    if marked:
        stream = BYTE_ORDER_MARK + stream
    wanted = [json.loads(record) for record, _form, _separator in sent]
    assert records(framed(cut(stream, places))) == wanted


@pytest.mark.parametrize("separator", SEPARATORS)
def test_bytes_that_come_one_by_one_give_every_record_at_its_last_byte(separator: bytes) -> None:
    framer = Framer(MOST_BYTES)
    for record in EVERY_RECORD:
        before = [framer.feed(bytes([byte])) for byte in record[:-1]]
        assert not any(before)
        assert records(framer.feed(record[-1:])) == [json.loads(record)]
        assert not framer.feed(separator)


NOISE = [
    b"{",
    b"}",
    b"[",
    b'"',
    b"\\",
    b"\n",
    b":",
    b",",
    b"x",
    b'{"ts":16',
    b'{"a":"}{"}',
    b"{}",
    b'"}{"',
    b"\xff",
    *(record[:middle] for record in EVERY_RECORD for middle in (20, 70)),
]


@given(st.lists(st.sampled_from([*EVERY_RECORD, *NOISE]), max_size=12), st.lists(st.integers(0, 9999)))
@settings(max_examples=500, deadline=None)
def test_noise_and_torn_records_give_the_same_however_they_are_split(
    sent: list[bytes], places: list[int]
) -> None:
    stream = b"".join(sent)
    parts = [part for piece in framed([stream]) for part in split(piece)]
    assert [part for piece in framed(cut(stream, places)) for part in split(piece)] == parts


@given(st.lists(st.sampled_from([*EVERY_RECORD, *NOISE]), max_size=12))
@settings(max_examples=300, deadline=None)
def test_no_byte_that_means_something_vanishes(sent: list[bytes]) -> None:
    stream = b"".join(sent)
    left = bytearray(stream)
    for piece in framed([stream]):
        assert left[piece.offset : piece.offset + piece.length] == piece.data
        left[piece.offset : piece.offset + piece.length] = b" " * piece.length
    assert not left.strip()


@pytest.mark.parametrize("torn_at", range(1, len(NEW_CONN_82)))
def test_a_line_torn_anywhere_never_takes_a_later_record_with_it(torn_at: int) -> None:
    stream = NEW_CONN_82[:torn_at] + b"\n" + AUTH + b"\n" + NEW_CONN + b"\n"
    found = records(framed([stream]))
    assert found[-1:] == [json.loads(NEW_CONN)]
    torn_before_a_value = NEW_CONN_82[:torn_at].endswith((b":", b",", b"["))
    assert torn_before_a_value or json.loads(AUTH) in found


def test_a_record_that_is_too_long_is_told_with_its_length_and_nothing_else_is_harmed() -> None:
    long = b'{"ts":1,"action":"' + b"A" * MOST_BYTES + b'"}'
    stream = AUTH + b"\n" + long + b"\n" + NEW_CONN + b"\n"
    for parts in ([stream], cut(stream, list(range(0, len(stream), 777)))):
        pieces = framed(parts)
        assert records(pieces) == [json.loads(AUTH), json.loads(NEW_CONN)]
        (too_long,) = [piece for piece in pieces if not piece.whole]
        assert (too_long.offset, too_long.length) == (len(AUTH) + 1, len(long))
        assert too_long.data == long[:HEAD_BYTES]


HOSTILE = {
    "letters": b"A" * 65_536,
    "an open string": b'{"a":"' + b"A" * 65_530,
    "nesting": b'{"a":' * 13_107,
    "brackets": b"[" * 65_536,
    "quotes": b'{"a"' * 16_384,
    "backslashes": b"\\" * 65_536,
    "not UTF-8": b"\xff\xfe" * 32_768,
    "blanks": b" " * 65_536,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_64_megabytes_without_a_line_end_hold_no_memory_and_the_next_record_comes_through(name: str) -> None:
    framer = Framer(MOST_BYTES)
    started = time.process_time()
    pieces = []
    for _part in range(1024):
        pieces += framer.feed(HOSTILE[name])
        assert framer.held_bytes <= MOST_BYTES
    assert sum(piece.length for piece in pieces) + framer.held_bytes <= 65 << 20
    pieces += framer.feed(b"\n" + AUTH + b"\n")
    assert records(pieces)[-1] == json.loads(AUTH)
    print(f"64 MB of {name}: {time.process_time() - started:.2f} s of processor time")


def test_a_sender_of_single_bytes_costs_no_more_than_its_bytes() -> None:
    framer = Framer(1 << 20)
    framer.feed(b'{"a":"')
    for _byte in range(300_000):
        framer.feed(b"A")
    assert framer.held_bytes == 300_006
