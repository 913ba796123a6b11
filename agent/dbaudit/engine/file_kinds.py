"""Recognising files that cannot be read as a log: compressed or encrypted ones."""

from __future__ import annotations

_BEGINNINGS = (
    (b"\x1f\x8b", "compressed (gzip)"),
    (b"BZh", "compressed (bzip2)"),
    (b"\xfd7zXZ\x00", "compressed (xz)"),
    (b"\x28\xb5\x2f\xfd", "compressed (zstd)"),
    (b"\x04\x22\x4d\x18", "compressed (lz4)"),
    (b"PK\x03\x04", "compressed (zip)"),
    (b"Salted__", "encrypted"),
)


def unreadable_kind(beginning: bytes) -> str | None:
    """The kind of a file that begins with these bytes, such as ``compressed (gzip)``; None for plain text."""
    return next((kind for mark, kind in _BEGINNINGS if beginning.startswith(mark)), None)
