"""Encryption keys as text and back, in memory that is overwritten after use.

Python cannot overwrite its texts and bytes, so keys are bytearrays from the file to the cipher, and base64 is
done here: what the standard library returns would stay in freed memory.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

KEY_BYTES = 32
_DIGITS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_VALUES = {digit: value for value, digit in enumerate(_DIGITS)}
_ENCODED = 44
_ENTRY = re.compile(rb"[^\s,]+")


def wipe(material: bytearray) -> None:
    """Overwrite ``material``."""
    material[:] = bytes(len(material))


def new_key() -> bytearray:
    """A new key, random."""
    key = bytearray(KEY_BYTES)
    descriptor = os.open("/dev/urandom", os.O_RDONLY)
    try:
        if os.readv(descriptor, [key]) != KEY_BYTES:
            raise OSError("/dev/urandom gave too little")
    finally:
        os.close(descriptor)
    return key


@contextmanager
def content_of(descriptor: int) -> Iterator[bytearray]:
    """The content of an open file; overwritten at the end of the with block."""
    content = bytearray(os.fstat(descriptor).st_size)
    try:
        place = 0
        while place < len(content):
            with memoryview(content) as view:
                count = os.readv(descriptor, [view[place:]])
            if count == 0:
                break
            place += count
        yield content
    finally:
        wipe(content)


def parse(content: bytearray) -> dict[str, bytearray] | None:
    """The keys by their id in ``id:base64`` entries with commas or line breaks between; None where it is no
    such list.
    """
    keys: dict[str, bytearray] = {}
    for entry in _ENTRY.finditer(content):
        colon = content.find(b":", *entry.span())
        key = _decoded(content, colon + 1, entry.end()) if colon > entry.start() else None
        key_id = content[entry.start() : colon].decode("utf-8", "replace") if key is not None else ""
        if key is None or key_id in keys:
            for each in keys.values():
                wipe(each)
            return None
        keys[key_id] = key
    return keys or None


def listed(keys: Mapping[str, bytearray]) -> bytearray:
    """The keys as ``parse`` reads them, one a line."""
    content = bytearray(sum(len(key_id.encode()) + _ENCODED + 2 for key_id in keys))
    place = 0
    for key_id, key in keys.items():
        head = f"{key_id}:".encode()
        content[place : place + len(head)] = head
        place = _encode(key, content, place + len(head))
        content[place] = ord("\n")
        place += 1
    return content


def _decoded(content: bytearray, start: int, end: int) -> bytearray | None:
    if end - start != _ENCODED or content[end - 1] != ord("="):
        return None
    key, buffered, bits, place = bytearray(KEY_BYTES), 0, 0, 0
    for position in range(start, end - 1):
        value = _VALUES.get(content[position])
        if value is None:
            wipe(key)
            return None
        buffered, bits = (buffered << 6 | value) & 0xFFF, bits + 6
        if bits >= 8:
            bits -= 8
            key[place] = buffered >> bits & 0xFF
            place += 1
    return key


def _encode(key: bytearray, content: bytearray, place: int) -> int:
    buffered, bits = 0, 0
    for byte in key:
        buffered, bits = (buffered << 8 | byte) & 0xFFFF, bits + 8
        while bits >= 6:
            bits -= 6
            content[place] = _DIGITS[buffered >> bits & 0x3F]
            place += 1
    content[place] = _DIGITS[buffered << (6 - bits) & 0x3F]
    content[place + 1] = ord("=")
    return place + 2
